import {
  type AsFd,
  type Credentials,
  control,
  credentials,
  getOption,
  SO_PEERCRED,
  SOL_SOCKET,
} from '@linux-sockets/native-core'

/**
 * The credentials of the process that sent a message, on sockets with `SO_PASSCRED`. One may send only its own, unless
 * privileged (`CAP_SYS_ADMIN` for the pid, `CAP_SETUID`, `CAP_SETGID`); what isn't sent is filled in by the kernel.
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SCM_CREDENTIALS = control('SCM_CREDENTIALS', SOL_SOCKET, 2, credentials)

/**
 * getsockopt(2) `SO_PEERCRED`: process, user and group of the peer, as they were when it called connect(2), listen(2) or
 * socketpair(2). Proof of who it was then: the process may have passed the socket on since, or ended.
 * @throws SystemError `EBADF`, `ENOTSOCK`
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function peerCredentials(socket: AsFd): Credentials {
  return getOption(socket, SO_PEERCRED)
}
