import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** The events that the kernel watches for on a descriptor, in the one epoll instance that has it. */
export function eventsOf(fd: number): number {
  const mask = new RegExp(`^tfd: +${fd} events: +([0-9a-f]+) `, 'm')
  for (const name of readdirSync('/proc/self/fdinfo')) {
    // The descriptor of the listing is gone by now.
    const found =
      existsSync(`/proc/self/fdinfo/${name}`) && mask.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'utf8'))
    if (found) return Number.parseInt(found[1] as string, 16)
  }
  throw new Error(`descriptor ${fd} is not watched`)
}
