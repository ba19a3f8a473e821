/*
 * Puts a load on a server and measures it: load NAME=VALUE…
 *
 * Each connection has one exchange under way: it sends `depth` messages of `size` bytes, and begins the next exchange
 * when all of them have come back, byte for byte. If wrong bytes or too many bytes come back, or none for five seconds,
 * the program ends with an error message. So if there is a result, there were no errors.
 *
 *   mode         echo: exchanges on connections that stay open
 *                close: a connection for each exchange, which counts once the server has closed its side, too
 *                udp: the messages are datagrams
 *                file: the server sends back not the messages but the file at `path`
 *   connections  how many are open; `active` of them, evenly spread, have exchanges (default: all)
 *   lines        1: the messages are lines of 8 … 2 · size − 8 bytes
 *   pid          the process of the server, whose CPU time is measured
 *   warm         seconds of load before the measurement, which takes `seconds` seconds
 *
 * The program prints {"open":N} once the connections are open and each one that stays open has had one exchange. Then
 * it waits for a byte on standard input, measures, and prints the result.
 */
#define _GNU_SOURCE
#include <sys/stat.h>

#include "common.h"

enum { PAYLOADS = 13, SOURCES = 16, EVENTS = 512, BUFFER = 256 * 1024, PATIENCE = 5000 };

static const char *mode = "echo", *path;
static long port, pid, connections = 1, active, size = 64, depth = 1, by_lines;
static double warm = 0.2, seconds = 1;

/* ---- The histogram: 64 buckets for each power of two, so a value is exact to 1.6 %. */

enum { STEPS = 64, BUCKETS = 60 * STEPS };
static uint64_t histogram[BUCKETS];
static uint64_t longest;

static size_t bucket_of(uint64_t value) {
  if (value < 2 * STEPS) return value;
  const int shift = 63 - __builtin_clzll(value) - 6;
  return (size_t)shift * STEPS + (value >> shift);
}

/* Returns the middle of a bucket. */
static double value_of(size_t bucket) {
  if (bucket < 2 * STEPS) return bucket;
  const size_t shift = bucket / STEPS - 1;
  return ((double)(bucket - shift * STEPS) + 0.5) * (double)(1ull << shift);
}

static double percentile(double share, uint64_t total) {
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
    seen += histogram[bucket];
    if (seen > 0 && seen >= share * total) return value_of(bucket);
  }
  return 0;
}

/* ---- Time. */

static uint64_t now_of(clockid_t clock) {
  struct timespec time;
  try(clock_gettime(clock, &time), "clock_gettime");
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now(void) { return now_of(CLOCK_MONOTONIC); }

/*
 * CPU time of the server: exact nanoseconds of all its threads together, and ticks in user and in system mode. The
 * kernel samples the ticks; they only show how the nanoseconds split.
 */
struct usage {
  uint64_t cpu, user, system;
};

static struct usage usage_of_server(void) {
  if (pid == 0) return (struct usage){0};
  struct usage usage;
  clockid_t clock;
  if (clock_getcpuclockid((pid_t)pid, &clock) != 0) complain("the server is gone");
  usage.cpu = now_of(clock);
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  const int fd = try(open(path, O_RDONLY), path);
  const ssize_t length = try((int)read(fd, text, sizeof text - 1), path);
  close(fd);
  text[length] = 0;
  const char *fields = strrchr(text, ')');
  if (fields == NULL ||
      sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &usage.user, &usage.system) != 2)
    complain("/proc/PID/stat can't be read");
  return usage;
}

/* ---- What is sent. */

static char *payloads[PAYLOADS];
static size_t payload_length;

static uint32_t random_state = 2463534242u;

static uint32_t random_number(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  return random_state ^= random_state << 5;
}

/* All payloads have the same length but different bytes, so that an answer to another exchange is noticed. */
static void make_payloads(void) {
  payload_length = (size_t)size * (size_t)depth;
  for (int i = 0; i < PAYLOADS; i++) {
    char *bytes = payloads[i] = malloc(payload_length);
    if (bytes == NULL) die("malloc");
    for (size_t at = 0; at < payload_length; at++) {
      bytes[at] = (char)random_number();
      if (by_lines && (bytes[at] == '\n' || bytes[at] == '\r')) bytes[at] = 'n';
    }
    if (!by_lines) continue;
    size_t end = 0;
    for (long line = 0; line < depth; line += 2) {
      /* The two lines together are as long as two messages. */
      const size_t first = line + 1 == depth ? (size_t)size : 8 + random_number() % (size_t)(2 * size - 15);
      bytes[end + first - 1] = '\n';
      end += line + 1 == depth ? (size_t)size : 2 * (size_t)size;
      bytes[end - 1] = '\n';
    }
  }
}

