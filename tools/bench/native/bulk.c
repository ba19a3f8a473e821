/*
 * Servers that transfer many bytes without copying them to user space.
 *
 *   bulk relay PORT   relays each connection to a new connection to PORT, both ways, with splice(2) through pipes
 *   bulk file PATH    sends the file for each 64 bytes received, with sendfile(2)
 */
#define _GNU_SOURCE
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "common.h"

enum { EVENTS = 512, ACCEPT_BUDGET = 64, MOVES = 32, PIPE = 1024 * 1024, CHUNK = 1024 * 1024, REQUEST = 64 };
static const uint32_t BOTH = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static int epoll, listener;

/* ---- Relay. */

struct direction {
  int from, to, pipe[2];
  size_t buffered;
  bool ended; /* nothing more comes from `from`; the end is passed on once the pipe is empty */
  bool done;
};

struct pair {
  struct direction there, back;
  bool connected, dead;
  struct pair *next;
};

static uint16_t backend;
static struct pair *dead_pairs;

/* Returns false if a connection is broken. Sets `again` if the budget ended the loop and not the kernel. */
static bool move(struct direction *way, bool *again) {
  for (int moves = 0; moves < MOVES; moves++) {
    bool moved = false;
    if (!way->ended) {
      const ssize_t count = splice(way->from, NULL, way->pipe[1], NULL, CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (count < 0 && errno != EAGAIN) return false;
      if (count == 0) way->ended = true;
      if (count > 0) way->buffered += (size_t)count;
      moved = count > 0;
    }
    if (way->buffered > 0) {
      const ssize_t count = splice(way->pipe[0], NULL, way->to, NULL, way->buffered, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (count < 0 && errno != EAGAIN) return false;
      if (count > 0) way->buffered -= (size_t)count;
      moved |= count > 0;
    }
    if (way->ended && way->buffered == 0) {
      if (!way->done) shutdown(way->to, SHUT_WR);
      way->done = true;
      return true;
    }
    if (!moved) return true;
  }
  *again = true;
  return true;
}

static void bury(struct pair *pair) {
  const struct direction *way = &pair->there;
  const int all[] = {way->from, way->to, way->pipe[0], way->pipe[1], pair->back.pipe[0], pair->back.pipe[1]};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) close(all[i]);
  pair->dead = true;
  /* Events of this turn may still point to the pair. */
  pair->next = dead_pairs;
  dead_pairs = pair;
}

static void relay_on(struct pair *pair, uint32_t events) {
  if (pair->dead) return;
  if (!pair->connected) {
    /* splice(2) fails until the connection is established. */
    struct tcp_info info;
    socklen_t length = sizeof info;
    getsockopt(pair->there.to, IPPROTO_TCP, TCP_INFO, &info, &length);
    pair->connected = info.tcpi_state == TCP_ESTABLISHED;
    if (!pair->connected && !(events & EPOLLERR)) return;
  }
  bool again = false;
  if (!move(&pair->there, &again) || !move(&pair->back, &again) || (pair->there.done && pair->back.done)) {
    bury(pair);
  } else if (again) {
    /* Has epoll report the two descriptors again, after the others have had their turn. */
    epoll_set(epoll, EPOLL_CTL_MOD, pair->there.from, BOTH, pair);
    epoll_set(epoll, EPOLL_CTL_MOD, pair->there.to, BOTH, pair);
  }
}

static void begin_relay(int fd) {
  struct pair *pair = calloc(1, sizeof *pair);
  if (pair == NULL) die("calloc");
  const int on = 1;
  const int to = try(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  try(setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
  const struct sockaddr_in address = loopback(INADDR_LOOPBACK, backend);
  if (connect(to, (const struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect");
  pair->there = (struct direction){.from = fd, .to = to};
  pair->back = (struct direction){.from = to, .to = fd};
  struct direction *ways[] = {&pair->there, &pair->back};
  for (int i = 0; i < 2; i++) {
    try(pipe2(ways[i]->pipe, O_NONBLOCK | O_CLOEXEC), "pipe2");
    fcntl(ways[i]->pipe[0], F_SETPIPE_SZ, PIPE); /* the limit for pipes may be lower */
  }
  epoll_set(epoll, EPOLL_CTL_ADD, fd, BOTH, pair);
  epoll_set(epoll, EPOLL_CTL_ADD, to, BOTH, pair);
}

/* ---- File. */

struct client {
  int fd;
  size_t asked; /* bytes received of the current request */
  off_t offset; /* of the next byte to send; the file's size if nothing is being sent */
};

static int file;
static off_t file_size;

/* False when the connection is over. */
static bool serve(struct client *client) {
  for (;;) {
    if (client->offset < file_size) {
      const ssize_t count = sendfile(client->fd, file, &client->offset, CHUNK);
      if (count < 0) return errno == EAGAIN;
      if (count == 0) complain("the file has become shorter");
      continue;
    }
    char request[REQUEST];
    const ssize_t count = recv(client->fd, request, REQUEST - client->asked, 0);
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return false;
    client->asked += (size_t)count;
    if (client->asked < REQUEST) continue;
    client->asked = 0;
    client->offset = 0;
  }
}

static void serve_on(struct client *client) {
  if (serve(client)) return;
  close(client->fd);
  free(client); /* a client has one descriptor, so this turn has no other event for it */
}

static void begin_serving(int fd) {
  struct client *client = calloc(1, sizeof *client);
  if (client == NULL) die("calloc");
  *client = (struct client){.fd = fd, .offset = file_size};
  epoll_set(epoll, EPOLL_CTL_ADD, fd, BOTH, client);
}

int main(int count, char **arguments) {
  if (count != 3) complain("bulk relay PORT | file PATH");
  const bool relaying = strcmp(arguments[1], "relay") == 0;
  if (relaying) {
    backend = (uint16_t)atoi(arguments[2]);
  } else {
    file = try(open(arguments[2], O_RDONLY | O_CLOEXEC), arguments[2]);
    struct stat status;
    try(fstat(file, &status), "fstat");
    file_size = status.st_size;
  }
  epoll = try(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  listener = open_server(SOCK_STREAM);
  epoll_set(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
  epoll_set(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL);
  for (;;) {
    struct epoll_event events[EVENTS];
    const int ready = epoll_wait(epoll, events, EVENTS, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      void *data = events[i].data.ptr;
      if (data == NULL) {
        leave_with_parent();
      } else if (data == &listener) {
        for (int accepted = 0; accepted < ACCEPT_BUDGET; accepted++) {
          const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (fd < 0) break;
          (relaying ? begin_relay : begin_serving)(fd);
        }
      } else if (relaying) {
        relay_on(data, events[i].events);
      } else {
        serve_on(data);
      }
    }
    while (dead_pairs != NULL) {
      struct pair *pair = dead_pairs;
      dead_pairs = pair->next;
      free(pair);
    }
  }
}
