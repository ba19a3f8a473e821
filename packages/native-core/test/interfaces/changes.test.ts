import { getEventListeners } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  createNamespace,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  openDescriptors,
  type Program,
  skipUnless,
  temporaryDirectory,
  waitForLine,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it, onTestFinished, type TestContext, vi } from 'vitest'
import { Socket } from '../../src/index.js'
import {
  type AddressOnInterface,
  type InterfaceChange,
  type InterfaceWatch,
  interfaces,
  watchInterfaces,
} from '../../src/interfaces/index.js'

guardDescriptors()

const PREAMBLE = `
  import { interfaces, watchInterfaces, IFA_F_TENTATIVE, IFF_LOWER_UP, IFF_UP } from '@linux-sockets/native-core/interfaces'
  import { execFileSync } from 'node:child_process'
  const brief = ({ type, link, before, address }) => {
    if (address) return [type, link.name, address.address + '/' + address.prefixLength].join(' ')
    if (before && before.name !== link.name) return [type, before.name, 'is', link.name].join(' ')
    if (before && before.mtu !== link.mtu) return [type, link.name, 'mtu', link.mtu].join(' ')
    if (before && before.mac !== link.mac) return [type, link.name, 'mac', link.mac].join(' ')
    if (before && (before.flags ^ link.flags) & IFF_LOWER_UP) return [type, link.name, link.flags & IFF_LOWER_UP ? 'carrier' : 'no carrier'].join(' ')
    if (before && (before.flags ^ link.flags) & IFF_UP) return [type, link.name, link.flags & IFF_UP ? 'up' : 'down'].join(' ')
    return link ? [type, link.name].join(' ') : type
  }
  /** The interfaces as a program knows them that applies the changes to the first state. */
  const follow = (known, change) => {
    if (change.link === undefined) return
    const { ifindex } = change.link
    if (change.type === 'linkAdded') known.set(ifindex, { ...change.link, addresses: [] })
    if (change.type === 'linkRemoved') known.delete(ifindex)
    const link = known.get(ifindex)
    if (change.type === 'linkChanged') known.set(ifindex, { ...change.link, addresses: link.addresses })
    const rest = link?.addresses.filter((address) => JSON.stringify(address) !== JSON.stringify(change.before ?? change.address))
    if (change.type === 'addressRemoved') known.set(ifindex, { ...link, addresses: rest })
    if (/^address(Added|Changed)$/.test(change.type)) known.set(ifindex, { ...link, addresses: [...rest, change.address] })
  }
  /** In an order that doesn't depend on how they were learnt. */
  const sorted = (links) => [...links]
    .sort((a, b) => a.ifindex - b.ifindex)
    .map((link) => ({ ...link, addresses: link.addresses.map((address) => JSON.stringify(address, Object.keys(address).sort())).sort() }))
`

function spawnNode(namespace: Namespace, program: string): Program {
  const options = { cwd: resolve(import.meta.dirname, '../..') }
  return namespace.spawn(process.execPath, ['--input-type=module', '--eval', PREAMBLE + program], options)
}

