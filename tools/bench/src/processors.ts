import { readFileSync } from 'node:fs'

/** Two processors for the server and for the load: of different cores where there are such. Both the same where there is one. */
export function processors(): { readonly server: number; readonly load: number } {
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  const all = parseList(allowed)
  const server = all.at(-1) as number
  const siblings = siblingsOf(server)
  const load = all.find((cpu) => !siblings.includes(cpu)) ?? all.find((cpu) => cpu !== server) ?? server
  return { server, load }
}

/** The kernel's way to write a set: `0-3,8`. */
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
