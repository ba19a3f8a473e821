#pragma once

#include "abi.h"

// clang-format off
// THE LIST: one word per function that JavaScript sees. A new one also needs its body in one of the .cc files and its
// line in src/native.ts.
#define NATIVE_CORE_SYSCALLS(X)                                                                                       \
  /* fd.cc */                                                                                                         \
  X(close) X(own) X(disown) X(fcntl) X(ioctl) X(pipe2) X(eventfd) X(readv) X(writev) X(getrlimit) X(setrlimit)        \
  /* socket.cc */                                                                                                     \
  X(socket) X(socketpair) X(bind) X(listen) X(accept4) X(connect) X(shutdown) X(getsockname) X(getpeername)           \
  /* option.cc */                                                                                                     \
  X(getsockopt) X(setsockopt) X(setsockopt_fprog)                                                                     \
  /* message.cc */                                                                                                    \
  X(send) X(recv) X(sendto) X(recvfrom) X(sendmsg) X(recvmsg) X(sendmmsg) X(recvmmsg)                                 \
  /* transfer.cc */                                                                                                   \
  X(sendfile) X(splice) X(tee)                                                                                        \
  /* epoll.cc */                                                                                                      \
  X(epoll_create1) X(epoll_ctl) X(epoll_pwait2)                                                                       \
  /* resolve.cc */                                                                                                    \
  X(inet_pton) X(inet_ntop) X(if_nametoindex) X(if_indextoname)                                                       \
  X(resolve_open) X(resolve_limit) X(getaddrinfo) X(getnameinfo) X(resolve_cancel)                                    \
  /* watch.cc */                                                                                                      \
  X(loop_attach) X(loop_ref) X(loop_lead) X(loop_detach)

// The calls that a server makes for every event; they also get the fast way in (enter_hot).
#define NATIVE_CORE_HOT(X)                                                                                            \
  X(own) X(close) X(accept4) X(getsockopt) X(setsockopt) X(send) X(recv) X(sendto) X(recvfrom) X(sendmsg) X(recvmsg)  \
  X(epoll_ctl) X(epoll_pwait2)
// clang-format on

namespace boundary {

#define NATIVE_CORE_DECLARE(name) int32_t name(Args& a);
NATIVE_CORE_SYSCALLS(NATIVE_CORE_DECLARE)
#undef NATIVE_CORE_DECLARE

}  // namespace boundary
