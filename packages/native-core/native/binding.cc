#include <napi.h>

#include <iterator>

#include "syscalls.h"

namespace boundary {

namespace {

// One hook, so that the order does not hang on the order of registration: a descriptor leaves the loop before its
// number can come back as something else.
void leave(napi_async_cleanup_hook_handle hook, void* data) {
  State& state = *static_cast<State*>(data);
  state.leaving = hook;
  close_watches(state);
  state.owned.close_all();
  if (state.open_watches == 0) napi_remove_async_cleanup_hook(hook);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* state = new State;
  // Deleted with the environment's last reference, which the hook above holds until every uv handle is closed.
  env.SetInstanceData<State>(state);
  napi_add_async_cleanup_hook(env, leave, state, nullptr);

#define NATIVE_CORE_DESCRIBE(name) \
  {#name, nullptr, enter<name>, nullptr, nullptr, nullptr, napi_default_jsproperty, state},
  const napi_property_descriptor functions[] = {NATIVE_CORE_SYSCALLS(NATIVE_CORE_DESCRIBE)};
#undef NATIVE_CORE_DESCRIBE
  napi_define_properties(env, exports, std::size(functions), functions);

  // Not with Napi::…::New and Set, which end the process where they fail: a Worker may be terminated while it loads this,
  // and then nothing can be made any more, for exports that nobody will ask for.
  void* memory;
  napi_value buffer, registers, hot;
  if (napi_create_arraybuffer(env, kRegisters * sizeof(double), &memory, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_float64_array, kRegisters, buffer, 0, &registers) != napi_ok ||
      napi_create_object(env, &hot) != napi_ok) {
    return exports;
  }
  state->registers = static_cast<double*>(memory);
  // The memory stays as long as the environment, whatever JavaScript does with its own reference; so does this one.
  napi_ref kept;
  napi_create_reference(env, registers, 1, &kept);

#define NATIVE_CORE_DESCRIBE(name) \
  {#name, nullptr, enter_hot<name>, nullptr, nullptr, nullptr, napi_default_jsproperty, state},
  const napi_property_descriptor hot_functions[] = {NATIVE_CORE_HOT(NATIVE_CORE_DESCRIBE)};
#undef NATIVE_CORE_DESCRIBE
  napi_define_properties(env, hot, std::size(hot_functions), hot_functions);
  const napi_property_descriptor values[] = {
      {"hot", nullptr, nullptr, nullptr, nullptr, hot, napi_default_jsproperty, nullptr},
      {"registers", nullptr, nullptr, nullptr, nullptr, registers, napi_default_jsproperty, nullptr},
  };
  napi_define_properties(env, exports, std::size(values), values);
  return exports;
}

}  // namespace

}  // namespace boundary

using boundary::init;

NODE_API_MODULE(native_core, init)
