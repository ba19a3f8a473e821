#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace boundary {

struct Watch;
struct Resolver;

// The descriptors that one environment must close: a Worker can be terminated between any two statements of its
// JavaScript, and no finalizer of the language runs then.
class OwnedDescriptors {
 public:
  // Whether the descriptor can be marked without allocating memory.
  bool covers(int fd) const;
  void mark(int fd);
  void unmark(int fd);
  void close_all();

 private:
  static constexpr int kBits = 64;
  std::vector<uint64_t> words_ = std::vector<uint64_t>(16);
};

// Everything that outlives a call. One per environment (the main thread, each Worker) and per loaded copy of the
// library; only its own thread uses it.
struct State {
  // The numbers of hot calls: the memory of a Float64Array that JavaScript uses, too.
  double* registers = nullptr;
  OwnedDescriptors owned;
  // The index is the handle that JavaScript holds; a null entry is free.
  std::vector<Watch*> watches;
  // The number of uv handles whose close callback has not run yet, detached ones included: the environment must wait
  // for them.
  size_t open_watches = 0;
  napi_async_cleanup_hook_handle leaving = nullptr;
  // One for each copy of the package's JavaScript; the index is its handle.
  std::vector<std::shared_ptr<Resolver>> resolvers;

  // Marks the descriptor that a call has created; −errno passes through.
  int32_t created(int32_t fd) {
    if (fd >= 0) owned.mark(fd);
    return fd;
  }
};

void close_watches(State& state);

}  // namespace boundary
