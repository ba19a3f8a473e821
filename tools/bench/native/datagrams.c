/* Sends each datagram back to its sender, with as many per call as possible: recvmmsg(2), sendmmsg(2). */
#define _GNU_SOURCE
#include "common.h"

enum { BATCH = 32, LONGEST = 2048 };

static char data[BATCH][LONGEST];
static struct sockaddr_in addresses[BATCH];
static struct iovec pieces[BATCH];
static struct mmsghdr messages[BATCH];

static void wait_for(int epoll, int fd, uint32_t events) {
  epoll_set(epoll, EPOLL_CTL_MOD, fd, events, &messages);
  for (;;) {
    struct epoll_event event;
    if (epoll_wait(epoll, &event, 1, -1) < 1) continue;
    if (event.data.ptr != NULL) return;
    leave_with_parent();
  }
}

int main(void) {
  const int epoll = try(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int fd = open_server(SOCK_DGRAM);
  epoll_set(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, &messages);
  epoll_set(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL);
  for (;;) {
    struct epoll_event events[2];
    const int ready = epoll_wait(epoll, events, 2, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++)
      if (events[i].data.ptr == NULL) leave_with_parent();
    for (;;) {
      for (int i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){data[i], LONGEST};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &addresses[i], .msg_namelen = sizeof *addresses, .msg_iov = &pieces[i], .msg_iovlen = 1};
      }
      const int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
      if (count < 0 && errno != EAGAIN && errno != ECONNREFUSED) die("recvmmsg");
      for (int i = 0; i < count; i++) pieces[i].iov_len = messages[i].msg_len;
      for (int sent = 0; sent < count;) {
        const int more = sendmmsg(fd, messages + sent, (unsigned)(count - sent), MSG_DONTWAIT);
        if (more > 0)
          sent += more;
        else if (errno == EAGAIN) {
          wait_for(epoll, fd, EPOLLOUT);
          epoll_set(epoll, EPOLL_CTL_MOD, fd, EPOLLIN, &messages);
        } else
          sent++; /* its receiver no longer exists */
      }
      if (count < BATCH) break;
    }
  }
}
