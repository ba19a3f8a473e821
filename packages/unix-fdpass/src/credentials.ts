import { type FdLike, getOption } from '@linux-sockets/native-core'
import { type Credentials, control, credentials } from '@linux-sockets/native-core/codecs'
import { SOL_SOCKET } from '@linux-sockets/native-core/constants'
import { SO_PEERCRED } from '@linux-sockets/native-core/options'

/**
 * The credentials of the process that sent a message, on sockets with `SO_PASSCRED`. A process may send only its own
 * credentials, unless it is privileged (`CAP_SYS_ADMIN` for the pid, `CAP_SETUID`, `CAP_SETGID`). If none are sent, the
 * kernel fills them in.
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SCM_CREDENTIALS = control('SCM_CREDENTIALS', SOL_SOCKET, 2, credentials)

/**
 * getsockopt(2) `SO_PEERCRED`: reads the process, user and group of the peer, as they were when it called connect(2),
 * listen(2) or socketpair(2). This proves the identity at that time: since then, the process may have passed the socket on,
 * or ended.
 * @throws SystemError `EBADF`, `ENOTSOCK`
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function peerCredentials(socket: FdLike): Credentials {
  return getOption(socket, SO_PEERCRED)
}
