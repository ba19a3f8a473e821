// Sets up, installs the Debian packages of the programs that our sockets talk to, and tests the sockets with them.
// Arguments go to vitest: npm run test:interop -- nginx
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fail, run, say } from './run.mjs'
import { setup } from './setup.mjs'

/** For each package, the programs or paths that show that it is installed. */
const needed = {
  'redis-server': ['redis-server'],
  postgresql: ['/usr/lib/postgresql'],
  'nginx-light': ['nginx', '/usr/sbin/nginx'],
  curl: ['curl'],
  openssl: ['openssl'],
  iproute2: ['ip'],
  python3: ['python3'],
  tcpdump: ['tcpdump'],
  socat: ['socat'],
  'avahi-daemon': ['/usr/sbin/avahi-daemon'],
  'dnsmasq-base': ['/usr/sbin/dnsmasq'],
  chrony: ['/usr/sbin/chronyd'],
  iperf: ['iperf'],
  iperf3: ['iperf3'],
}

setup()
install(Object.keys(needed).filter((name) => !needed[name].some(isThere)))
say('Testing with programs and packages of others.')
run('vitest', ['run', '--root=tools/interop', ...process.argv.slice(2)])

function install(missing) {
  if (missing.length === 0) return
  if (process.getuid() !== 0 || spawnSync('apt-get', ['--version']).error)
    fail(
      `The servers to talk with are missing. As root:\n\n    apt-get update && apt-get install -y ${missing.join(' ')}\n`,
    )
  say(`Installing ${missing.join(', ')}.`)
  // In runlevel 1 the packages start no services: the tests start their own.
  const env = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  run('apt-get', ['update', '-q'], { env })
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], { env })
}

function isThere(program) {
  if (program.startsWith('/')) return existsSync(program)
  return (process.env.PATH ?? '').split(delimiter).some((directory) => existsSync(join(directory, program)))
}
