/**
 * epoll(7), and the means to wait for an instance on Node's event loop. `@linux-sockets/epoll` makes an event loop of these;
 * for single descriptors there is `watch`.
 */
export { EPOLL_EVENT_WORDS, epollControl, epollCreate, epollWait } from './epoll.js'
export { type Attachment, attachEpoll } from './loop.js'
