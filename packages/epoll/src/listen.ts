import { type AddressLike, type BindOptions, encodeAddress, familyOf, type Socket } from '@linux-sockets/native-core'
import {
  addressOf,
  BIND_OPTIONS,
  checkBindOptions,
  checkHandlers,
  checkOptions,
  listenAt,
  type NamesOf,
  openToBind,
} from '@linux-sockets/native-core/internal'
import type { AddressFor } from './connect.js'
import { type ConnectionHandlers, HANDLERS, type Handlers } from './handlers.js'
import { checkReactor, policyOf } from './options.js'
import type { Reactor } from './reactor.js'
import { checkServeOptions, SERVE_OPTIONS, type ServeOptions, Server } from './serve.js'

/** The options of `listen`: those of `serve`, and those of the listening socket. */
export interface ListenOptions extends ServeOptions, BindOptions {}

/**
 * bind(2) and listen(2): serves every connection that comes to an address, as `serve` does for a socket. The address may be
 * text that `parseAddress` accepts: `'127.0.0.1:80'`, `'[::]:0'`, `'/run/x.sock'`, `'@name'`. With port 0 the kernel chooses a
 * port, which `address` reports.
 *
 *     const server = listen(reactor, '0.0.0.0:7777', { data: (connection, chunk) => connection.write(chunk) })
 *
 * The file of a Unix address stays when the server is closed, and is refused (`EADDRINUSE`) until it is removed.
 * @throws SystemError `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, …; nothing stays open
 * @throws TypeError, RangeError if the address, a handler or an option is invalid
 */
export function listen<State = undefined, To extends AddressLike | string = AddressLike | string>(
  reactor: Reactor,
  address: To,
  handlers: Handlers<State, AddressFor<To>>,
  options: ListenOptions = {},
): Server<State, AddressFor<To>> {
  checkReactor(reactor)
  const sockaddr = encodeAddress(addressOf(address))
  checkHandlers<ConnectionHandlers<State, AddressFor<To>>>(handlers, 'data', HANDLERS)
  checkOptions(options, 'options', LISTEN_OPTIONS)
  checkBindOptions(options)
  const { backlog, reuseAddress, reusePort, v6only, prepare, protocol, ...serveOptions } = options
  checkServeOptions(serveOptions)
  const family = familyOf(sockaddr)
  policyOf(serveOptions, family)
  const socket = openToBind(family, options) as Socket<AddressFor<To>>
  const serve = () => new Server<State, AddressFor<To>>(reactor, socket, handlers, serveOptions)
  return listenAt(socket, sockaddr, options, serve)
}

const LISTEN_OPTIONS: NamesOf<ListenOptions> = { ...SERVE_OPTIONS, ...BIND_OPTIONS }
