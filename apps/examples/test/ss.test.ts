/** Compares our `ss` with the real one on the sockets of a separate namespace. */
import { join, resolve } from 'node:path'
import {
  createNamespace,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  needProgram,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, describe, expect, it } from 'vitest'

guardDescriptors()

const program = resolve(import.meta.dirname, '../dist/ss.js')

/** Opens sockets of every kind, waits until nothing changes any more, and prints their numbers. */
const EVERY_KIND = `
import fcntl, json, os, select, struct, subprocess, sys, termios
from socket import *

def ip(command):
    subprocess.run(['ip', *command.split()], check=True)

def connected(listener, to):
    client = create_connection((to, listener.getsockname()[1]))
    return client, listener.accept()[0]

def waiting(listener, to):
    client = create_connection((to, listener.getsockname()[1]))
    select.select([listener], [], [])
    return client

def send_and_wait(sender, receiver, data):
    sender.sendall(data)
    receiver.recv(len(data), MSG_PEEK | MSG_WAITALL)
    while struct.unpack('i', fcntl.ioctl(sender, termios.TIOCOUTQ, b'    '))[0]: pass

def udp_on(family, device):
    udp = socket(family, SOCK_DGRAM)
    udp.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, device)
    udp.bind(('', 0))
    return udp

four = create_server(('127.0.0.1', 0), backlog=7)
four_client, four_server = connected(four, '127.0.0.1')
send_and_wait(four_client, four_server, b'x' * 1234)
left, leaver = connected(four, '127.0.0.1')
leaver.close()
left.recv(1)
leaver, left_too = connected(four, '127.0.0.1')
leaver.shutdown(SHUT_WR)
left_too.recv(1)
left_too.close()
leaver.recv(1)
leaver.close()
lost_client, lost_server = connected(four, '127.0.0.1')
four_waiting = waiting(four, '127.0.0.1')

six = create_server(('::1', 0), family=AF_INET6)
six_client, six_server = connected(six, '::1')
send_and_wait(six_server, six_client, b'y' * 77)
both = create_server(('::', 0), family=AF_INET6, dualstack_ipv6=True)
mapped_client, mapped_server = connected(both, '127.0.0.1')
only_six = create_server(('::', 0), family=AF_INET6)

udp = udp_on(AF_INET, b'')
udp_client = socket(AF_INET, SOCK_DGRAM)
udp_client.connect(('127.0.0.1', udp.getsockname()[1]))
udp_client.send(b'z' * 100)
select.select([udp], [], [])
udp_six = udp_on(AF_INET6, b'lo')
ip('link add gone0 type veth peer name gone1')
udp_on_nothing = udp_on(AF_INET, b'gone0')
ip('link delete gone0')

path = socket(AF_UNIX)
path.bind(sys.argv[1])
path.listen(5)
path_client = socket(AF_UNIX)
path_client.connect(sys.argv[1])
path_server = path.accept()[0]
path_client.send(b'a' * 50)
path_waiting = socket(AF_UNIX)
path_waiting.connect(sys.argv[1])
abstract = socket(AF_UNIX, SOCK_DGRAM)
abstract.bind('\\0of the\\ttest')
abstract_client = socket(AF_UNIX, SOCK_DGRAM)
abstract_client.connect('\\0of the\\ttest')
abstract_client.send(b'b' * 9)
alone = socket(AF_UNIX, SOCK_DGRAM)
pair = socketpair(AF_UNIX, SOCK_SEQPACKET)
pair[0].send(b'c' * 3)

# From here on nothing arrives, and nothing is acknowledged.
ip('link set lo down')
lost_client.send(b'l' * 5000)

def where(s):
    port = None if s.family == AF_UNIX else s.getsockname()[1]
    return {'fd': s.fileno(), 'inode': os.fstat(s.fileno()).st_ino, 'port': port}

found = {name: where(value) for name, value in list(globals().items()) if isinstance(value, socket) and value.fileno() >= 0}
print(json.dumps({'pid': os.getpid(), 'dup': os.dup(four_server.fileno()), **found}), flush=True)
sys.stdin.read()
`

const MANY = `
import json, socket, sys
udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(800)]
for s in udp: s.bind(('127.0.0.1', 0))
print(json.dumps([s.getsockname()[1] for s in udp]), flush=True)
sys.stdin.read()
`

