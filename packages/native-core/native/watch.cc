// The only file that knows libuv.
#include <sys/epoll.h>
#include <uv.h>

#include <memory>

#include "epoll.h"
#include "syscalls.h"

namespace boundary {

struct Watch {
  uv_poll_t poll{};
  // Calls `lead`, outside of the loop's batch of events, whose rest would otherwise have to wait. It stays active
  // while `poll` is stopped, so that the loop is alive and its timeout is right.
  uv_prepare_t leading{};
  int open_handles = 0;
  const int epfd;
  bool leads = false;
  const napi_env env;
  State& state;
  napi_ref events = nullptr, ready = nullptr;
  napi_async_context context = nullptr;

  Watch(Args& a, int epfd_) : epfd(epfd_), env(a.env), state(a.state()) {}

  ~Watch() {
    if (events) napi_delete_reference(env, events);
    if (ready) napi_delete_reference(env, ready);
    if (context) napi_async_destroy(env, context);
  }

  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  uv_loop_t* loop() const { return poll.loop; }
  bool closing() const { return uv_is_closing(reinterpret_cast<const uv_handle_t*>(&poll)); }
};

namespace {

// The data of events of Node's own loop, while a watch leads.
constexpr uint64_t kNodesLoop = UINT64_MAX;
// The most batches that a leading watch delivers before the loop gets its turn in any case.
constexpr int kTurns = 64;

void on_closed(uv_handle_t* handle) {
  auto* watch = static_cast<Watch*>(handle->data);
  if (--watch->open_handles > 0) return;
  State& state = watch->state;
  delete watch;
  if (--state.open_watches == 0 && state.leaving) napi_remove_async_cleanup_hook(state.leaving);
}

// From its first uv handle on, the loop owns the watch; the watch is deleted when its last handle is closed.
void close_watch(Watch* watch) {
  uv_close(reinterpret_cast<uv_handle_t*>(&watch->poll), on_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&watch->leading), on_closed);
}

// An exception thrown by `ready` has no caller to go to. Any other failure of the call means that the environment is
// being terminated, and that nothing more can be done in it.
bool call_ready(Watch* watch, int32_t count) {
  const napi_env env = watch->env;
  napi_value ready, global, argument;
  if (napi_get_reference_value(env, watch->ready, &ready) != napi_ok || napi_get_global(env, &global) != napi_ok ||
      napi_create_int32(env, count, &argument) != napi_ok) {
    return false;
  }
  if (napi_make_callback(env, watch->context, global, ready, 1, &argument, nullptr) == napi_ok) return true;
  bool thrown = false;
  napi_value error;
  if (napi_is_exception_pending(env, &thrown) != napi_ok || !thrown ||
      napi_get_and_clear_last_exception(env, &error) != napi_ok) {
    return false;
  }
  napi_fatal_exception(env, error);
  return true;
}

// JavaScript may have detached the memory in the meantime.
View<uint32_t> events_of(const Watch* watch) {
  napi_value array;
  napi_typedarray_type type;
  size_t size;
  void* data;
  if (napi_get_reference_value(watch->env, watch->events, &array) != napi_ok ||
      napi_get_typedarray_info(watch->env, array, &type, &size, &data, nullptr, nullptr) != napi_ok) {
    return {};
  }
  return {static_cast<uint32_t*>(data), size};
}

// Removes Node's own loop from the events. Returns whether it was among them.
bool take_nodes_loop(View<uint32_t> events, int32_t& count) {
  for (int32_t i = 0; i < count; i++) {
    uint32_t* event = events.data + 3 * i;
    if (event[1] != UINT32_MAX || event[2] != UINT32_MAX) continue;
    count--;
    std::memmove(event, event + 3, 3 * sizeof(uint32_t) * static_cast<size_t>(count - i));
    return true;
  }
  return false;
}

// Fetches events and hands them over. Returns true if there may be more and Node's own loop has nothing to do.
bool deliver(Watch* watch, int64_t timeout) {
  napi_handle_scope scope;
  if (napi_open_handle_scope(watch->env, &scope) != napi_ok) return false;
  const View<uint32_t> events = events_of(watch);
  int32_t count = wait_for_events(watch->epfd, events, static_cast<int>(events.size / 3), timeout);
  const bool nodes_turn = take_nodes_loop(events, count);
  const bool called = count != 0 && call_ready(watch, count);
  napi_close_handle_scope(watch->env, scope);
  return called && count > 0 && !nodes_turn;
}

// Calls `ready` outside of a batch.
void tell(Watch* watch, int32_t failure) {
  napi_handle_scope scope;
  if (napi_open_handle_scope(watch->env, &scope) != napi_ok) return;
  call_ready(watch, failure);
  napi_close_handle_scope(watch->env, scope);
}

void on_ready(uv_poll_t* poll, int, int);

// Waits in this epoll instance until Node's loop has something to do: events of its own, a timer, an immediate, a
// handle to close or to start. Node's instance must not hold this one at the same time: epoll refuses two instances
// that wait for each other with ELOOP. https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
void lead(uv_prepare_t* prepare) {
  auto* watch = static_cast<Watch*>(prepare->data);
  uv_loop_t* loop = watch->loop();
  uv_poll_stop(&watch->poll);
  epoll_event nodes{};
  nodes.events = EPOLLIN;
  nodes.data.u64 = kNodesLoop;
  if (::epoll_ctl(watch->epfd, EPOLL_CTL_ADD, uv_backend_fd(loop), &nodes) == 0) {
    bool more = true;
    // The timeout doesn't reveal everything, such as immediates that keep nothing alive.
    for (int turn = 0; turn < kTurns && more && watch->leads && !watch->closing(); turn++) {
      uv_update_time(loop);
      const int timeout = uv_backend_timeout(loop);
      more = timeout != 0 && deliver(watch, timeout < 0 ? -1 : int64_t{timeout} * 1'000'000);
    }
    if (!watch->closing() && ::epoll_ctl(watch->epfd, EPOLL_CTL_DEL, uv_backend_fd(loop), nullptr) == -1) {
      // Node's loop can't go on with an instance that holds it: libuv would end the process. This instance delivers
      // no more events, and `ready` is told so.
      const int32_t failed = -errno;
      uv_prepare_stop(prepare);
      tell(watch, failed);
      return;
    }
  } else if (errno == EBADF) {
    // Other code has closed the instance; libuv would end the process over it.
    uv_prepare_stop(prepare);
    tell(watch, -EBADF);
    return;
  }
  if (watch->closing()) return;
  uv_prepare_stop(prepare);
  // Other code may have closed the instance, and the loop may watch another descriptor that got its number.
  const int rc = uv_poll_start(&watch->poll, UV_READABLE, on_ready);
  if (rc < 0) tell(watch, rc);
}

void on_ready(uv_poll_t* poll, int, int) {
  auto* watch = static_cast<Watch*>(poll->data);
  if (deliver(watch, 0) && watch->leads && !watch->closing()) uv_prepare_start(&watch->leading, lead);
}

Watch* watch_at(Args& a) {
  const int32_t handle = a.i32(0);
  const auto& watches = a.state().watches;
  return handle >= 0 && static_cast<size_t>(handle) < watches.size() ? watches[static_cast<size_t>(handle)] : nullptr;
}

}  // namespace

