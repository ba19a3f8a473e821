/**
 * epoll(7), and the means to wait for an instance on Node's event loop. `@linux-sockets/epoll` has an event loop that is made
 * of these; for single descriptors use `watch` of the root.
 */
export { EPOLL_EVENT_WORDS, epollControl, epollCreate, epollWait } from './epoll.js'
export { type Attachment, attachEpoll } from './loop.js'
