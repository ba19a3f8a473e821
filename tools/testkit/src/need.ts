import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'vitest'

/** `null` if the machine has what a test needs, otherwise the reason to skip the test. */
export type Need = string | null

/**
 * Skips the running test unless every need is met, and prints the reason.
 *
 *     it('talks to socat', (test) => {
 *       skipUnless(test, needProgram('socat'))
 */
export function skipUnless(test: TestContext, ...needs: Need[]): void {
  const reason = needs.find((need) => need !== null)
  if (reason === undefined || reason === null) return
  console.warn(`skipped “${test.task.name}”: ${reason}`)
  test.skip(reason)
}

/** Returns whether a program is in the `PATH`. */
export function haveProgram(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Needs a program in the `PATH`. */
export function needProgram(name: string): Need {
  return haveProgram(name) ? null : `${name} is not installed`
}

/** Needs a file, by its path. */
export function needFile(path: string): Need {
  return existsSync(path) ? null : `${path} does not exist`
}

/** Needs user id 0. */
export function needRoot(): Need {
  return process.getuid?.() === 0 ? null : 'not root'
}

/** Needs this major version of Node.js or a newer one. */
export function needNode(major: number): Need {
  return Number.parseInt(process.versions.node, 10) >= major ? null : `Node.js ${major} is newer than this one`
}

/** Needs a kernel with UDP-Lite. */
export function needUdpLite(): Need {
  return /^UDP-Lite /m.test(readFileSync('/proc/net/protocols', 'utf8')) ? null : 'the kernel has no UDP-Lite'
}
