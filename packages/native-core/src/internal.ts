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
export { closeQuietly, fdOf, onRelease } from './fd.js'
export { checkListenerOptions } from './flow/listener.js'
export { checkStreamOptions, dropNotices, netAddress } from './flow/stream.js'
export { type Interest, InterestList } from './interest.js'
export { orUndefined, resetOnClose } from './quietly.js'
export { addressOf, splitPort } from './text.js'
export { watchOn } from './watch.js'
