import { type SpawnOptions, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'
import { onTestFinished } from 'vitest'
import { haveProgram, type Need } from './need.js'
import { type Program, runProgram, spawnProgram } from './program.js'

/** A network namespace: a host of its own, with its own interfaces and routes. */
export interface Namespace {
  readonly name: string
  /** Runs a program in it to its end and returns what it wrote. */
  run(command: string, args?: readonly string[], options?: Parameters<typeof runProgram>[2]): Promise<string>
  /** Starts a program in it; killed when the running test ends. */
  spawn(command: string, args?: readonly string[], options?: SpawnOptions): Program
}

/** Network namespaces can be made here, which takes root and the `ip` program. */
export function needNamespaces(): Need {
  if (!haveProgram('ip')) return 'ip (iproute2) is not installed'
  const name = nextName()
  const { status, stderr } = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' })
  if (status !== 0) return `network namespaces can't be made: ${stderr.trim()}`
  ip('netns', 'delete', name)
  return null
}

/** What a namespace has of its own beside its network. */
export interface NamespaceOptions {
  /**
   * Files that its programs find in /etc in place of the machine's, by their names: `{ 'resolv.conf': 'nameserver …' }`.
   * Files that the machine lacks can't be replaced. ip-netns(8)
   */
  readonly etc?: Readonly<Record<string, string>>
}

/** Makes a network namespace whose loopback is up. It is deleted when the running test ends, and its interfaces with it. */
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
 * Joins two namespaces by a cable: a veth pair whose two ends are both called `interfaceName`, up, with these addresses
 * (`10.0.0.1/24`, `fd00::1/64`), ready to be used at once.
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
      // An IPv6 address can't be bound to for its first second, while duplicates of it are looked for.
      const ready = address.includes(':') ? ['nodad'] : []
      ip('-n', namespace.name, 'address', 'add', address, 'dev', interfaceName, ...ready)
    }
  }
}

let made = 0

function nextName(): string {
  return `linux-sockets-${process.pid}-${threadId}-${made++}`
}

function ip(...args: string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' })
  if (status !== 0) throw error ?? new Error(`ip ${args.join(' ')}: ${stderr.trim()}`)
}
