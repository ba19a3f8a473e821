/*
 * The server that the others are compared with: server echo | lines. A careful C programmer would write it like this
 * with epoll: edge-triggered; it reads up to a budget, and writes answers at once. Bytes that the kernel doesn't take
 * are queued per connection. EPOLLOUT is set only while bytes are queued, and reading stops while many are.
 */
#define _GNU_SOURCE
#include "common.h"

enum {
  SLAB = 64 * 1024,
  HIGH_MARK = 64 * 1024,
  READ_BUDGET = 16,
  ACCEPT_BUDGET = 64,
  LINE_LIMIT = 64 * 1024,
  EVENTS = 512,
};
static const uint32_t READING = EPOLLIN | EPOLLRDHUP | EPOLLET;

struct bytes {
  char *data;
  size_t start, length, capacity;
};

struct connection {
  int fd;
  bool writing;  /* EPOLLOUT is on */
  bool readable; /* the kernel may hold unread bytes, because of the budget or of the queue */
  bool listed;   /* is in the list of unfinished connections */
  bool peer_ended;
  struct bytes queue;
  struct bytes line; /* the beginning of a line whose end has not been received */
  struct connection *next;
};

static int epoll, listener, reserve;
static bool by_lines;
static char slab[SLAB];
static char answers[SLAB + LINE_LIMIT];
static struct connection *unfinished;

static void append(struct bytes *bytes, const char *data, size_t length) {
  if (bytes->start + bytes->length + length > bytes->capacity) {
    const size_t capacity = (bytes->length + length) * 2;
    char *grown = malloc(capacity);
    if (grown == NULL) die("malloc");
    memcpy(grown, bytes->data + bytes->start, bytes->length);
    free(bytes->data);
    *bytes = (struct bytes){.data = grown, .length = bytes->length, .capacity = capacity};
  }
  memcpy(bytes->data + bytes->start + bytes->length, data, length);
  bytes->length += length;
}

static void empty(struct bytes *bytes) {
  free(bytes->data);
  *bytes = (struct bytes){0};
}

static void finish(struct connection *connection) {
  close(connection->fd); /* ends the registration, too: there is no duplicate of the descriptor */
  connection->fd = -1;
  empty(&connection->queue);
  empty(&connection->line);
  if (!connection->listed) free(connection);
}

/* Returns the number of bytes that the kernel took, or −1 if the connection is broken. */
static ssize_t send_some(int fd, const char *data, size_t length) {
  size_t sent = 0;
  while (sent < length) {
    const ssize_t count = send(fd, data + sent, length - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) return -1;
    sent += (size_t)count;
  }
  return (ssize_t)sent;
}

static bool answer(struct connection *connection, const char *data, size_t length) {
  ssize_t sent = 0;
  if (connection->queue.length == 0) sent = send_some(connection->fd, data, length);
  if (sent < 0) return false;
  if ((size_t)sent == length) return true;
  append(&connection->queue, data + sent, length - (size_t)sent);
  if (!connection->writing) epoll_set(epoll, EPOLL_CTL_MOD, connection->fd, READING | EPOLLOUT, connection);
  connection->writing = true;
  return true;
}

static bool flush_queue(struct connection *connection) {
  struct bytes *queue = &connection->queue;
  const ssize_t sent = send_some(connection->fd, queue->data + queue->start, queue->length);
  if (sent < 0) return false;
  queue->start += (size_t)sent;
  queue->length -= (size_t)sent;
  if (queue->length > 0) return true;
  empty(queue);
  epoll_set(epoll, EPOLL_CTL_MOD, connection->fd, READING, connection);
  connection->writing = false;
  return true;
}

/* Answers each line with itself. The answers to lines that were received together are sent together. */
static bool answer_lines(struct connection *connection, const char *data, size_t length) {
  size_t filled = 0;
  for (;;) {
    const char *end = memchr(data, '\n', length);
    if (end == NULL) break;
    const size_t size = (size_t)(end - data) + 1;
    struct bytes *line = &connection->line;
    if (line->length > 0) {
      memcpy(answers + filled, line->data + line->start, line->length);
      filled += line->length;
      empty(line);
    }
    memcpy(answers + filled, data, size);
    filled += size;
    data += size;
    length -= size;
  }
  if (connection->line.length + length > LINE_LIMIT) return false;
  if (length > 0) append(&connection->line, data, length);
  return filled == 0 || answer(connection, answers, filled);
}

/* Returns false if the connection has to be closed. */
static bool read_on(struct connection *connection, bool ending) {
  connection->readable = true;
  for (int reads = 0; reads < READ_BUDGET; reads++) {
    if (connection->queue.length >= HIGH_MARK) return true;
    const ssize_t count = recv(connection->fd, slab, SLAB, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) return false;
    if (count == 0) connection->peer_ended = true;
    if (count <= 0) {
      connection->readable = false;
      return true;
    }
    if (!(by_lines ? answer_lines : answer)(connection, slab, (size_t)count)) return false;
    /* After a short read only an end can be left, which has no edge of its own if it arrived with the data. */
    if (count < SLAB && !ending) {
      connection->readable = false;
      return true;
    }
  }
  return true;
}

static void handle(struct connection *connection, uint32_t events) {
  if (connection->fd < 0) return;
  bool alive = true;
  if (events & EPOLLOUT && connection->queue.length > 0) alive = flush_queue(connection);
  const bool ending = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
  if (alive && (events & EPOLLIN || ending || connection->readable)) alive = read_on(connection, ending);
  if (!alive || (connection->peer_ended && connection->queue.length == 0)) {
    finish(connection);
    return;
  }
  if (connection->readable && connection->queue.length < HIGH_MARK && !connection->listed) {
    connection->listed = true;
    connection->next = unfinished;
    unfinished = connection;
  }
}

static void go_on(void) {
  struct connection *list = unfinished;
  unfinished = NULL;
  while (list != NULL) {
    struct connection *connection = list;
    list = connection->next;
    connection->listed = false;
    if (connection->fd < 0) free(connection);
    /* An end may have arrived with the bytes that the budget left unread. Reading on as if it had finds out. */
    else
      handle(connection, EPOLLRDHUP);
  }
}

static void accept_some(void) {
  for (int i = 0; i < ACCEPT_BUDGET; i++) {
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
      /* Accept and close one connection: its peer need not wait, and the event is not reported forever. */
      close(reserve);
      close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
      reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
      return;
    }
    if (fd < 0 && errno == EAGAIN) return;
    if (fd < 0) continue; /* the connection failed before it could be accepted */
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) die("calloc");
    connection->fd = fd;
    epoll_set(epoll, EPOLL_CTL_ADD, fd, READING, connection);
  }
}

int main(int count, char **arguments) {
  if (count != 2) complain("server echo | lines");
  by_lines = strcmp(arguments[1], "lines") == 0;
  epoll = try(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  reserve = try(open("/dev/null", O_RDONLY | O_CLOEXEC), "open");
  listener = open_server(SOCK_STREAM);
  epoll_set(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
  epoll_set(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL);
  for (;;) {
    struct epoll_event events[EVENTS];
    const int ready = epoll_wait(epoll, events, EVENTS, unfinished == NULL ? -1 : 0);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr == NULL)
        leave_with_parent();
      else if (events[i].data.ptr == &listener)
        accept_some();
      else
        handle(events[i].data.ptr, events[i].events);
    }
    if (unfinished != NULL) go_on();
  }
}
