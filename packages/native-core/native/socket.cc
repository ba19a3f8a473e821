#include <poll.h>

#include "syscalls.h"

namespace boundary {

int32_t socket(Args& a) {
  const int domain = a.i32(0);
  const int type = a.flags(1);
  const int protocol = a.i32(2);
  return a.state().created(a.call([&] { return ::socket(domain, type | SOCK_CLOEXEC, protocol); }));
}

int32_t socketpair(Args& a) {
  const int domain = a.i32(0);
  const int type = a.flags(1);
  const int protocol = a.i32(2);
  const View<int32_t> fds = a.int32s(3, 2);
  int ends[2];
  const int32_t rc = a.call([&] { return ::socketpair(domain, type | SOCK_CLOEXEC, protocol, ends); });
  if (rc < 0) return rc;
  for (int i = 0; i < 2; i++) fds.data[i] = a.state().created(ends[i]);
  return 0;
}

int32_t bind(Args& a) {
  const int fd = a.i32(0);
  const Bytes name = a.bytes(1);
  return a.call(
      [&] { return ::bind(fd, reinterpret_cast<const sockaddr*>(name.data), static_cast<socklen_t>(name.size)); });
}

int32_t listen(Args& a) {
  const int fd = a.i32(0);
  const int backlog = a.i32(1);
  return a.call([&] { return ::listen(fd, backlog); });
}

int32_t accept4(Args& a) {
  const int fd = a.i32(0);
  const int flags = a.flags(1);
  Slot peer = a.slot_or_null(2);
  const int32_t rc =
      a.state().created(a.call([&] { return ::accept4(fd, peer.name(), peer.name_length(), flags | SOCK_CLOEXEC); }));
  if (rc >= 0) peer.store();
  return rc;
}

// Waits for an interrupted connect, which goes on in the background: a second call would return EALREADY.
// https://man7.org/linux/man-pages/man2/connect.2.html
static int connected(int fd) {
  pollfd writable{fd, POLLOUT, 0};
  if (retry([&] { return ::poll(&writable, 1, -1); }) == -1) return -1;
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == -1) return -1;
  if (error) {
    errno = error;
    return -1;
  }
  sockaddr_storage peer;
  size = sizeof peer;
  return ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size);
}

int32_t connect(Args& a) {
  const int fd = a.i32(0);
  const Bytes name = a.bytes(1);
  if (a.complaint()) return a.complaint();
  for (;;) {
    const auto* address = reinterpret_cast<const sockaddr*>(name.data);
    if (::connect(fd, address, static_cast<socklen_t>(name.size)) == 0) return 0;
    if (errno != EINTR) return -errno;
    if (connected(fd) == 0) return 0;
    // AF_UNIX waits for room in the backlog, and nothing goes on in the background: only then is connect called
    // again.
    if (errno != ENOTCONN) return -errno;
  }
}

int32_t shutdown(Args& a) {
  const int fd = a.i32(0);
  const int how = a.i32(1);
  return a.call([&] { return ::shutdown(fd, how); });
}

int32_t getsockname(Args& a) {
  const int fd = a.i32(0);
  Slot name = a.slot(1);
  const int32_t rc = a.call([&] { return ::getsockname(fd, name.name(), name.name_length()); });
  if (rc >= 0) name.store();
  return rc;
}

int32_t getpeername(Args& a) {
  const int fd = a.i32(0);
  Slot name = a.slot(1);
  const int32_t rc = a.call([&] { return ::getpeername(fd, name.name(), name.name_length()); });
  if (rc >= 0) name.store();
  return rc;
}

}  // namespace boundary
