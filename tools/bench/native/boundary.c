/* Makes one of the calls of boundary.ts from C, and prints the nanoseconds of CPU time per call. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int left, right, udp, epoll;
static char buffer[64];

static void nothing_there(void) { recv(left, buffer, sizeof buffer, 0); }

static void send_recv(void) {
  send(right, buffer, sizeof buffer, MSG_NOSIGNAL);
  recv(left, buffer, sizeof buffer, 0);
}

static void sendmsg_recvmsg(void) {
  struct iovec piece = {buffer, sizeof buffer};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
  sendmsg(udp, &message, MSG_NOSIGNAL);
  recvmsg(udp, &message, MSG_CMSG_CLOEXEC);
}

static void get_option(void) {
  int value;
  socklen_t length = sizeof value;
  getsockopt(left, SOL_SOCKET, SO_RCVBUF, &value, &length);
}

static void set_option(void) {
  int off = 0;
  setsockopt(left, SOL_SOCKET, SO_KEEPALIVE, &off, sizeof off);
}

static void name(void) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  getsockname(udp, (struct sockaddr *)&address, &length);
}

static void flags(void) { fcntl(left, F_GETFL); }

static void modify(void) {
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(epoll, EPOLL_CTL_MOD, left, &event);
}

static void wait_for_nothing(void) {
  struct epoll_event events[64];
  epoll_wait(epoll, events, 64, 0);
}

static const struct {
  const char *name;
  void (*call)(void);
} cases[] = {
    {"recv, nothing there", nothing_there},
    {"send + recv, 64 B", send_recv},
    {"sendmsg + recvmsg, 64 B", sendmsg_recvmsg},
    {"getsockopt", get_option},
    {"setsockopt", set_option},
    {"getsockname", name},
    {"fcntl", flags},
    {"epoll_ctl", modify},
    {"epoll_wait, nothing there", wait_for_nothing},
};

static void *rest(void *nothing) {
  pause();
  return nothing;
}

static void prepare(void) {
  /* Like Node, have several threads: only then does the kernel count the users of each descriptor, which costs time. */
  pthread_t thread;
  pthread_create(&thread, NULL, rest, NULL);
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
  left = pair[0];
  right = pair[1];
  udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  bind(udp, (struct sockaddr *)&address, length);
  getsockname(udp, (struct sockaddr *)&address, &length);
  connect(udp, (struct sockaddr *)&address, length);
  epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(epoll, EPOLL_CTL_ADD, left, &event);
}

static double cpu_time(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  const long calls = atol(arguments[2]);
  prepare();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (strcmp(cases[i].name, arguments[1]) != 0) continue;
    for (long warm = 0; warm < calls / 10; warm++) cases[i].call();
    const double started = cpu_time();
    for (long call = 0; call < calls; call++) cases[i].call();
    printf("%f\n", (cpu_time() - started) / calls);
    return 0;
  }
  fprintf(stderr, "no case of that name\n");
  return 2;
}
