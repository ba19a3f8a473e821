#pragma once

#include "abi.h"

namespace boundary {

// What epoll_pwait2 does, for whoever has its arguments already: up to `count` events, three words each, within the
// view's size. `timeout` in nanoseconds; −1 waits for ever. Answers with −errno.
int32_t wait_for_events(int epfd, View<uint32_t> out, int count, int64_t timeout);

}  // namespace boundary