async function runNode(namespace: Namespace, program: string): Promise<unknown> {
  const started = spawnNode(namespace, program)
  started.process.stdin?.end()
  const { code, stdout, stderr } = await started.finished
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

/** A network whose interfaces get no IPv6 addresses automatically. */
async function quietNamespace(test: TestContext): Promise<Namespace> {
  skipUnless(test, needNamespaces())
  const namespace = createNamespace()
  const settings = ['net.ipv6.conf.default.addr_gen_mode=1', 'net.ipv6.conf.all.addr_gen_mode=1']
  await namespace.run('sysctl', ['-q', '-w', ...settings])
  return namespace
}

describe('watchInterfaces', () => {
  it('reports links and addresses that are added, changed and removed', async (test) => {
    const namespace = await quietNamespace(test)
    const program = spawnNode(
      namespace,
      `const watch = watchInterfaces()
      console.log('watching', watch.interfaces.map(({ name }) => name).join())
      for await (const change of watch) console.log(brief(change))`,
    )
    expect(await waitForLine(program, /^watching/)).toMatch(/^watching lo/)
    const steps = [
      'link add veth0 mtu 1400 type veth peer name veth1',
      'link set veth0 address 02:00:00:00:00:01',
      'link set veth0 mtu 1500',
      'link set veth1 up',
      'link set veth0 up',
      'address add 192.0.2.1/24 dev veth0',
      'address add 192.0.2.1/25 dev veth0',
      'address add 192.0.2.1 peer 192.0.2.77 dev veth0',
      'address add 2001:db8::1/64 dev veth0 nodad',
      'address change 192.0.2.1/24 dev veth0 valid_lft 1000 preferred_lft 1000',
      'address delete 192.0.2.1/25 dev veth0',
      'link set veth1 down',
      'link set veth0 down',
      'link set veth0 name other0',
      'link delete other0',
      'link add last0 type veth peer name last1',
    ]
    for (const step of steps) await namespace.run('ip', step.split(' '))
    await waitForLine(program, /^linkAdded last0/)
    const lines = program.stdout.split('\n')
    const of = (pattern: RegExp) => lines.filter((line) => pattern.test(line))
    // The kernel reports the carrier at any time.
    const flags = /^linkChanged veth0( (no carrier|carrier|up|down))?$/
    expect(of(flags)).toEqual(expect.arrayContaining(['linkChanged veth0 carrier', 'linkChanged veth0 no carrier']))
    expect(of(/^(link|address)\w+ (veth0|other0)/).filter((line) => !flags.test(line))).toEqual([
      'linkAdded veth0',
      'linkChanged veth0 mac 02:00:00:00:00:01',
      'linkChanged veth0 mtu 1500',
      'addressAdded veth0 192.0.2.1/24',
      'addressAdded veth0 192.0.2.1/25',
      'addressAdded veth0 192.0.2.1/32',
      'addressAdded veth0 2001:db8::1/64',
      'addressChanged veth0 192.0.2.1/24',
      'addressRemoved veth0 192.0.2.1/25',
      'addressRemoved veth0 2001:db8::1/64',
      'linkChanged veth0 is other0',
      'addressRemoved other0 192.0.2.1/24',
      'addressRemoved other0 192.0.2.1/32',
      'linkRemoved other0',
    ])
    expect(of(/^lost/)).toEqual([])
    expect(of(/^link\w+ veth1/)).toContain('linkRemoved veth1')
  })

  it('reports when an IPv6 address can be used', async (test) => {
    const namespace = await quietNamespace(test)
    for (const step of ['link add veth0 type veth peer name veth1', 'link set veth1 up', 'link set veth0 up'])
      await namespace.run('ip', step.split(' '))
    const found = await runNode(
      namespace,
      `const watch = watchInterfaces()
      execFileSync('ip', ['address', 'add', 'fe80::5/64', 'dev', 'veth0'])
      const seen = []
      for await (const { type, link, address } of watch) {
        if (address?.address !== 'fe80::5') continue
        seen.push([type, address.scope === link.ifindex, (address.flags & IFA_F_TENTATIVE) !== 0])
        if (!seen.at(-1)[2]) break
      }
      console.log(JSON.stringify(seen))`,
    )
    expect(found).toEqual([
      ['addressAdded', true, true],
      ['addressChanged', true, false],
    ])
  })

  it('is not confused by bridges', async (test) => {
    const namespace = await quietNamespace(test)
    const made = await namespace.spawn('ip', ['link', 'add', 'bridge0', 'type', 'bridge']).finished
    skipUnless(test, made.code === 0 ? null : `no bridges: ${made.stderr.trim()}`)
    const program = spawnNode(
      namespace,
      `const watch = watchInterfaces()
      console.log('watching')
      for await (const change of watch) console.log(brief(change))`,
    )
    await waitForLine(program, /^watching/)
    const steps = [
      'link add veth0 type veth peer name veth1',
      'link set veth0 master bridge0',
      // The bridge reports that its port is gone with the message for a link that is gone.
      'link set veth0 nomaster',
      'link add last0 type veth peer name last1',
    ]
    for (const step of steps) await namespace.run('ip', step.split(' '))
    await waitForLine(program, /^linkAdded last0/)
    expect(program.stdout).toContain('linkAdded veth0')
    expect(program.stdout).not.toContain('linkRemoved')
  })

  it('reports that changes were lost, and makes up for them', async (test) => {
    const namespace = await quietNamespace(test)
    const directory = temporaryDirectory()
    const storm = Array.from({ length: 400 }, (_, i) => `link set veth0 mtu ${1000 + i}`)
    storm.splice(200, 0, 'address add 198.51.100.1/24 dev veth0', 'link add kept0 type veth peer name kept1')
    storm.push('address delete 192.0.2.9/24 dev veth0', 'link delete gone0')
    writeFileSync(join(directory, 'storm'), storm.join('\n'))
    for (const step of [
      'link add veth0 type veth peer name veth1',
      'link add gone0 type veth peer name gone1',
      'address add 192.0.2.9/24 dev veth0',
      'address add 192.0.2.10/24 dev gone0',
    ])
      await namespace.run('ip', step.split(' '))
    const found = await runNode(
      namespace,
      `const watch = watchInterfaces()
      const known = new Map(watch.interfaces.map((link) => [link.ifindex, link]))
      execFileSync('ip', ['-batch', '${directory}/storm'])
      const seen = []
      for await (const change of watch) {
        follow(known, change)
        seen.push(brief(change))
        // The storm is over, so this change comes after all changes that the storm has left.
        if (change.type === 'lost') execFileSync('ip', ['link', 'add', 'last0', 'type', 'veth', 'peer', 'name', 'last1'])
        if (change.type === 'linkAdded' && change.link.name === 'last0') break
      }
      console.log(JSON.stringify({ seen, known: sorted(known.values()), told: sorted(watch.interfaces), true: sorted(interfaces()) }))`,
    )
    const { seen, known, told, true: reality } = found as Record<'seen' | 'known' | 'told' | 'true', string[]>
    expect(seen[0]).toBe('lost')
    expect(seen.slice(1, 5).sort()).toEqual([
      'addressRemoved gone0 192.0.2.10/24',
      'addressRemoved veth0 192.0.2.9/24',
      'linkRemoved gone0',
      'linkRemoved gone1',
    ])
    expect(seen.indexOf('addressRemoved gone0 192.0.2.10/24')).toBeLessThan(seen.indexOf('linkRemoved gone0'))
    expect(seen).toEqual(
      expect.arrayContaining(['linkChanged veth0 mtu 1399', 'addressAdded veth0 198.51.100.1/24', 'linkAdded kept0']),
    )
    expect(seen.length).toBeLessThan(20)
    expect(known).toEqual(reality)
    expect(told).toEqual(reality)
  })

  it('reads everything again after a malformed message', async () => {
    const watch = watchInterfaces()
    const before = watch.interfaces
    const receiving = vi.spyOn(Socket.prototype, 'recvFrom')
    onTestFinished(() => receiving.mockRestore())
    receiving.mockImplementationOnce((buffer) => {
      buffer.fill(0xff, 0, 20)
      return { length: 20, address: { family: 'netlink', pid: 0, groups: 0 } }
    })
    for await (const { type } of watch) {
      expect(type).toBe('lost')
      break
    }
    expect(watch.interfaces.map(({ ifindex }) => ifindex)).toEqual(before.map(({ ifindex }) => ifindex))
  })

  it('leads to the present state, whatever happens', async (test) => {
    const namespace = await quietNamespace(test)
    const directory = temporaryDirectory()
    let state = 3
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    const steps = Array.from({ length: 300 }, () => {
      const link = `veth${random(3)}`
      const address = random(2) === 0 ? `192.0.2.${random(3)}/${24 + random(2)}` : `2001:db8::${random(3)}/64`
      const nodad = address.includes(':') ? ' nodad' : ''
      return [
        () => `link add ${link} type veth peer name ${link}p`,
        () => `link delete ${link}`,
        () => `link set ${link} mtu ${1300 + random(3)}`,
        () => `link set ${link} ${random(2) ? 'up' : 'down'}`,
        () => `link set ${link}p ${random(2) ? 'up' : 'down'}`,
        () => `address add ${address} dev ${link}${nodad}`,
        () => `address add ${address} dev ${link}${nodad}`,
        () => `address delete ${address} dev ${link}`,
        () => `address flush dev ${link}`,
      ][random(9)]?.()
    })
    writeFileSync(join(directory, 'steps'), steps.join('\n'))
    const found = await runNode(
      namespace,
      `import { spawn } from 'node:child_process'
      const watch = watchInterfaces()
      const known = new Map(watch.interfaces.map((link) => [link.ifindex, link]))
      // Many of the steps fail.
      const steps = spawn('ip', ['-force', '-batch', '${directory}/steps'], { stdio: 'ignore' })
      steps.on('close', () => execFileSync('ip', ['link', 'add', 'last0', 'type', 'veth', 'peer', 'name', 'last1']))
      const counts = {}
      for await (const change of watch) {
        follow(known, change)
        counts[change.type] = (counts[change.type] ?? 0) + 1
        // The kernel reports carriers and IPv6 addresses at any time, even after the last step.
        const isOver = watch.interfaces.some(({ name }) => name === 'last0')
        if (isOver && JSON.stringify(sorted(known.values())) === JSON.stringify(sorted(interfaces()))) break
      }
      console.log(JSON.stringify({ counts, known: sorted(known.values()), told: sorted(watch.interfaces), true: sorted(interfaces()) }))`,
    )
    const { counts, known, told, true: reality } = found as Record<string, Record<string, number>>
    for (const type of ['linkAdded', 'linkChanged', 'linkRemoved', 'addressAdded', 'addressRemoved']) {
      expect(counts?.[type], type).toBeGreaterThan(2)
    }
    expect(known).toEqual(reality)
    expect(told).toEqual(reality)
  })
})

describe('a watch', () => {
  const netlinkSockets = () => openDescriptors().filter(({ target }) => target.startsWith('socket:')).length

  it('has the types of its changes', () => {
    expectTypeOf(watchInterfaces).returns.toEqualTypeOf<InterfaceWatch>()
    expectTypeOf<InterfaceWatch>().toExtend<AsyncIterable<InterfaceChange>>()
    type Added = Extract<InterfaceChange, { type: 'addressAdded' }>
    expectTypeOf<Added['address']>().toEqualTypeOf<AddressOnInterface>()
    expectTypeOf<InterfaceChange['type']>().toEqualTypeOf<
      `${'link' | 'address'}${'Added' | 'Changed' | 'Removed'}` | 'lost'
    >()
  })

  it('begins with the interfaces as they are', () => {
    using watch = watchInterfaces()
    expect(watch.interfaces).toEqual(interfaces())
  })

  it('ends when it is closed, also for a loop that waits', async () => {
    const watch = watchInterfaces()
    const iterator = watch[Symbol.asyncIterator]()
    const waiting = iterator.next()
    await setImmediate()
    watch.close()
    watch.close()
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
    for await (const change of watch) expect(change).toBe('never')
  })

  it('is closed by its iterator’s return, although the iterator waits', async () => {
    const before = netlinkSockets()
    const iterator = watchInterfaces()[Symbol.asyncIterator]()
    const waiting = iterator.next()
    await setImmediate()
    expect(await iterator.return?.()).toEqual({ done: true, value: undefined })
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect(netlinkSockets()).toBe(before)
  })

  it('rejects with its signal’s reason', async () => {
    const controller = new AbortController()
    const reason = new Error('no longer wanted')
    const waits = watchInterfaces(controller)[Symbol.asyncIterator]()
    const waiting = waits.next()
    const asks = watchInterfaces(controller)[Symbol.asyncIterator]()
    await setImmediate()
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    expect(await waits.next()).toEqual({ done: true, value: undefined })
    await expect(asks.next()).rejects.toBe(reason)
    expect(() => watchInterfaces(controller)).toThrow(reason)
  })

  it('leaves nothing at its signal when it is closed', () => {
    const { signal } = new AbortController()
    watchInterfaces({ signal }).close()
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  it('does not keep the process alive unless a change is waited for', async (test) => {
    skipUnless(test, needNamespaces())
    expect(await runNode(createNamespace(), 'globalThis.watch = watchInterfaces(); console.log(1)')).toBe(1)
  })
})