/* The expected answer, if it is not the payload itself. */
static char *response;
static size_t response_length;

static void read_response(void) {
  const int fd = try(open(path, O_RDONLY | O_CLOEXEC), path);
  struct stat status;
  try(fstat(fd, &status), "fstat");
  response_length = (size_t)status.st_size;
  response = malloc(response_length);
  if (response == NULL) die("malloc");
  for (size_t at = 0; at < response_length;) {
    const ssize_t count = read(fd, response + at, response_length - at);
    if (count <= 0) die(path);
    at += (size_t)count;
  }
  close(fd);
}

/* ---- Connections. */

struct peer {
  int fd;
  bool active, connected, greeted;
  uint32_t exchange; /* its number */
  size_t sent, received;
  uint64_t started;
};

static struct peer *peers;
static int epoll;
static bool measuring, leaving;
static uint64_t exchanges, bytes_received;
static long open_peers;
static char buffer[BUFFER];

static bool datagrams, reconnecting;

/* A peer's first payload depends on its number, so that neighbours send different bytes. */
static const char *payload_of(const struct peer *peer) {
  return payloads[(peer->exchange + (size_t)(peer - peers)) % PAYLOADS];
}

static const char *expected_by(const struct peer *peer) { return response != NULL ? response : payload_of(peer); }

static size_t expected_length(void) { return response != NULL ? response_length : payload_length; }

static void fail(const struct peer *peer, const char *what) {
  fprintf(stderr, "connection %ld, exchange %u, after %zu of %zu bytes: %s\n", (long)(peer - peers), peer->exchange,
          peer->received, expected_length(), what);
  exit(1);
}

