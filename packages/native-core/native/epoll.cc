#include "epoll.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "syscalls.h"

// The number is the same on every architecture; older headers lack it.
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

namespace boundary {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMillisecond = 1'000'000;

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * kSecond + time.tv_nsec;
}

// musl has no wrapper, glibc has one since 2.35, and the kernel has the call since 5.11. Container runtimes of that
// time answer EPERM to unknown calls. The fallback knows only milliseconds; waiting a little too long is better than
// spinning. https://man7.org/linux/man-pages/man2/epoll_wait.2.html
int wait_once(int epfd, epoll_event* events, int count, int64_t timeout) {
  if (timeout <= 0) return ::epoll_wait(epfd, events, count, static_cast<int>(timeout));
  const timespec time{static_cast<time_t>(timeout / kSecond), static_cast<long>(timeout % kSecond)};
  const int rc = static_cast<int>(::syscall(SYS_epoll_pwait2, epfd, events, count, &time, nullptr, size_t{0}));
  if (rc != -1 || (errno != ENOSYS && errno != EPERM)) return rc;
  const int64_t milliseconds = (timeout + kMillisecond - 1) / kMillisecond;
  return ::epoll_wait(epfd, events, count, static_cast<int>(std::min<int64_t>(milliseconds, INT32_MAX)));
}

}  // namespace

int32_t wait_for_events(int epfd, View<uint32_t> out, int count, int64_t timeout) {
  constexpr int kBatch = 1024;
  // The struct is packed on x86-64 only; copying makes it three words everywhere.
  epoll_event events[kBatch];
  const int64_t deadline = timeout > 0 ? now() + timeout : 0;
  int64_t left = timeout;
  int rc;
  while ((rc = wait_once(epfd, events, std::min(count, kBatch), left)) == -1 && errno == EINTR) {
    if (timeout > 0) left = std::max<int64_t>(deadline - now(), 0);
  }
  for (int i = 0; i < rc; i++) {
    const uint64_t data = events[i].data.u64;
    out.data[3 * i] = events[i].events;
    out.data[3 * i + 1] = static_cast<uint32_t>(data);
    out.data[3 * i + 2] = static_cast<uint32_t>(data >> 32);
  }
  return answer(rc);
}

int32_t epoll_create1(Args& a) {
  const int flags = a.flags(0);
  return a.state().created(a.call([&] { return ::epoll_create1(flags | EPOLL_CLOEXEC); }));
}

int32_t epoll_ctl(Args& a) {
  const int epfd = a.i32(0);
  const int operation = a.i32(1);
  const int fd = a.i32(2);
  epoll_event event{};
  event.events = a.word(3);
  const uint64_t low = a.word(4);
  const uint64_t high = a.word(5);
  event.data.u64 = high << 32 | low;
  return a.call([&] { return ::epoll_ctl(epfd, operation, fd, &event); });
}

int32_t epoll_pwait2(Args& a) {
  const int epfd = a.i32(0);
  const View<uint32_t> out = a.uint32s(1, 3);
  const int32_t wanted = a.i32(2);
  const int64_t timeout = a.safe_integer(3);
  if (a.complaint()) return a.complaint();
  if (wanted > 0 && static_cast<size_t>(wanted) > out.size / 3) return a.refuse(2, Kind::within);
  return wait_for_events(epfd, out, wanted, timeout);
}

}  // namespace boundary
