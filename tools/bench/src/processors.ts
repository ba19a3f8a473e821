import { readFileSync } from 'node:fs'

/** Chooses processors for the server and the load: on different cores if there are two, the same one if there is only one. */
export function processors(): { readonly server: number; readonly load: number } {
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  const all = parseList(allowed)
  const server = all.at(-1) as number
  const siblings = siblingsOf(server)
  const load = all.find((cpu) => !siblings.includes(cpu)) ?? all.find((cpu) => cpu !== server) ?? server
  return { server, load }
}

/** Parses the kernel's notation of a set of processors: `0-3,8`. */
export function parseList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .flatMap((part) => {
      const [first, last = first] = part.split('-').map(Number) as [number, number?]
      return Array.from({ length: last - first + 1 }, (_, i) => first + i)
    })
}

function siblingsOf(cpu: number): number[] {
  try {
    return parseList(readFileSync(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`, 'utf8'))
  } catch {
    return [cpu]
  }
}
