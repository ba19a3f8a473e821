#include "abi.h"

namespace boundary {

void Args::vector(size_t index, Vector& vector) {
  vector.count = 0;
  // The usual single buffer, without an array around it: reading an element takes longer than most calls.
  Bytes single;
  if (read_bytes(argv_[index], single)) {
    vector.at[0] = {single.data, single.size};
    vector.count = 1;
    return;
  }
  uint32_t count = 0;
  if (napi_get_array_length(env, argv_[index], &count) != napi_ok || count > kMaxVector) {
    refuse(index, Kind::vector);
    return;
  }
  napi_value elements[kMaxVector];
  for (uint32_t i = 0; i < count; i++) {
    if (napi_get_element(env, argv_[index], i, &elements[i]) != napi_ok) {
      refuse(index, Kind::vector);
      return;
    }
  }
  for (uint32_t i = 0; i < count; i++) {
    Bytes view;
    if (!read_bytes(elements[i], view)) {
      refuse(index, Kind::vector);
      return;
    }
    vector.at[i] = {view.data, view.size};
  }
  vector.count = count;
}

}  // namespace boundary
