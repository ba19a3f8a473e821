#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "sigpipe.h"
#include "syscalls.h"

namespace boundary {

// An enum in glibc, an int in musl.
using Resource = decltype(RLIMIT_NOFILE);

namespace {

// struct epoll_params of <linux/eventpoll.h>, which glibc has since 2.40, and the requests that carry it.
constexpr size_t kMostWords = 2;
constexpr uint32_t kEpollSetParams = _IOW(0x8A, 0x01, int32_t[kMostWords]);
constexpr uint32_t kEpollGetParams = _IOR(0x8A, 0x02, int32_t[kMostWords]);

// The number of ints that a request carries, in either direction; 0 for requests whose use of the pointer is not
// known here.
size_t words_of(uint32_t request) {
  switch (request) {
    case FIONREAD:
    case TIOCOUTQ:
    case SIOCATMARK:
    case SIOCOUTQNSD:
      return 1;
    case kEpollSetParams:
    case kEpollGetParams:
      return kMostWords;
    default:
      return 0;
  }
}

}  // namespace

int32_t close(Args& a) {
  const int fd = a.i32(0);
  if (a.complaint()) return a.complaint();
  a.state().owned.unmark(fd);
  // Linux has released the number even if close returns EINTR: a second try could close another descriptor.
  // https://man7.org/linux/man-pages/man2/close.2.html
  return answer(::close(fd));
}

int32_t own(Args& a) {
  const int fd = a.i32(0);
  if (a.complaint()) return a.complaint();
  // Every new descriptor passes here, so no system call is made unless a wild number would make the table grow.
  if (!a.state().owned.covers(fd)) {
    const int32_t rc = a.call([&] { return ::fcntl(fd, F_GETFD); });
    if (rc < 0) return rc;
  }
  a.state().owned.mark(fd);
  return 0;
}

int32_t disown(Args& a) {
  const int fd = a.i32(0);
  if (a.complaint()) return a.complaint();
  a.state().owned.unmark(fd);
  return 0;
}

int32_t fcntl(Args& a) {
  const int fd = a.i32(0);
  const int command = a.i32(1);
  const int argument = a.flags(2);
  if (a.complaint()) return a.complaint();
  // Other commands take a pointer, which an int is not.
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return a.state().created(a.call([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, argument); }));
    case F_GETOWN: {
      errno = 0;
      const int owner = ::fcntl(fd, F_GETOWN);
      // F_GETOWN returns a process group as a negative number, which can't be told from an errno.
      return owner < 0 ? -(errno ? errno : EOVERFLOW) : owner;
    }
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
    case F_SETOWN:
    case F_GETSIG:
    case F_SETSIG:
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
    case F_ADD_SEALS:
    case F_GET_SEALS:
      return a.call([&] { return ::fcntl(fd, command, argument); });
    default:
      return -EINVAL;
  }
}

int32_t ioctl(Args& a) {
  const int fd = a.i32(0);
  const uint32_t request = a.word(1);
  const size_t words = words_of(request);
  const View<int32_t> value = a.int32s(2, std::max(words, size_t{1}));
  if (a.complaint()) return a.complaint();
  if (words == 0) return -EINVAL;
  int32_t carried[kMostWords];
  std::copy_n(value.data, words, carried);
  const int32_t rc = a.call([&] { return ::ioctl(fd, request, carried); });
  if (rc >= 0) std::copy_n(carried, words, value.data);
  return rc;
}

int32_t pipe2(Args& a) {
  const int flags = a.flags(0);
  const View<int32_t> fds = a.int32s(1, 2);
  int ends[2];
  const int32_t rc = a.call([&] { return ::pipe2(ends, flags | O_CLOEXEC); });
  if (rc < 0) return rc;
  for (int i = 0; i < 2; i++) fds.data[i] = a.state().created(ends[i]);
  return 0;
}

int32_t eventfd(Args& a) {
  const uint32_t initial = a.word(0);
  const int flags = a.flags(1);
  return a.state().created(a.call([&] { return ::eventfd(initial, flags | EFD_CLOEXEC); }));
}

int32_t readv(Args& a) {
  const int fd = a.i32(0);
  Vector buffers;
  a.vector(1, buffers);
  return a.call([&] { return ::readv(fd, buffers.at, static_cast<int>(buffers.count)); });
}

int32_t writev(Args& a) {
  const int fd = a.i32(0);
  Vector buffers;
  a.vector(1, buffers);
  // Without any bytes writev sends nothing, but sendmsg an empty message, which a SOCK_SEQPACKET peer takes for the
  // end.
  if (std::any_of(buffers.at, buffers.at + buffers.count, [](const iovec& piece) { return piece.iov_len > 0; })) {
    const int32_t sent = a.call([&] {
      msghdr message{};
      message.msg_iov = buffers.at;
      message.msg_iovlen = buffers.count;
      return ::sendmsg(fd, &message, MSG_NOSIGNAL);
    });
    if (sent != -ENOTSOCK) return sent;
  }
  SigpipeGuard guard;
  return guard.watch(a.call([&] { return ::writev(fd, buffers.at, static_cast<int>(buffers.count)); }));
}

int32_t getrlimit(Args& a) {
  const int resource = a.flags(0);
  const View<uint64_t> soft_hard = a.uint64s(1, 2);
  rlimit limit{};
  const int32_t rc = a.call([&] { return ::getrlimit(static_cast<Resource>(resource), &limit); });
  if (rc < 0) return rc;
  soft_hard.data[0] = limit.rlim_cur;
  soft_hard.data[1] = limit.rlim_max;
  return rc;
}

int32_t setrlimit(Args& a) {
  const int resource = a.flags(0);
  const View<uint64_t> soft_hard = a.uint64s(1, 2);
  if (a.complaint()) return a.complaint();
  const rlimit limit{soft_hard.data[0], soft_hard.data[1]};
  return a.call([&] { return ::setrlimit(static_cast<Resource>(resource), &limit); });
}

bool OwnedDescriptors::covers(int fd) const { return fd >= 0 && static_cast<size_t>(fd) / kBits < words_.size(); }

void OwnedDescriptors::mark(int fd) {
  const size_t word = static_cast<size_t>(fd) / kBits;
  if (word >= words_.size()) words_.resize(word + 1 + words_.size());
  words_[word] |= uint64_t{1} << (fd % kBits);
}

void OwnedDescriptors::unmark(int fd) {
  const size_t word = static_cast<size_t>(fd) / kBits;
  if (fd >= 0 && word < words_.size()) words_[word] &= ~(uint64_t{1} << (fd % kBits));
}

void OwnedDescriptors::close_all() {
  for (size_t word = 0; word < words_.size(); word++) {
    for (int bit = 0; bit < kBits; bit++) {
      if (words_[word] >> bit & 1) ::close(static_cast<int>(word) * kBits + bit);
    }
  }
  words_.clear();
}

}  // namespace boundary
