// Programs that handle faults badly, for the test of the judge.
import { pipe, recvMessage, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_KEEPALIVE } from '@linux-sockets/native-core/options'
import { MissingBytes, WrongBytes } from './bytes.js'
import { perform } from './perform.js'
import type { Program } from './programs.js'

/** Each program calls socket(2) once. If that fails, it does what its name says. */
const programs: Readonly<Record<string, Program>> = {
  well: afterFault(() => {}),
  told: afterFault((error) => {
    throw error
  }),
  crash: afterFault(() => process.abort()),
  hang: afterFault(() => new Promise(() => setInterval(() => {}, 1000))),
  'never settles': afterFault(() => new Promise(() => {})),
  spin: afterFault(() => {
    for (let i = 0; i < 10_000; i++) quietly(() => recvMessage({ fd: -1 }, Buffer.alloc(1)))
  }),
  leak: afterFault(() => {
    for (const end of Object.values(pipe())) end.release()
  }),
  'forgotten owner': afterFault(() => {
    forgotten.push(new WeakRef(pipe()))
    // Garbage collection closes the descriptors before the open ones are compared.
    return new Promise<void>((resolve) => setTimeout(resolve, 10)).then(() => global.gc?.())
  }),
  'wrong bytes': afterFault(() => {
    throw new WrongBytes('x for y')
  }),
  uncaught: afterFault((error) => {
    setImmediate(() => {
      throw error
    })
  }),
  'not told': afterFault(() => {
    throw new MissingBytes('nothing came')
  }),
  missed: async () => {},
}

const forgotten: WeakRef<object>[] = []

perform(programs[process.argv[2] as string])

function afterFault(meet: (error: unknown) => void | Promise<void>): Program {
  return async () => {
    let socket: Socket | undefined
    try {
      socket = Socket.open(AF_INET, SOCK_STREAM)
      setOption(socket, SO_KEEPALIVE, true)
    } catch (error) {
      await meet(error)
    } finally {
      socket?.close()
    }
  }
}

function quietly(action: () => unknown): void {
  try {
    action()
  } catch {
    // Only the call matters.
  }
}
