import { createNamespace, guardDescriptors, needNamespaces, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { runInNamespace } from './loopback.js'

guardDescriptors()

describe('Fast Open', () => {
  it('sends data with the SYN once the client has a cookie', async (test) => {
    skipUnless(test, needNamespaces())
    const said = await inNamespace(`
      for (const word of ['one', 'two']) {
        await tell(word, await connect(server.address, { prepare }))
      }
    `)
    expect(said).toEqual([
      { echoed: 'one', early: [false, false], opened: 0, accepted: 0 },
      { echoed: 'two', early: [true, true], opened: 1, accepted: 1 },
    ])
  })

  it('does so with MSG_FASTOPEN, which connects and sends', async (test) => {
    skipUnless(test, needNamespaces())
    const said = await inNamespace(`
      await tell('one', await connect(server.address, { prepare }))
      const socket = Socket.open(AF_INET, SOCK_STREAM)
      if (socket.sendTo(Buffer.from('t'), server.address, MSG_FASTOPEN) !== 1) throw new Error('not sent')
      await tell('wo', new SocketStream(socket))
    `)
    expect(said[1]).toEqual({ echoed: 'two', early: [true, true], opened: 1, accepted: 1 })
  })

  it('does so at once with TCP_FASTOPEN_NO_COOKIE', async (test) => {
    skipUnless(test, needNamespaces())
    const said = await inNamespace(
      `await tell('one', await connect(server.address, { prepare }))`,
      'setOption(socket, TCP_FASTOPEN_NO_COOKIE, true)',
    )
    expect(said).toEqual([{ echoed: 'one', early: [true, true], opened: 1, accepted: 1 }])
  })
})

interface Told {
  readonly echoed: string
  /** Whether the SYN carried data, as the client and the server report it. */
  readonly early: [boolean, boolean]
  /** The number of connections so far whose SYN carried data: sent, and received. */
  readonly opened: number
  readonly accepted: number
}

/** Runs a script in a namespace that allows Fast Open, with an echo server. */
async function inNamespace(script: string, prepare = ''): Promise<Told[]> {
  const namespace = createNamespace()
  await namespace.run('sh', ['-c', 'echo 3 > /proc/sys/net/ipv4/tcp_fastopen'])
  const program = `
    import { once } from 'node:events'
    import { readFileSync } from 'node:fs'
    import { text } from 'node:stream/consumers'
    import { setOption, Socket } from '@linux-sockets/native-core'
    import { AF_INET, MSG_FASTOPEN, SOCK_STREAM } from '@linux-sockets/native-core/constants'
    import { SocketStream } from '@linux-sockets/native-core/streams'
    import {
      connect,
      listen,
      TCP_FASTOPEN,
      TCP_FASTOPEN_CONNECT,
      TCP_FASTOPEN_NO_COOKIE,
      TCPI_OPT_SYN_DATA,
      tcpInfo,
    } from '@linux-sockets/tcp'

    const early = (stream) => (tcpInfo(stream).options & TCPI_OPT_SYN_DATA) !== 0
    let last
    const server = listen(
      { family: 'ipv4', address: '127.0.0.1', port: 0 },
      {
        prepare: (socket) => {
          setOption(socket, TCP_FASTOPEN, 5)
          ${prepare}
        },
      },
    )
    server.run((stream) => {
      last = early(stream)
      stream.pipe(stream)
    })
    const prepare = (socket) => {
      setOption(socket, TCP_FASTOPEN_CONNECT, true)
      ${prepare}
    }

    const said = []
    async function tell(word, stream) {
      stream.write(word)
      const [first] = await once(stream, 'data')
      const atClient = early(stream)
      const rest = text(stream)
      stream.end()
      said.push({ echoed: first + (await rest), early: [atClient, last], ...counts() })
    }
    function counts() {
      const [names, values] = readFileSync('/proc/self/net/netstat', 'utf8').split('\\n').map((line) => line.split(' '))
      const count = (name) => Number(values[names.indexOf(name)])
      return { opened: count('TCPFastOpenActive'), accepted: count('TCPFastOpenPassive') }
    }
    ${script}
    console.log(JSON.stringify(said))
    server.close()
  `
  return runInNamespace(namespace, program)
}
