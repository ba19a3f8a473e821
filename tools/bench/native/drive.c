/*
 * Cases that need no load from another program: drive connect | descriptors. For each line "WARM SECONDS" on standard
 * input, the program works that long, and then prints a result.
 *
 *   connect      connects to a listener of this process, which accepts and closes; then closes the client. 50 at a time
 *   descriptors  passes a descriptor through a pair of Unix sockets, receives it and closes it
 */
#define _GNU_SOURCE
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "common.h"

enum { AT_A_TIME = 50, EVENTS = 128, SLICE = 100 };

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- Connections. */

static int epoll, listener;
static long under_way;
static uint16_t port;

static void begin_connection(void) {
  const int fd = try(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  const struct sockaddr_in to = loopback(INADDR_LOOPBACK, port);
  if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
  epoll_set(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, (void *)(intptr_t)fd);
  under_way++;
}

static void open_listener(void) {
  epoll = try(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  listener = try(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  struct sockaddr_in address = loopback(INADDR_LOOPBACK, 0);
  socklen_t length = sizeof address;
  try(bind(listener, (struct sockaddr *)&address, length), "bind");
  try(listen(listener, 4096), "listen");
  try(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
  port = ntohs(address.sin_port);
  epoll_set(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, (void *)(intptr_t)listener);
}

static uint64_t connect_until(double end) {
  uint64_t connected = 0;
  while (under_way < AT_A_TIME) begin_connection();
  while (under_way > 0) {
    struct epoll_event events[EVENTS];
    const int ready = epoll_wait(epoll, events, EVENTS, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    const bool over = now() >= end;
    for (int i = 0; i < ready; i++) {
      const int fd = (int)(intptr_t)events[i].data.ptr;
      if (fd == listener) {
        for (;;) {
          const int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (accepted < 0 && errno == EAGAIN) break;
          close(try(accepted, "accept4"));
        }
        continue;
      }
      char byte;
      const ssize_t count = recv(fd, &byte, 1, 0);
      if (count < 0 && errno == EAGAIN) continue;
      if (count != 0) die("recv");
      close(fd);
      under_way--;
      connected++;
      if (!over) begin_connection();
    }
  }
  return connected;
}

/* ---- Descriptors. */

static int ends[2], passed;

static void pass(void) {
  char byte = 0;
  struct iovec piece = {&byte, 1};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  control.header =
      (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.header), &passed, sizeof passed);
  if (sendmsg(ends[0], &message, MSG_NOSIGNAL) != 1) die("sendmsg");
  message.msg_controllen = sizeof control;
  if (recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC) != 1) die("recvmsg");
  if (CMSG_FIRSTHDR(&message) == NULL) complain("the descriptor has not come along");
  int received;
  memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
  /* A program that must never block on the descriptor has to make this call. */
  try(fcntl(received, F_SETFL, fcntl(received, F_GETFL) | O_NONBLOCK), "fcntl");
  try(close(received), "close");
}

static uint64_t pass_until(double end) {
  uint64_t count = 0;
  while (now() < end) {
    for (int i = 0; i < SLICE; i++) pass();
    count += SLICE;
  }
  return count;
}

static double seconds_of(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

int main(int count, char **arguments) {
  if (count != 2) complain("drive connect | descriptors");
  const bool connecting = strcmp(arguments[1], "connect") == 0;
  if (connecting) {
    open_listener();
  } else {
    try(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "socketpair");
    passed = try(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
  }
  uint64_t (*work_until)(double) = connecting ? connect_until : pass_until;
  printf("{}\n");
  fflush(stdout);
  double warm, seconds;
  while (scanf("%lf %lf", &warm, &seconds) == 2) {
    work_until(now() + warm);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    const double started = now();
    const uint64_t requests = work_until(started + seconds);
    const double took = now() - started;
    getrusage(RUSAGE_SELF, &after);
    const double user = seconds_of(after.ru_utime) - seconds_of(before.ru_utime);
    const double system = seconds_of(after.ru_stime) - seconds_of(before.ru_stime);
    printf("{\"seconds\":%f,\"requests\":%lu,\"bytes\":0,\"cpu\":%.0f,\"user\":%f,\"system\":%f}\n", took, requests,
           (user + system) * 1e9, user, system);
    fflush(stdout);
  }
  return 0;
}
