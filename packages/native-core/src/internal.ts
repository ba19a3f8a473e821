/**
 * Functions that the packages of `@linux-sockets` share; not for other programs. They may change without notice, in
 * releases that the `^` range of the packages' dependencies excludes.
 */
export { onAbort } from './abort.js'
export {
  checkBoolean,
  checkBytes,
  checkFlags,
  checkFunction,
  checkHandlers,
  checkInt32,
  checkInteger,
  checkObject,
  checkOptions,
  checkSignal,
  checkSocket,
  checkString,
  describe,
  type NamesOf,
  needBytes,
  quote,
} from './argument.js'
export { bindToConnect, portOf, refuseSelfConnection } from './connecting.js'
export { type Interest, InterestList } from './epoll/interest.js'
export { closeQuietly, fdOf, onRelease } from './fd.js'
export { BIND_OPTIONS, checkBindOptions, listenAt, openToBind } from './listening.js'
export { TCP_KEEPIDLE, TCP_NODELAY } from './options/tcp.js'
export { orUndefined, resetOnClose } from './quietly.js'
export { checkListenerOptions } from './streams/listener.js'
export { netAddress, type WithNetNames, withNetNames } from './streams/names.js'
export { dropNotices } from './streams/notices.js'
export { checkStreamOptions } from './streams/options.js'
export { checkDrainOptions, SERVER_OPTIONS } from './streams/server.js'
export { addressOf, splitPort } from './text.js'
export { watchOn } from './watch.js'
