import { type Program, spawnProgram, waitForLine } from '@linux-sockets/testkit'

/** A server in a process of its own. */
export interface ServerProcess {
  readonly program: Program
  readonly port: number
  /** Calls the script's `orders[name]` in the server, and returns the result. */
  ask<T = undefined>(name: string): Promise<T>
  /** Lets the server end by itself, and throws if it fails. */
  end(): Promise<void>
}

/**
 * Starts a script in Node, or as the last arguments of a `wrapper`. The script gets `listening` (a socket), `reactor` and
 * `orders`, and makes `server` from them.
 */
export async function startServer(
  script: string,
  { wrapper = [], flags = [] }: { readonly wrapper?: readonly string[]; readonly flags?: readonly string[] } = {},
): Promise<ServerProcess> {
  const [command = '', ...args] = [...wrapper, process.execPath, ...flags, '--input-type=module', '-e', around(script)]
  const program = spawnProgram(command, args, { cwd: import.meta.dirname })
  const port = Number((await waitForLine(program, /^port /)).slice(5))
  let asked = 0
  return {
    program,
    port,
    async ask(name) {
      const number = ++asked
      program.process.stdin?.write(`${number} ${name}\n`)
      const line = await waitForLine(program, new RegExp(`^${number} `))
      return JSON.parse(line.slice(line.indexOf(' ')))
    },
    async end() {
      program.process.stdin?.end()
      const { code, signal, stderr } = await program.finished
      if (code !== 0) throw new Error(`the server ended with ${signal ?? code}: ${stderr}`)
    },
  }
}

const around = (script: string) => `
  import { createInterface } from 'node:readline'
  import { Socket, setOption } from '@linux-sockets/native-core'
  import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
  import { SO_SNDBUF } from '@linux-sockets/native-core/options'
  import { Reactor, serve } from '@linux-sockets/epoll'
  const listening = Socket.open(AF_INET, SOCK_STREAM)
  listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listening.listen(4096)
  const reactor = new Reactor()
  const orders = {}
  ${script}
  console.log('port', server.address.port)
  for await (const line of createInterface({ input: process.stdin })) {
    const [number, name] = line.split(' ')
    console.log(number, JSON.stringify((await orders[name]()) ?? null))
  }
  await server.drain({ timeout: 0 })
  reactor.close()`
