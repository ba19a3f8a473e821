import { resolve } from 'node:path'
import { createNamespace, needNamespaces, needRoot, type Program, skipUnless } from '@linux-sockets/testkit'
import type { TestContext } from 'vitest'

/** The files in a program's /etc: names come from its own name server, which may answer as late as it likes. */
export const ETC = {
  'resolv.conf': 'nameserver 127.0.0.1\noptions timeout:30 attempts:1\n',
  hosts:
    '127.0.0.1 localhost.example.test localhost\n192.0.2.10 host.example.test\n192.0.2.11 xn--bcher-kva.test\n' +
    '127.0.0.2 twice.test\n127.0.0.3 twice.test other.test\n127.0.0.2 twice.test\n2001:db8::8 twice.test\n2001:db8::8 twice.test\n',
  'nsswitch.conf': 'hosts: files dns\nservices: files\n',
}

/**
 * Starts a program with a network and names of its own. It finds `nameServer` and all of the package, as it was built.
 * `prepare` is run in its network before.
 */
export async function startAlone(
  test: TestContext,
  program: string,
  { prepare = [] as readonly string[], env = {} as Record<string, string> } = {},
): Promise<Program> {
  skipUnless(test, needRoot(), needNamespaces())
  const namespace = createNamespace({ etc: ETC })
  for (const command of prepare) await namespace.run('ip', command.split(' '))
  const script = `
    import * as addr from '@linux-sockets/addr'
    import { nameServer } from './test/nameserver.mjs'
    const { resolve, reverse } = addr
    ${program}`
  const cwd = resolve(import.meta.dirname, '..')
  const started = namespace.spawn(process.execPath, ['--input-type=module', '--eval', script], {
    cwd,
    env: { ...process.env, ...env },
  })
  started.process.stdin?.end()
  return started
}

/** Runs such a program to its end, and returns its output, parsed as JSON. It must not print errors. */
export async function runAlone(...args: Parameters<typeof startAlone>): Promise<unknown> {
  const { code, stdout, stderr } = await (await startAlone(...args)).finished
  if (code !== 0 || stderr !== '') throw new Error(`ended with ${code}: ${stderr}${stdout}`)
  return JSON.parse(stdout)
}
