#include <node_api.h>

#include <iterator>
#include <memory>

#include "syscalls.h"

namespace boundary {

namespace {

// One hook for everything, so that the order does not depend on the order of registration: a descriptor leaves the
// loop before its number can be reused.
void leave(napi_async_cleanup_hook_handle hook, void* data) {
  State& state = *static_cast<State*>(data);
  state.leaving = hook;
  close_watches(state);
  state.owned.close_all();
  if (state.open_watches == 0) napi_remove_async_cleanup_hook(hook);
}

void drop(napi_env, void* data, void*) { delete static_cast<State*>(data); }

// The environment owns the state: it is deleted with the environment's last reference, which the hook holds until
// every uv handle is closed. Returns null if the environment accepts no more.
State* make_state(napi_env env) {
  auto made = std::make_unique<State>();
  if (napi_set_instance_data(env, made.get(), drop, nullptr) != napi_ok) return nullptr;
  State* const state = made.release();
  return napi_add_async_cleanup_hook(env, leave, state, nullptr) == napi_ok ? state : nullptr;
}

// A failure here means that the environment is being terminated, as a Worker may be while it loads this. Then nothing
// uses the missing exports.
napi_value init(napi_env env, napi_value exports) {
  State* const state = make_state(env);
  void* memory;
  napi_value buffer, registers, hot;
  if (!state || napi_create_arraybuffer(env, kRegisters * sizeof(double), &memory, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_float64_array, kRegisters, buffer, 0, &registers) != napi_ok ||
      napi_create_object(env, &hot) != napi_ok) {
    return nullptr;
  }
  // The memory must last as long as the environment, whatever JavaScript does with its own reference: keep another
  // one.
  napi_ref kept;
  if (napi_create_reference(env, registers, 1, &kept) != napi_ok) return nullptr;
  state->registers = static_cast<double*>(memory);

#define NATIVE_CORE_DESCRIBE(name) \
  {#name, nullptr, enter<name>, nullptr, nullptr, nullptr, napi_default_jsproperty, state},
  const napi_property_descriptor functions[] = {NATIVE_CORE_SYSCALLS(NATIVE_CORE_DESCRIBE)};
#undef NATIVE_CORE_DESCRIBE
#define NATIVE_CORE_DESCRIBE(name) \
  {#name, nullptr, enter_hot<name>, nullptr, nullptr, nullptr, napi_default_jsproperty, state},
  const napi_property_descriptor hot_functions[] = {NATIVE_CORE_HOT(NATIVE_CORE_DESCRIBE)};
#undef NATIVE_CORE_DESCRIBE
  const napi_property_descriptor values[] = {
      {"hot", nullptr, nullptr, nullptr, nullptr, hot, napi_default_jsproperty, nullptr},
      {"registers", nullptr, nullptr, nullptr, nullptr, registers, napi_default_jsproperty, nullptr},
  };
  if (napi_define_properties(env, hot, std::size(hot_functions), hot_functions) != napi_ok ||
      napi_define_properties(env, exports, std::size(functions), functions) != napi_ok ||
      napi_define_properties(env, exports, std::size(values), values) != napi_ok) {
    return nullptr;
  }
  return exports;
}

}  // namespace

}  // namespace boundary

NAPI_MODULE_INIT() { return boundary::init(env, exports); }
