/* Functions that the programs of the benchmark share. */
#ifndef COMMON_H
#define COMMON_H
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Prints that `what` failed with errno, and ends the program. */
static inline void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static inline void complain(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static inline int try(int result, const char *what) {
  if (result < 0) die(what);
  return result;
}

static inline struct sockaddr_in loopback(uint32_t host, uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(host);
  return address;
}

/* Opens a socket on a free port of 127.0.0.1, and tells the benchmark the port. */
static inline int open_server(int type) {
  const int fd = try(socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  struct sockaddr_in address = loopback(INADDR_LOOPBACK, 0);
  socklen_t length = sizeof address;
  try(bind(fd, (struct sockaddr *)&address, length), "bind");
  if (type == SOCK_STREAM) {
    const int on = 1;
    try(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt"); /* inherited */
    try(listen(fd, 4096), "listen");
  }
  try(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
  printf("{\"port\":%d}\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static inline void epoll_set(int epoll, int operation, int fd, uint32_t events, void *data) {
  struct epoll_event event = {.events = events, .data.ptr = data};
  try(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

/* Ends the program if standard input has ended, as it does when the benchmark ends. Other input is ignored. */
static inline void leave_with_parent(void) {
  char bytes[256];
  if (read(STDIN_FILENO, bytes, sizeof bytes) == 0) exit(0);
}

#endif