int32_t loop_attach(Args& a) {
  const int epfd = a.i32(0);
  a.uint32s(1, 3);
  const napi_value events = a.value(1);
  const napi_value ready = a.function(2);
  if (a.complaint()) return a.complaint();
  uv_loop_t* loop;
  if (napi_get_uv_event_loop(a.env, &loop) != napi_ok) return -ENOSYS;

  auto made = std::make_unique<Watch>(a, epfd);
  napi_value name;
  if (napi_create_string_utf8(a.env, "native-core", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(a.env, nullptr, name, &made->context) != napi_ok ||
      napi_create_reference(a.env, events, 1, &made->events) != napi_ok ||
      napi_create_reference(a.env, ready, 1, &made->ready) != napi_ok) {
    return -ENOMEM;
  }
  int rc = uv_poll_init(loop, &made->poll, epfd);
  if (rc < 0) return rc;
  Watch* const watch = made.release();
  uv_prepare_init(loop, &watch->leading);
  State& state = a.state();
  watch->open_handles = 2;
  watch->poll.data = watch->leading.data = watch;
  state.open_watches++;

  rc = uv_poll_start(&watch->poll, UV_READABLE, on_ready);
  if (rc < 0) {
    close_watch(watch);
    return rc;
  }
  uv_unref(reinterpret_cast<uv_handle_t*>(&watch->poll));
  uv_unref(reinterpret_cast<uv_handle_t*>(&watch->leading));

  size_t handle = 0;
  while (handle < state.watches.size() && state.watches[handle]) handle++;
  if (handle == state.watches.size()) state.watches.push_back(nullptr);
  state.watches[handle] = watch;
  return static_cast<int32_t>(handle);
}

int32_t loop_ref(Args& a) {
  Watch* watch = watch_at(a);
  const int32_t on = a.i32(1);
  if (a.complaint()) return a.complaint();
  if (!watch) return -EBADF;
  for (auto* handle : {reinterpret_cast<uv_handle_t*>(&watch->poll), reinterpret_cast<uv_handle_t*>(&watch->leading)}) {
    on ? uv_ref(handle) : uv_unref(handle);
  }
  return 0;
}

int32_t loop_lead(Args& a) {
  Watch* watch = watch_at(a);
  const int32_t on = a.i32(1);
  if (a.complaint()) return a.complaint();
  if (!watch) return -EBADF;
  watch->leads = on != 0;
  return 0;
}

int32_t loop_detach(Args& a) {
  Watch* watch = watch_at(a);
  if (a.complaint()) return a.complaint();
  if (!watch) return -EBADF;
  a.state().watches[static_cast<size_t>(a.i32(0))] = nullptr;
  close_watch(watch);
  return 0;
}

void close_watches(State& state) {
  for (Watch* watch : state.watches) {
    if (watch) close_watch(watch);
  }
  state.watches.clear();
}

}  // namespace boundary
