#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>

#include "sigpipe.h"
#include "syscalls.h"

namespace boundary {

namespace {

// One call moves at most MAX_RW_COUNT anyway; −1 is no count.
size_t count_of(int64_t count) { return static_cast<size_t>(std::min(count, kMaxTransfer)); }

}  // namespace

int32_t sendfile(Args& a) {
  const int out = a.i32(0);
  const int input = a.i32(1);
  const int64_t offset = a.safe_integer(2);
  const int64_t count = a.safe_integer(3);
  if (a.complaint()) return a.complaint();
  if (count < 0) return -EINVAL;
  SigpipeGuard guard;
  return guard.watch(a.call([&] {
    off_t at = offset;
    return ::sendfile(out, input, offset < 0 ? nullptr : &at, count_of(count));
  }));
}

int32_t splice(Args& a) {
  const int input = a.i32(0);
  const int64_t in_offset = a.safe_integer(1);
  const int out = a.i32(2);
  const int64_t out_offset = a.safe_integer(3);
  const int64_t length = a.safe_integer(4);
  const int flags = a.flags(5);
  if (a.complaint()) return a.complaint();
  if (length < 0) return -EINVAL;
  SigpipeGuard guard;
  return guard.watch(a.call([&] {
    off_t in_at = in_offset, out_at = out_offset;
    return ::splice(input, in_offset < 0 ? nullptr : &in_at, out, out_offset < 0 ? nullptr : &out_at, count_of(length),
                    static_cast<unsigned>(flags));
  }));
}

int32_t tee(Args& a) {
  const int input = a.i32(0);
  const int out = a.i32(1);
  const int64_t length = a.safe_integer(2);
  const int flags = a.flags(3);
  if (a.complaint()) return a.complaint();
  if (length < 0) return -EINVAL;
  SigpipeGuard guard;
  return guard.watch(a.call([&] { return ::tee(input, out, count_of(length), static_cast<unsigned>(flags)); }));
}

}  // namespace boundary