/* Connects from several addresses in turn: an address has only 28 232 ports, and each may stay in TIME-WAIT. */
static void open_peer(struct peer *peer) {
  static uint32_t source;
  const int on = 1;
  peer->started = now();
  peer->fd = try(socket(AF_INET, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  if (!datagrams) {
    try(setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
    try(setsockopt(peer->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on), "setsockopt");
    const struct sockaddr_in from = loopback(INADDR_LOOPBACK + source++ % SOURCES, 0);
    try(bind(peer->fd, (const struct sockaddr *)&from, sizeof from), "bind");
  }
  const struct sockaddr_in to = loopback(INADDR_LOOPBACK, (uint16_t)port);
  if (connect(peer->fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
  peer->connected = datagrams;
  peer->sent = peer->received = 0;
  epoll_set(epoll, EPOLL_CTL_ADD, peer->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, peer);
}

static void send_on(struct peer *peer) {
  while (peer->sent < payload_length) {
    const size_t length = datagrams ? (size_t)size : payload_length - peer->sent;
    const ssize_t count = send(peer->fd, payload_of(peer) + peer->sent, length, MSG_NOSIGNAL);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) fail(peer, strerror(errno));
    peer->sent += (size_t)count;
  }
}

static void begin(struct peer *peer) {
  peer->exchange++;
  peer->sent = peer->received = 0;
  if (!reconnecting) peer->started = now();
  send_on(peer);
}

static void count_exchange(struct peer *peer) {
  if (!measuring) return;
  const uint64_t took = now() - peer->started;
  histogram[bucket_of(took)]++;
  if (took > longest) longest = took;
  exchanges++;
}

static void close_peer(struct peer *peer) {
  close(peer->fd);
  peer->fd = -1;
  open_peers--;
}

/* The server has ended its side. */
static void at_end(struct peer *peer) {
  if (!leaving && (!reconnecting || peer->received < expected_length())) fail(peer, "the server has closed it");
  close_peer(peer);
  if (leaving) return;
  count_exchange(peer);
  open_peers++;
  open_peer(peer);
}

static void receive_on(struct peer *peer, bool ending) {
  for (;;) {
    const ssize_t count = recv(peer->fd, buffer, BUFFER, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) fail(peer, strerror(errno));
    if (count == 0 && !datagrams) {
      at_end(peer);
      return;
    }
    if (datagrams && count != size) fail(peer, "a datagram of another length");
    if (peer->received + (size_t)count > (response != NULL ? response_length : peer->sent))
      fail(peer, "more came back than was asked for");
    if (memcmp(buffer, expected_by(peer) + peer->received, (size_t)count) != 0) fail(peer, "other bytes came back");
    peer->received += (size_t)count;
    if (measuring) bytes_received += (uint64_t)count;
    if (peer->received == expected_length()) {
      if (!peer->greeted && !reconnecting) {
        /* The server has accepted the connection and handled its first exchange. */
        peer->greeted = true;
        open_peers++;
        if (!datagrams && !ending) return;
        continue;
      }
      if (!reconnecting) count_exchange(peer);
      if (reconnecting || leaving) {
        shutdown(peer->fd, SHUT_WR);
      } else {
        begin(peer);
        if (!datagrams && !ending) return;
      }
    }
    if (!datagrams && !ending && count < BUFFER) return;
  }
}

static void handle(struct peer *peer, uint32_t events) {
  if (events & EPOLLOUT && !peer->connected) {
    peer->connected = true;
    begin(peer);
  } else if (events & EPOLLOUT && peer->exchange > 0) {
    send_on(peer);
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    if (events & EPOLLERR) {
      int error = 0;
      socklen_t length = sizeof error;
      getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &length);
      if (error != 0) fail(peer, strerror(error));
    }
    receive_on(peer, events & (EPOLLRDHUP | EPOLLHUP));
  }
}

static void turn(void) {
  struct epoll_event events[EVENTS];
  const int ready = epoll_wait(epoll, events, EVENTS, PATIENCE);
  if (ready < 0 && errno != EINTR) die("epoll_wait");
  if (ready == 0) complain("nothing has come back for five seconds");
  for (int i = 0; i < ready; i++) handle(events[i].data.ptr, events[i].events);
}

static void run_for(double time) {
  const uint64_t end = now() + (uint64_t)(time * 1e9);
  while (now() < end) turn();
}

int main(int count, char **arguments) {
  const struct {
    const char *name;
    long *value;
  } numbers[] = {{"port", &port}, {"pid", &pid},     {"connections", &connections}, {"active", &active},
                 {"size", &size}, {"depth", &depth}, {"lines", &by_lines}};
  for (int i = 1; i < count; i++) {
    char *value = strchr(arguments[i], '=');
    if (value == NULL) complain("load NAME=VALUE…");
    *value++ = 0;
    bool known = false;
    for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j++) {
      if (strcmp(numbers[j].name, arguments[i]) != 0) continue;
      *numbers[j].value = atol(value);
      known = true;
    }
    if (strcmp(arguments[i], "mode") == 0)
      mode = value;
    else if (strcmp(arguments[i], "path") == 0)
      path = value;
    else if (strcmp(arguments[i], "warm") == 0)
      warm = atof(value);
    else if (strcmp(arguments[i], "seconds") == 0)
      seconds = atof(value);
    else if (!known)
      complain(arguments[i]);
  }
  datagrams = strcmp(mode, "udp") == 0;
  reconnecting = strcmp(mode, "close") == 0;
  if (active == 0) active = connections;
  make_payloads();
  if (path != NULL) read_response();
  peers = calloc((size_t)connections, sizeof *peers);
  epoll = try(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");

  if (!reconnecting) {
    for (long i = 0; i < connections; i++) {
      peers[i].active = i % (connections / active) == 0;
      open_peer(&peers[i]);
      if (datagrams) begin(&peers[i]);
      /* Not more at a time than fit into the backlog of every server. */
      while (i + 1 - open_peers >= 128) turn();
    }
    while (open_peers < connections) turn();
  }
  printf("{\"open\":%ld}\n", open_peers);
  fflush(stdout);
  char byte;
  if (read(STDIN_FILENO, &byte, 1) != 1) return 1;

  for (long i = 0; i < connections; i++) {
    if (reconnecting) {
      open_peers++;
      open_peer(&peers[i]);
    } else if (peers[i].active) {
      begin(&peers[i]);
    }
  }
  run_for(warm);
  const struct usage before = usage_of_server();
  const uint64_t started = now();
  measuring = true;
  run_for(seconds);
  measuring = false;
  const double took = (double)(now() - started) / 1e9;
  const struct usage after = usage_of_server();

  /* Waits for all answers that are under way, then closes all connections gracefully. */
  leaving = true;
  if (!datagrams) {
    for (long i = 0; i < connections; i++)
      if (!reconnecting && !peers[i].active) shutdown(peers[i].fd, SHUT_WR);
    while (open_peers > 0) turn();
  }
  printf("{\"seconds\":%f,\"requests\":%lu,\"bytes\":%lu,\"cpu\":%lu,\"user\":%lu,\"system\":%lu,", took,
         exchanges * (uint64_t)depth, bytes_received, after.cpu - before.cpu, after.user - before.user,
         after.system - before.system);
  printf("\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%lu}\n", percentile(0.5, exchanges),
         percentile(0.99, exchanges), percentile(0.999, exchanges), longest);
  return 0;
}
