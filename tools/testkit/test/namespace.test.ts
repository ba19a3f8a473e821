import { existsSync } from 'node:fs'
import { expect, it } from 'vitest'
import {
  connectNamespaces,
  createNamespace,
  guardDescriptors,
  haveProgram,
  needNamespaces,
  needProgram,
  runProgram,
  skipUnless,
  waitForLine,
} from '../src/index.js'

guardDescriptors()

it('knows which programs are installed', () => {
  expect(haveProgram('sh')).toBe(true)
  expect(needProgram('no-such-program')).toBe('no-such-program is not installed')
})

it('connects two namespaces, and deletes them', async (test) => {
  skipUnless(test, needNamespaces())
  const [left, right] = [createNamespace(), createNamespace()]
  test.onTestFinished(async () => expect(await runProgram('ip', ['netns'])).toContain(left.name))
  connectNamespaces(
    { namespace: left, addresses: ['10.0.0.1/24', 'fd00::1/64'] },
    { namespace: right, addresses: ['10.0.0.2/24', 'fd00::2/64'] },
  )
  for (const address of ['10.0.0.2', 'fd00::2']) {
    const server = right.spawn('python3', ['-u', '-c', echoOnce(address)])
    const port = await waitForLine(server, /^\d+$/)
    const client = `import socket; s = socket.create_connection(("${address}", ${port})); s.sendall(b"hi"); print(s.recv(9))`
    expect(await left.run('python3', ['-c', client])).toBe("b'hi'\n")
  }
})

it('gives a namespace files of its own in /etc', async (test) => {
  skipUnless(test, needNamespaces())
  const { name, run } = createNamespace({ etc: { hosts: '192.0.2.7 somewhere.test\n' } })
  const other = createNamespace()
  test.onTestFinished(() => expect(existsSync(`/etc/netns/${name}`)).toBe(true))
  expect(await run('getent', ['hosts', 'somewhere.test'])).toContain('192.0.2.7')
  expect(await other.run('cat', ['/etc/hosts'])).not.toContain('192.0.2.7')
})

function echoOnce(address: string): string {
  return `
import socket
s = socket.socket(socket.AF_INET6 if ":" in "${address}" else socket.AF_INET)
s.bind(("${address}", 0))
s.listen()
print(s.getsockname()[1])
c, _ = s.accept()
c.sendall(c.recv(9))
`
}
