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

#define NATIVE_CORE_DESCRIBE(name) \
  {#name, nullptr, enter_hot<name>, nullptr, nullptr, nullptr, napi_default_jsproperty, state},
  const napi_property_descriptor hot_functions[] = {NATIVE_CORE_HOT(NATIVE_CORE_DESCRIBE)};
#undef NATIVE_CORE_DESCRIBE
  Napi::Object hot = Napi::Object::New(env);
  napi_define_properties(env, hot, std::size(hot_functions), hot_functions);
  exports.Set("hot", hot);

  Napi::Float64Array registers = Napi::Float64Array::New(env, kRegisters);
  state->registers = registers.Data();
  // The memory stays as long as the environment, whatever JavaScript does with its own reference; so does this one.
  napi_ref kept;
  napi_create_reference(env, registers, 1, &kept);
  exports.Set("registers", registers);
  return exports;
}

}  // namespace

}  // namespace boundary

using boundary::init;

NODE_API_MODULE(native_core, init)
