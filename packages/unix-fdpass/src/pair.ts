import { Socket, type UnixAddress } from '@linux-sockets/native-core'
import { AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { checkFlags } from '@linux-sockets/native-core/internal'

/**
 * socketpair(2): creates two Unix sockets that are connected to each other, for instance to pass one to a Worker or a child
 * process.
 *
 *     const [mine, theirs] = unixPair()
 *     spawn('worker', { stdio: ['inherit', 'inherit', 'inherit', theirs.fd] }) // its descriptor 3
 *     theirs.close()
 *
 * `type` is `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`. Both ends are non-blocking: a child that wants to wait in
 * read(2) must first clear `O_NONBLOCK` on its end.
 *
 * @throws TypeError, RangeError if `type` is not a valid number
 * @throws SystemError `EMFILE`, `ENFILE`, `ESOCKTNOSUPPORT`
 * @see {@link https://man7.org/linux/man-pages/man2/socketpair.2.html socketpair(2)}
 */
export function unixPair(type: number = SOCK_STREAM): [Socket<UnixAddress>, Socket<UnixAddress>] {
  checkFlags(type, 'type')
  return Socket.pair(AF_UNIX, type)
}
