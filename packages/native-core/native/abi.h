#pragma once

#include <node_api.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "state.h"

namespace boundary {

constexpr int32_t kMaxErrno = 4095;
constexpr size_t kMaxArguments = 8;
// The registers hold one number per argument, and the result. native.ts uses the same indices.
constexpr size_t kResultRegister = kMaxArguments;
constexpr size_t kRegisters = kMaxArguments + 1;
constexpr size_t kMaxVector = 1024;
// The kernel's MAX_RW_COUNT: no call moves more than this, so every count fits an int32.
constexpr int64_t kMaxTransfer = 0x7ffff000;
constexpr size_t kSockaddrMax = 128;

// The same order as BAD_ARGUMENT_KINDS in src/native.ts.
enum class Kind : int32_t { int32, bytes, vector, within, function, array, safe_integer };

constexpr int32_t bad_argument(size_t index, Kind kind) {
  return -(kMaxErrno + 1 + 8 * static_cast<int32_t>(index) + static_cast<int32_t>(kind));
}

template <typename T>
struct View {
  T* data = nullptr;
  size_t size = 0;
};

using Bytes = View<uint8_t>;

// Four bytes of length, then the sockaddr. A missing slot is a null name and a null length, as the kernel requires.
struct Slot {
  uint8_t* at = nullptr;
  socklen_t length = 0;

  sockaddr* name() const { return at ? reinterpret_cast<sockaddr*>(at + sizeof length) : nullptr; }
  socklen_t* name_length() { return at ? &length : nullptr; }
  // The kernel reports the true length of an address that it had to cut; the reader compares it with the capacity.
  void store() const {
    if (at) std::memcpy(at, &length, sizeof length);
  }
};

// The entries are deliberately left uninitialised: 16 KiB of zeros would cost more than most calls.
struct Vector {
  iovec at[kMaxVector];
  size_t count;
};

template <typename Call>
auto retry(Call call) {
  decltype(call()) rc;
  do rc = call();
  while (rc == -1 && errno == EINTR);
  return rc;
}

template <typename T>
int32_t answer(T rc) {
  return rc == -1 ? -errno : static_cast<int32_t>(rc);
}

// The arguments of one call. A reader that finds an argument of another kind notes the first such complaint and
// returns zeros. So a body first reads all arguments and then uses `call`, which does nothing after a complaint.
class Args {
 public:
  explicit Args(napi_env env_) : env(env_) {}

  bool read(napi_callback_info info) {
    size_t count = kMaxArguments;
    void* data = nullptr;
    if (napi_get_cb_info(env, info, &count, argv_, nullptr, &data) != napi_ok) return false;
    state_ = static_cast<State*>(data);
    return true;
  }

  // For a hot call, whose numbers are in the registers: reading and making numbers through Node-API costs more than
  // many system calls. They are copied at once, since an accessor in a vector may make another call in the meantime.
  bool read_hot(napi_callback_info info) {
    if (!read(info)) return false;
    std::memcpy(numbers_, state().registers, sizeof numbers_);
    hot_ = true;
    return true;
  }

  const napi_env env;

  State& state() const { return *state_; }
  int32_t complaint() const { return complaint_; }

  int32_t refuse(size_t index, Kind kind) {
    if (complaint_ == 0) complaint_ = bad_argument(index, kind);
    return complaint_;
  }

  template <typename Call>
  int32_t call(Call body) const {
    return complaint_ ? complaint_ : answer(retry(body));
  }

  // Not napi_get_value_int32: it turns NaN into descriptor 0 and wraps 2³².
  int32_t i32(size_t index) {
    double value;
    if (!read_number(index, value) || !(value >= INT32_MIN && value <= INT32_MAX) ||
        value != static_cast<int32_t>(value)) {
      refuse(index, Kind::int32);
      return 0;
    }
    return static_cast<int32_t>(value);
  }

  // Masks have bit 31 (EPOLLET), which JavaScript's operators make negative: both forms are the same word.
  uint32_t word(size_t index) {
    double value;
    if (!read_number(index, value) || !(value >= INT32_MIN && value <= UINT32_MAX) ||
        value != static_cast<double>(static_cast<int64_t>(value))) {
      refuse(index, Kind::int32);
      return 0;
    }
    return static_cast<uint32_t>(static_cast<int64_t>(value));
  }

  int flags(size_t index) { return static_cast<int>(word(index)); }

