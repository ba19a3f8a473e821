#include <netinet/in.h>

#include "syscalls.h"

namespace boundary {

namespace {

constexpr int kScmRights = 1;
constexpr int kScmPidfd = 4;
constexpr size_t kTableWidth = 4;

// A received descriptor belongs to this environment as soon as recvmsg returns, even if the control bytes are never
// read. The walk copies each header: the caller's buffer may start at any address.
void mark_received(State& state, const uint8_t* control, size_t size) {
  for (size_t at = 0; size - at >= sizeof(cmsghdr);) {
    cmsghdr header;
    std::memcpy(&header, control + at, sizeof header);
    const size_t length = header.cmsg_len;
    if (length < sizeof header || length > size - at) return;
    if (header.cmsg_level == SOL_SOCKET && (header.cmsg_type == kScmRights || header.cmsg_type == kScmPidfd)) {
      for (size_t i = CMSG_LEN(0); i + sizeof(int) <= length; i += sizeof(int)) {
        int fd;
        std::memcpy(&fd, control + at + i, sizeof fd);
        state.created(fd);
      }
    }
    if (CMSG_ALIGN(length) > size - at) return;
    at += CMSG_ALIGN(length);
  }
}

// Another thread may write to a shared buffer between a check and a use: each number is read exactly once.
size_t load(const int32_t* word) { return static_cast<uint32_t>(__atomic_load_n(word, __ATOMIC_RELAXED)); }

bool within(size_t offset, size_t length, size_t size) { return offset <= size && length <= size - offset; }

}  // namespace

int32_t send(Args& a) {
  const int fd = a.i32(0);
  const Bytes data = a.range(1);
  const int flags = a.flags(4);
  return a.call([&] { return ::send(fd, data.data, data.size, flags | MSG_NOSIGNAL); });
}

int32_t recv(Args& a) {
  const int fd = a.i32(0);
  const Bytes data = a.range(1);
  const int flags = a.flags(4);
  return a.call([&] { return ::recv(fd, data.data, data.size, flags); });
}

int32_t sendto(Args& a) {
  const int fd = a.i32(0);
  const Bytes data = a.range(1);
  const int flags = a.flags(4);
  const Bytes name = a.bytes(5);
  return a.call([&] {
    return ::sendto(fd, data.data, data.size, flags | MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(name.data),
                    static_cast<socklen_t>(name.size));
  });
}

int32_t recvfrom(Args& a) {
  const int fd = a.i32(0);
  const Bytes data = a.range(1);
  const int flags = a.flags(4);
  Slot name = a.slot(5);
  const int32_t rc =
      a.call([&] { return ::recvfrom(fd, data.data, data.size, flags, name.name(), name.name_length()); });
  if (rc >= 0) name.store();
  return rc;
}

int32_t sendmsg(Args& a) {
  const int fd = a.i32(0);
  Vector buffers;
  a.vector(1, buffers);
  const Bytes name = a.bytes_or_null(2);
  const Bytes control = a.bytes_or_null(3);
  const int flags = a.flags(4);

  msghdr message{};
  message.msg_name = name.data;
  message.msg_namelen = static_cast<socklen_t>(name.size);
  message.msg_iov = buffers.at;
  message.msg_iovlen = buffers.count;
  message.msg_control = control.data;
  message.msg_controllen = control.size;
  return a.call([&] { return ::sendmsg(fd, &message, flags | MSG_NOSIGNAL); });
}

int32_t recvmsg(Args& a) {
  const int fd = a.i32(0);
  Vector buffers;
  a.vector(1, buffers);
  Slot name = a.slot_or_null(2);
  const Bytes control = a.bytes_or_null(3);
  const int flags = a.flags(4);
  const View<int32_t> result = a.int32s(5, 2);

  msghdr message{};
  message.msg_name = name.name();
  message.msg_namelen = name.length;
  message.msg_iov = buffers.at;
  message.msg_iovlen = buffers.count;
  message.msg_control = control.data;
  message.msg_controllen = control.size;
  const int32_t rc = a.call([&] { return ::recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC); });
  if (rc < 0) return rc;
  mark_received(a.state(), control.data, message.msg_controllen);
  name.length = message.msg_namelen;
  name.store();
  result.data[0] = static_cast<int32_t>(message.msg_controllen);
  result.data[1] = message.msg_flags;
  return rc;
}

