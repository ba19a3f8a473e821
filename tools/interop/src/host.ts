// Our side of a test, which runs in a process on a host of the test's own.
import { resolve } from 'node:path'
import { type Namespace, type Program, waitForLine } from '@linux-sockets/testkit'
import { expect } from 'vitest'

const room = resolve(import.meta.dirname, '..')

/** Runs a module on a host, with `args` as `args`, and returns the values that it has printed as JSON, one in each line. */
export async function runOurs<T>(host: Namespace, program: string, args: unknown = {}): Promise<T[]> {
  return valuesOf(await host.run(process.execPath, commandLine(program, args), { cwd: room }))
}

/** Starts a module on a host, and waits until it has printed `ready`. It is killed when the running test ends. */
export async function startOurs(host: Namespace, program: string, args: unknown = {}): Promise<Program> {
  const started = host.spawn(process.execPath, commandLine(program, args), { cwd: room })
  await waitForLine(started, /^"ready"$/)
  return started
}

/** The values that a module has printed until now, without `ready`. */
export function valuesOf<T>(output: string): T[] {
  const lines = output.split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line)).filter((value) => value !== 'ready')
}

/** Has the kernel not look for duplicates of the addresses of a host: link-local ones can be used as soon as they exist. */
export async function trustAddresses(host: Namespace): Promise<void> {
  await host.run('sysctl', ['-q', '-w', 'net.ipv6.conf.default.accept_dad=0'])
}

/** The link-local address of an interface, once the kernel has found no duplicate of it. */
export async function linkLocal(host: Namespace, name: string): Promise<string> {
  const show = () => host.run('ip', ['-6', '-oneline', 'address', 'show', 'dev', name, 'scope', 'link'])
  await expect.poll(show).toMatch(/fe80(?!.*tentative)/)
  return /(fe80\S+)\//.exec(await show())?.[1] as string
}

/** For a module: `question(id, flags, name, type)`, a DNS message. RFC 1035, section 4.1. */
export const QUESTION = `
  const question = (id, flags, name, type) => Buffer.concat([
    Buffer.from([id >> 8, id & 0xff, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ...name.split('.').map((label) => Buffer.from(String.fromCharCode(label.length) + label)),
    Buffer.from([0, 0, type, 0, 1]),
  ])
`

function commandLine(program: string, args: unknown): string[] {
  return ['--input-type=module', '--eval', `${PRELUDE}${program}`, JSON.stringify(args)]
}

const PRELUDE = `
  import { interfaceNameOf, ifindexOf, UdpSocket } from '@linux-sockets/udp-mcast'
  const args = JSON.parse(process.argv[1])
  const say = (value) => console.log(JSON.stringify(value))
  const error = (problem) => { throw problem }
`