describe('compared with ss', () => {
  beforeEach((test) => skipUnless(test, needNamespaces(), needProgram('ss'), needProgram('python3')))

  it('shows the same sockets', async () => {
    const { namespace } = await openEveryKind()
    const theirs = async (...options: string[]) =>
      // ss prints control characters in names as they are.
      (await linesOf(namespace, 'ss', '-tuxnOH', ...options)).map((line) => line.replace('\t', '?')).sort()
    const ours = async (...options: string[]) =>
      (await linesOf(namespace, process.execPath, program, ...options)).slice(1).map(withoutPeerName).sort()
    const connected = await theirs()
    expect(connected.length).toBeGreaterThan(12)
    expect(await ours()).toEqual(connected)
    expect(await ours('-l')).toEqual(await theirs('-l'))
    expect(await ours('-anp')).toEqual(await theirs('-ap'))
    expect(await ours('-t')).toEqual(connected.filter((line) => line.startsWith('tcp')))
    expect(await ours('-ux')).toEqual(connected.filter((line) => !line.startsWith('tcp')))
  })

  it('shows the state, the queues, the ends and the holders of each socket', async () => {
    const { namespace, path, pid, dup, at } = await openEveryKind()
    const shown = await linesOf(namespace, process.execPath, program, '-ap')
    const four = (name: string) => `127.0.0.1:${at(name).port}`
    const six = (name: string) => `[::1]:${at(name).port}`
    const held = (...fds: number[]) => `users:(${fds.map((fd) => `("python3",pid=${pid},fd=${fd})`).sort()})`
    const by = (name: string) => held(at(name).fd)
    const expected = [
      `tcp LISTEN 1 7 ${four('four')} 0.0.0.0:* ${by('four')}`,
      `tcp LISTEN 0 128 *:${at('both').port} *:* ${by('both')}`,
      `tcp LISTEN 0 128 [::]:${at('only_six').port} [::]:* ${by('only_six')}`,
      `tcp ESTAB 1234 0 ${four('four_server')} ${four('four_client')} ${held(at('four_server').fd, dup)}`,
      `tcp ESTAB 77 0 ${six('six_client')} ${six('six_server')} ${by('six_client')}`,
      `tcp ESTAB 0 5000 ${four('lost_client')} ${four('lost_server')} ${by('lost_client')}`,
      `tcp CLOSE-WAIT 0 0 ${four('left')} ${four('four')} ${by('left')}`,
      `udp ESTAB 0 0 ${four('udp_client')} ${four('udp')} ${by('udp_client')}`,
      `udp UNCONN 0 0 *%lo:${at('udp_six').port} *:* ${by('udp_six')}`,
      `u_str LISTEN 1 5 ${path} ${at('path').inode} * 0 ${by('path')}`,
      `u_str ESTAB 50 0 ${path} ${at('path_server').inode} * ${at('path_client').inode} ${by('path_server')}`,
      `u_dgr ESTAB 9 0 @of the?test ${at('abstract').inode} * 0 ${by('abstract')}`,
      `u_dgr UNCONN 0 0 * ${at('alone').inode} * 0 ${by('alone')}`,
    ]
    expect(shown).toEqual(expect.arrayContaining(expected))
    // The kernel measures this queue by the memory that it takes.
    const client = ` * ${at('path_client').inode} ${path} ${at('path_server').inode} ${by('path_client')}`
    expect(shown.filter((line) => line.endsWith(client))).toEqual([expect.stringMatching(/^u_str ESTAB 0 [1-9]/)])
  })

  it('shows the same TCP_INFO', async () => {
    const { namespace, at } = await openEveryKind()
    const ours = (await namespace.run(process.execPath, [program, '-ti'])).replaceAll('\n\t', ' ')
    const theirs = await namespace.run('ss', ['-tinOH'])
    const congestion = (await namespace.run('cat', ['/proc/sys/net/ipv4/tcp_congestion_control'])).trim()
    const ends = (host: string, ...names: string[]) => names.map((name) => `${host}:${at(name).port}`)
    const [four, six] = [ends('127.0.0.1', 'four_client', 'four_server'), ends('[::1]', 'six_client', 'six_server')]
    for (const pair of [four, four.toReversed(), six, six.toReversed()]) {
      const said = infoOf(ours, pair)
      expect(said).toEqual(expect.arrayContaining([/^rtt:.*\d/, /^mss:\d/].map((text) => expect.stringMatching(text))))
      expect(said.length).toBeGreaterThan(12)
      expect(said[0]).toBe(congestion)
      // Times change between the two commands.
      const lasting = said.filter((word) => !word.startsWith('last'))
      expect(infoOf(theirs, pair)).toEqual(expect.arrayContaining(lasting))
    }
    expect(infoOf(ours, four)).toContain('bytes_sent:1234')
    expect(infoOf(ours, four.toReversed())).toContain('bytes_received:1234')
  })

  it('shows the sockets of other users without privileges, but not their processes', async (test) => {
    skipUnless(test, needProgram('setpriv'))
    const namespace = createNamespace()
    const script =
      'import os, socket; os.setuid(65534); s = socket.create_server(("", 0)); print("open", flush=True); input()'
    await waitForLine(namespace.spawn('python3', ['-c', script]), /open/)
    const shown = await linesOf(namespace, 'setpriv', '--bounding-set=-all', process.execPath, program, '-tlp')
    expect(shown[1]).toMatch(/^tcp LISTEN 0 128 0\.0\.0\.0:\d+ 0\.0\.0\.0:\*$/)
    expect((await linesOf(namespace, process.execPath, program, '-tlp'))[1]).toMatch(
      / users:\(\("python3",pid=\d+,fd=3\)\)$/,
    )
  })

  it('shows all sockets if they don’t fit into one message', async () => {
    const namespace = createNamespace()
    const opened = namespace.spawn('python3', ['-c', MANY])
    const ports: number[] = JSON.parse(await waitForLine(opened, /^\[/))
    const shown = await linesOf(namespace, process.execPath, program, '-uan')
    const expected = ports.map((port) => `udp UNCONN 0 0 127.0.0.1:${port} 0.0.0.0:*`)
    expect(shown.slice(1).sort()).toEqual(expected.sort())
  })
})

it('refuses unknown arguments', async () => {
  const { code, stderr } = await spawnProgram(process.execPath, [program, '-q']).finished
  expect(stderr).toMatch(/^Unknown option '-q'.*\nusage: /)
  expect(code).toBe(2)
})

/** Opens the sockets of `EVERY_KIND` in a new namespace. They stay open until the test ends. */
async function openEveryKind() {
  const namespace = createNamespace()
  const path = join(temporaryDirectory(), 'socket')
  const opened = namespace.spawn('python3', ['-c', EVERY_KIND, path])
  const { pid, dup, ...found } = JSON.parse(await waitForLine(opened, /^\{/))
  return { namespace, path, pid, dup, at: (name: string): Opened => found[name] }
}

interface Opened {
  readonly fd: number
  readonly inode: number
  readonly port: number
}

/** Returns the lines that a program prints, with one space between columns. */
async function linesOf(namespace: Namespace, command: string, ...args: string[]): Promise<string[]> {
  const shown = await namespace.run(command, args)
  const lines = shown.trimEnd().split('\n')
  return lines.map((line) => withSortedHolders(line.trimEnd().replaceAll(/ +/g, ' ')))
}

function withSortedHolders(line: string): string {
  const [socket, holders] = line.split(' users:')
  return holders === undefined ? line : `${socket} users:(${holders.match(/\(".*?\)/g)?.sort()})`
}

/** Removes the name of a Unix socket's peer, which ss doesn't show. */
function withoutPeerName(line: string): string {
  return line.replace(/^(u_\S+ \S+ \d+ \d+ .*? \d+) .* (\d+)(?= users|$)/, '$1 * $2')
}

/** Returns the words that are shown about the connection between two ends. */
function infoOf(shown: string, ends: readonly string[]): string[] {
  const lines = shown.split('\n').map((line) => line.replaceAll(/\s+/g, ' '))
  const [, said = ''] = lines.map((line) => line.split(` ${ends.join(' ')} `)).find((parts) => parts.length > 1) ?? []
  return said.trim().split(' ')
}
