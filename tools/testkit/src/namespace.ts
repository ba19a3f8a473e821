import { type SpawnOptions, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'
import { onTestFinished } from 'vitest'
import { haveProgram, type Need } from './need.js'
import { type Program, runProgram, spawnProgram } from './program.js'

/** A network namespace. It acts like a separate host, with its own interfaces and routes. */
export interface Namespace {
  readonly name: string
  /** Runs a program in the namespace to its end, and returns its standard output. */
  run(command: string, args?: readonly string[], options?: Parameters<typeof runProgram>[2]): Promise<string>
  /** Starts a program in the namespace. The program is killed when the running test ends. */
  spawn(command: string, args?: readonly string[], options?: SpawnOptions): Program
}

/** Needs permission to make network namespaces, which takes root and the `ip` program. */
export function needNamespaces(): Need {
  if (!haveProgram('ip')) return 'ip (iproute2) is not installed'
  const name = nextName()
  const { status, stderr } = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' })
  if (status !== 0) return `network namespaces can't be made: ${stderr.trim()}`
  ip('netns', 'delete', name)
  return null
}

/** The files that a namespace has of its own. */
export interface NamespaceOptions {
  /**
   * Files, by name, that its programs see in /etc in place of the machine's: `{ 'resolv.conf': 'nameserver …' }`. Only files
   * that the machine has can be replaced. ip-netns(8)
   */
  readonly etc?: Readonly<Record<string, string>>
}

/** Makes a network namespace with loopback up. When the running test ends, it is deleted together with its interfaces. */
export function createNamespace({ etc = {} }: NamespaceOptions = {}): Namespace {
  const name = nextName()
  ip('netns', 'add', name)
  onTestFinished(() => ip('netns', 'delete', name))
  const directory = join('/etc/netns', name)
  for (const [file, text] of Object.entries(etc)) {
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, file), text)
  }
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  ip('-n', name, 'link', 'set', 'lo', 'up')
  const inside = (command: string, args: readonly string[]) => ['netns', 'exec', name, command, ...args]
  return {
    name,
    run: (command, args = [], options) => runProgram('ip', inside(command, args), options),
    spawn: (command, args = [], options) => spawnProgram('ip', inside(command, args), options),
  }
}

/**
 * Connects two namespaces by a veth pair. Both ends are called `interfaceName`, are up, have the given addresses
 * (`10.0.0.1/24`, `fd00::1/64`), and can be used at once.
 */
export function connectNamespaces(
  left: { readonly namespace: Namespace; readonly addresses: readonly string[] },
  right: { readonly namespace: Namespace; readonly addresses: readonly string[] },
  interfaceName = 'veth0',
): void {
  const [a, b] = [left.namespace.name, right.namespace.name]
  ip('-n', a, 'link', 'add', interfaceName, 'type', 'veth', 'peer', 'name', interfaceName, 'netns', b)
  for (const { namespace, addresses } of [left, right]) {
    ip('-n', namespace.name, 'link', 'set', interfaceName, 'up')
    for (const address of addresses) {
      // The kernel looks for duplicates of an IPv6 address for a second, during which no socket can be bound to it.
      const ready = address.includes(':') ? ['nodad'] : []
      ip('-n', namespace.name, 'address', 'add', address, 'dev', interfaceName, ...ready)
    }
  }
}

/** Makes two namespaces with these addresses that are connected by a veth pair; see `connectNamespaces`. */
export function createHosts(
  left: readonly string[],
  right: readonly string[],
  interfaceName?: string,
): [left: Namespace, right: Namespace] {
  const [a, b] = [createNamespace(), createNamespace()]
  connectNamespaces({ namespace: a, addresses: left }, { namespace: b, addresses: right }, interfaceName)
  return [a, b]
}

let made = 0

function nextName(): string {
  return `linux-sockets-${process.pid}-${threadId}-${made++}`
}

function ip(...args: string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' })
  if (status !== 0) throw error ?? new Error(`ip ${args.join(' ')}: ${stderr.trim()}`)
}
