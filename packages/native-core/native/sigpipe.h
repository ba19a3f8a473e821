#pragma once

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <cstdint>
#include <ctime>

namespace boundary {

// For calls that have no MSG_NOSIGNAL. Ignoring SIGPIPE is the program's decision, not a library's. So the guard
// blocks it on this thread during the call, and takes a SIGPIPE that the call raised.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    // It can be pending before the call only if it was blocked before.
    if (sigismember(&before_, SIGPIPE)) {
      sigset_t pending;
      sigpending(&pending);
      was_pending_ = sigismember(&pending, SIGPIPE);
    }
  }

  ~SigpipeGuard() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

  int32_t watch(int32_t rc) {
    if (rc == -EPIPE && !was_pending_) {
      const timespec now{};
      while (sigtimedwait(&pipe_, nullptr, &now) == -1 && errno == EINTR) {
      }
    }
    return rc;
  }

 private:
  sigset_t pipe_;
  sigset_t before_;
  bool was_pending_ = false;
};

}  // namespace boundary
