#include <linux/filter.h>
#include <netinet/in.h>

#include "syscalls.h"

namespace boundary {

namespace {

// Defined here, because the libc headers of an older machine lack half of them.
constexpr int kSoGetFilter = 26;    // SOL_SOCKET
constexpr int kSoPeerPidfd = 77;    // SOL_SOCKET
constexpr int kIpMsfilter = 41;     // IPPROTO_IP
constexpr int kMcastMsfilter = 48;  // IPPROTO_IP, IPPROTO_IPV6
constexpr int kTcpZerocopyReceive = 35;
constexpr int kTcpAoGetKeys = 41;
constexpr int kSolMptcp = 284;
constexpr int kMptcpFullInfo = 4;

uint32_t word_at(Bytes value, size_t offset) {
  uint32_t word = 0;
  if (offset + sizeof word <= value.size) std::memcpy(&word, value.data + offset, sizeof word);
  return word;
}

// The number of bytes that the kernel may write from the start of the value. For the few options whose value states
// the size of the answer, optlen doesn't bound it; SIZE_MAX if the value holds an address to write to.
size_t reach(int level, int option, Bytes value, size_t length) {
  const Bytes asked{value.data, length};
  if (level == IPPROTO_IP && option == kIpMsfilter) return 16 + size_t{4} * word_at(asked, 12);
  if ((level == IPPROTO_IP || level == IPPROTO_IPV6) && option == kMcastMsfilter) {
    return 144 + size_t{128} * word_at(asked, 140);
  }
  if (level == IPPROTO_TCP && option == kTcpAoGetKeys) {
    const size_t keys = word_at(asked, 272);
    return length * (keys ? keys : 1);
  }
  if (level == IPPROTO_TCP && option == kTcpZerocopyReceive) return SIZE_MAX;
  if (level == kSolMptcp && option == kMptcpFullInfo) return SIZE_MAX;
  return length;
}

// The length to tell the kernel, at most that of the value.
socklen_t length_within(Args& a, size_t index, Bytes value) {
  const int32_t length = a.i32(index);
  if (length < 0 || static_cast<size_t>(length) > value.size) a.refuse(index, Kind::within);
  return static_cast<socklen_t>(length);
}

}  // namespace

int32_t getsockopt(Args& a) {
  const int fd = a.i32(0);
  const int level = a.i32(1);
  const int option = a.i32(2);
  const Bytes value = a.bytes(3);
  socklen_t length = length_within(a, 4, value);
  if (a.complaint()) return a.complaint();

  const size_t reached = reach(level, option, value, length);
  if (reached == SIZE_MAX) return -EOPNOTSUPP;
  if (reached > value.size) return a.refuse(3, Kind::within);
  // The kernel would open the descriptor even for a short buffer, and cut its number.
  const bool opens = level == SOL_SOCKET && option == kSoPeerPidfd;
  if (opens && length < sizeof(int)) return -EINVAL;

  // For SO_GET_FILTER the length counts instructions, not bytes.
  const socklen_t unit = level == SOL_SOCKET && option == kSoGetFilter ? sizeof(sock_filter) : 1;
  length /= unit;
  const int32_t rc = a.call([&] { return ::getsockopt(fd, level, option, value.data, &length); });
  if (rc < 0) return rc;
  if (opens) a.state().created(static_cast<int>(word_at(value, 0)));
  return static_cast<int32_t>(length * unit);
}

int32_t setsockopt(Args& a) {
  const int fd = a.i32(0);
  const int level = a.i32(1);
  const int option = a.i32(2);
  const Bytes value = a.bytes_or_null(3);
  const socklen_t length = length_within(a, 4, value);
  // Node-API has no address for an empty array, and an empty value isn't the null pointer.
  const uint8_t empty = 0;
  const void* at = value.data || a.is_null(3) ? value.data : &empty;
  return a.call([&] { return ::setsockopt(fd, level, option, at, length); });
}

int32_t setsockopt_fprog(Args& a) {
  const int fd = a.i32(0);
  const int level = a.i32(1);
  const int option = a.i32(2);
  const Bytes program = a.bytes(3);
  if (a.complaint()) return a.complaint();
  // The length field has 16 bits: a longer program would be cut without an error.
  if (program.size % sizeof(sock_filter) || program.size / sizeof(sock_filter) > BPF_MAXINSNS) return -EINVAL;
  sock_fprog filter{};
  filter.len = static_cast<unsigned short>(program.size / sizeof(sock_filter));
  filter.filter = reinterpret_cast<sock_filter*>(program.data);
  return a.call([&] { return ::setsockopt(fd, level, option, &filter, sizeof filter); });
}

}  // namespace boundary