  int64_t safe_integer(size_t index) {
    double value;
    if (!read_number(index, value) || !(value >= -1 && value <= 0x1fffffffffffff) ||
        value != static_cast<double>(static_cast<int64_t>(value))) {
      refuse(index, Kind::safe_integer);
      return 0;
    }
    return static_cast<int64_t>(value);
  }

  bool is_null(size_t index) const {
    napi_valuetype type;
    return napi_typeof(env, argv_[index], &type) == napi_ok && type == napi_null;
  }

  Bytes bytes(size_t index) {
    Bytes view;
    if (!read_bytes(argv_[index], view)) refuse(index, Kind::bytes);
    return view;
  }

  Bytes bytes_or_null(size_t index) {
    Bytes view;
    if (!read_bytes(argv_[index], view) && !is_null(index)) refuse(index, Kind::bytes);
    return view;
  }

  // Bytes `offset … offset + length − 1` of the buffer at `index`; offset and length are the next two arguments. A
  // buffer may be larger than one call moves.
  Bytes range(size_t index) {
    const Bytes whole = bytes(index);
    const int64_t offset = safe_integer(index + 1);
    const int64_t length = safe_integer(index + 2);
    if (complaint_) return {};
    if (offset < 0 || static_cast<size_t>(offset) > whole.size) {
      refuse(index + 1, Kind::within);
      return {};
    }
    if (length < 0 || static_cast<size_t>(length) > whole.size - static_cast<size_t>(offset)) {
      refuse(index + 2, Kind::within);
      return {};
    }
    return {whole.data + offset, static_cast<size_t>(std::min(length, kMaxTransfer))};
  }

  View<int32_t> int32s(size_t index, size_t least) { return array<int32_t>(index, napi_int32_array, least); }
  View<uint32_t> uint32s(size_t index, size_t least) { return array<uint32_t>(index, napi_uint32_array, least); }
  View<uint64_t> uint64s(size_t index, size_t least) { return array<uint64_t>(index, napi_biguint64_array, least); }

  Slot slot(size_t index) {
    const Bytes view = bytes(index);
    if (view.size >= sizeof(socklen_t)) return {view.data, static_cast<socklen_t>(view.size - sizeof(socklen_t))};
    refuse(index, Kind::within);
    return {};
  }

  Slot slot_or_null(size_t index) {
    if (is_null(index)) return {};
    return slot(index);
  }

  // Must be read before every other pointer: an element may be an accessor, which may detach a buffer.
  void vector(size_t index, Vector& vector);

  // For keeping a reference; a reader has already checked the value.
  napi_value value(size_t index) const { return argv_[index]; }

  napi_value function(size_t index) {
    napi_valuetype type;
    if (napi_typeof(env, argv_[index], &type) != napi_ok || type != napi_function) refuse(index, Kind::function);
    return argv_[index];
  }

 private:
  bool read_number(size_t index, double& value) const {
    if (!hot_) return napi_get_value_double(env, argv_[index], &value) == napi_ok;
    value = numbers_[index];
    return true;
  }

  bool read_bytes(napi_value value, Bytes& view) const {
    napi_typedarray_type type;
    void* data;
    size_t size;
    if (napi_get_typedarray_info(env, value, &type, &size, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      return false;
    }
    view = {static_cast<uint8_t*>(data), size};
    return true;
  }

  template <typename T>
  View<T> array(size_t index, napi_typedarray_type wanted, size_t least) {
    napi_typedarray_type type;
    void* data;
    size_t count;
    if (napi_get_typedarray_info(env, argv_[index], &type, &count, &data, nullptr, nullptr) != napi_ok ||
        type != wanted || count < least) {
      refuse(index, Kind::array);
      return {};
    }
    return {static_cast<T*>(data), count};
  }

  int32_t complaint_ = 0;
  State* state_ = nullptr;
  napi_value argv_[kMaxArguments];
  bool hot_ = false;
  double numbers_[kMaxArguments];
};

// The normal way from JavaScript to a body and back: one call to fetch the arguments, one to make the result.
template <int32_t (*Body)(Args&)>
napi_value enter(napi_env env, napi_callback_info info) {
  Args args(env);
  napi_value result;
  return args.read(info) && napi_create_int32(env, Body(args), &result) == napi_ok ? result : nullptr;
}

// The fast way: the numbers and the result pass through the registers.
template <int32_t (*Body)(Args&)>
napi_value enter_hot(napi_env env, napi_callback_info info) {
  Args args(env);
  if (args.read_hot(info)) args.state().registers[kResultRegister] = Body(args);
  return nullptr;
}

}  // namespace boundary
