import { AF_UNIX, SOCK_STREAM, Socket } from '@linux-sockets/native-core'

/**
 * socketpair(2): two Unix sockets that are connected to each other, for a Worker or a child process to get one of.
 *
 *     const [mine, theirs] = unixPair()
 *     spawn('worker', { stdio: ['inherit', 'inherit', 'inherit', theirs.fd] }) // its descriptor 3
 *     theirs.close()
 *
 * `type` is `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`. Both ends are non-blocking: a child that means to wait in read(2)
 * clears `O_NONBLOCK` on its end first.
 *
 * @throws SystemError `EMFILE`, `ENFILE`, `ESOCKTNOSUPPORT`
 * @see {@link https://man7.org/linux/man-pages/man2/socketpair.2.html socketpair(2)}
 */
export function unixPair(type: number = SOCK_STREAM): [Socket, Socket] {
  return Socket.pair(AF_UNIX, type)
}