int32_t sendmmsg(Args& a) {
  const int fd = a.i32(0);
  const Bytes payload = a.bytes(1);
  const Bytes names = a.bytes(2);
  const Bytes control = a.bytes_or_null(3);
  const View<int32_t> table = a.int32s(4, kTableWidth);
  const int32_t first = a.i32(5);
  int32_t count = a.i32(6);
  const int flags = a.flags(7);
  if (a.complaint()) return a.complaint();

  const size_t capacity = table.size / kTableWidth;
  const size_t share = control.size / capacity;
  if (first < 0 || static_cast<size_t>(first) > capacity) return a.refuse(5, Kind::within);
  if (count < 0 || static_cast<size_t>(count) > capacity - static_cast<size_t>(first)) {
    return a.refuse(6, Kind::within);
  }
  if (count > static_cast<int32_t>(kMaxVector)) count = kMaxVector;

  mmsghdr messages[kMaxVector];
  iovec vectors[kMaxVector];
  for (int32_t i = 0; i < count; i++) {
    const size_t index = static_cast<size_t>(first + i);
    const int32_t* row = table.data + index * kTableWidth;
    const size_t offset = load(row), length = load(row + 1);
    const size_t name_length = load(row + 2), control_length = load(row + 3);
    if (!within(offset, length, payload.size) || name_length > kSockaddrMax ||
        !within(index * kSockaddrMax, name_length, name_length ? names.size : SIZE_MAX) || control_length > share) {
      return a.refuse(4, Kind::within);
    }
    vectors[i] = {payload.data + offset, length};
    messages[i] = {};
    msghdr& message = messages[i].msg_hdr;
    message.msg_name = name_length ? names.data + index * kSockaddrMax : nullptr;
    message.msg_namelen = static_cast<socklen_t>(name_length);
    message.msg_iov = &vectors[i];
    message.msg_iovlen = 1;
    message.msg_control = control_length ? control.data + index * share : nullptr;
    message.msg_controllen = control_length;
  }
  return a.call([&] { return ::sendmmsg(fd, messages, static_cast<unsigned>(count), flags | MSG_NOSIGNAL); });
}

int32_t recvmmsg(Args& a) {
  const int fd = a.i32(0);
  const Bytes payload = a.bytes(1);
  const Bytes names = a.bytes(2);
  const Bytes control = a.bytes_or_null(3);
  const View<int32_t> table = a.int32s(4, kTableWidth);
  int32_t count = a.i32(5);
  const int flags = a.flags(6);
  if (a.complaint()) return a.complaint();

  const size_t capacity = table.size / kTableWidth;
  if (count < 0 || static_cast<size_t>(count) > capacity) return a.refuse(5, Kind::within);
  if (count > static_cast<int32_t>(kMaxVector)) count = kMaxVector;
  const size_t length = payload.size / capacity;
  const size_t name_length = names.size / capacity;
  const size_t control_length = control.size / capacity;

  mmsghdr messages[kMaxVector];
  iovec vectors[kMaxVector];
  for (int32_t i = 0; i < count; i++) {
    const size_t index = static_cast<size_t>(i);
    vectors[i] = {payload.data + index * length, length};
    messages[i] = {};
    msghdr& message = messages[i].msg_hdr;
    message.msg_name = name_length ? names.data + index * name_length : nullptr;
    message.msg_namelen = static_cast<socklen_t>(name_length);
    message.msg_iov = &vectors[i];
    message.msg_iovlen = 1;
    message.msg_control = control_length ? control.data + index * control_length : nullptr;
    message.msg_controllen = control_length;
  }
  const int32_t received =
      a.call([&] { return ::recvmmsg(fd, messages, static_cast<unsigned>(count), flags | MSG_CMSG_CLOEXEC, nullptr); });
  for (int32_t i = 0; i < received; i++) {
    const msghdr& message = messages[i].msg_hdr;
    int32_t* row = table.data + static_cast<size_t>(i) * kTableWidth;
    mark_received(a.state(), static_cast<const uint8_t*>(message.msg_control), message.msg_controllen);
    row[0] = static_cast<int32_t>(messages[i].msg_len);
    row[1] = static_cast<int32_t>(message.msg_namelen);
    row[2] = static_cast<int32_t>(message.msg_controllen);
    row[3] = message.msg_flags;
  }
  return received;
}

}  // namespace boundary
