// Hosts of a test's own, and programs that run on them.
import { resolve } from 'node:path'
import { connectNamespaces, createNamespace, type Namespace } from '@linux-sockets/testkit'

/** Two hosts with a router between them, which the left host and the right host know as their default route. */
export interface RoutedHosts {
  /** `10.70.1.1`, `fd70:1::1`, on the interface `left`. */
  readonly left: Namespace
  /** `10.70.1.254`, `fd70:1::fe` on `left`; `10.70.2.254`, `fd70:2::fe` on `right`. */
  readonly router: Namespace
  /** `10.70.2.2`, `fd70:2::2`, on the interface `right`. */
  readonly right: Namespace
}

/** Makes two hosts with a router between them. */
export async function routedHosts(): Promise<RoutedHosts> {
  const [left, router, right] = [createNamespace(), createNamespace(), createNamespace()]
  connectNamespaces(
    { namespace: left, addresses: ['10.70.1.1/24', 'fd70:1::1/64'] },
    { namespace: router, addresses: ['10.70.1.254/24', 'fd70:1::fe/64'] },
    'left',
  )
  connectNamespaces(
    { namespace: router, addresses: ['10.70.2.254/24', 'fd70:2::fe/64'] },
    { namespace: right, addresses: ['10.70.2.2/24', 'fd70:2::2/64'] },
    'right',
  )
  // ICMP errors must not be held back by the kernel's limits, which exist for hosts that are attacked.
  for (const setting of [
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    'net.ipv4.icmp_ratelimit=0',
    'net.ipv6.icmp.ratelimit=0',
  ]) {
    await router.run('sysctl', ['-q', '-w', setting])
  }
  await right.run('sysctl', ['-q', '-w', 'net.ipv4.icmp_ratelimit=0', 'net.ipv6.icmp.ratelimit=0'])
  for (const [host, number] of [
    [left, 1],
    [right, 2],
  ] as const) {
    await host.run('ip', ['route', 'add', 'default', 'via', `10.70.${number}.254`])
    await host.run('ip', ['-6', 'route', 'add', 'default', 'via', `fd70:${number}::fe`])
  }
  return { left, router, right }
}

/**
 * Runs a module on a host, with `args` as `args`, and returns the JSON that it prints last. It imports the built package.
 */
export async function runOn(host: Namespace, program: string, args: unknown = {}): Promise<unknown> {
  const text = `const args = JSON.parse(process.argv[1])\n${program}`
  const output = await host.run(process.execPath, ['--input-type=module', '--eval', text, JSON.stringify(args)], {
    cwd: resolve(import.meta.dirname, '..'),
  })
  return JSON.parse(output.trim().split('\n').at(-1) as string)
}
