// The only file that knows libuv.
#include <uv.h>

#include "syscalls.h"

namespace boundary {

struct Watch {
  uv_poll_t poll;
  napi_env env;
  State* state;
  napi_ref ready;
  napi_async_context context;
};

namespace {

void on_closed(uv_handle_t* handle) {
  auto* watch = static_cast<Watch*>(handle->data);
  State& state = *watch->state;
  napi_delete_reference(watch->env, watch->ready);
  napi_async_destroy(watch->env, watch->context);
  delete watch;
  if (--state.open_watches == 0 && state.leaving) napi_remove_async_cleanup_hook(state.leaving);
}

void close_watch(Watch* watch) { uv_close(reinterpret_cast<uv_handle_t*>(&watch->poll), on_closed); }

// An exception thrown by `ready` has no caller to go to. Without one, a failed call means that the environment is
// being terminated, and nothing more is to be done in it.
void on_ready(uv_poll_t* poll, int, int) {
  auto* watch = static_cast<Watch*>(poll->data);
  const napi_env env = watch->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value ready, global;
  if (napi_get_reference_value(env, watch->ready, &ready) == napi_ok && napi_get_global(env, &global) == napi_ok &&
      napi_make_callback(env, watch->context, global, ready, 0, nullptr, nullptr) != napi_ok) {
    bool thrown = false;
    napi_value error;
    if (napi_is_exception_pending(env, &thrown) == napi_ok && thrown &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);
    }
  }
  napi_close_handle_scope(env, scope);
}

Watch* watch_at(Args& a) {
  const int32_t handle = a.i32(0);
  const auto& watches = a.state().watches;
  return handle >= 0 && static_cast<size_t>(handle) < watches.size() ? watches[static_cast<size_t>(handle)] : nullptr;
}

}  // namespace

int32_t loop_attach(Args& a) {
  const int epfd = a.i32(0);
  const napi_value ready = a.function(1);
  if (a.complaint()) return a.complaint();
  uv_loop_t* loop;
  if (napi_get_uv_event_loop(a.env, &loop) != napi_ok) return -ENOSYS;

  auto* watch = new Watch{};
  int rc = uv_poll_init(loop, &watch->poll, epfd);
  if (rc < 0) {
    delete watch;
    return rc;
  }
  State& state = a.state();
  watch->env = a.env;
  watch->state = &state;
  watch->poll.data = watch;
  napi_value name;
  napi_create_string_utf8(a.env, "native-core", NAPI_AUTO_LENGTH, &name);
  napi_async_init(a.env, nullptr, name, &watch->context);
  napi_create_reference(a.env, ready, 1, &watch->ready);
  state.open_watches++;

  rc = uv_poll_start(&watch->poll, UV_READABLE, on_ready);
  if (rc < 0) {
    close_watch(watch);
    return rc;
  }
  uv_unref(reinterpret_cast<uv_handle_t*>(&watch->poll));

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
  auto* handle = reinterpret_cast<uv_handle_t*>(&watch->poll);
  on ? uv_ref(handle) : uv_unref(handle);
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
