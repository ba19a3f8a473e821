#pragma once

#include "abi.h"

namespace boundary {

// epoll_pwait2 with arguments that are already checked: writes up to `count` events, three words each, within the
// view's size. `timeout` in nanoseconds; −1 waits forever. Returns −errno on failure.
int32_t wait_for_events(int epfd, View<uint32_t> out, int count, int64_t timeout);

}  // namespace boundary
