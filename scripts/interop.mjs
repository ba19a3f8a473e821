// Sets up, installs what our sockets are to talk with from Debian's packages, and tests them with it.
// Arguments go to vitest: npm run test:interop -- nginx
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fail, run, say } from './run.mjs'
import { setup } from './setup.mjs'

/** Package, and where one finds that it is installed. */
const needed = {
  'redis-server': ['redis-server'],
  postgresql: ['/usr/lib/postgresql'],
  'nginx-light': ['nginx', '/usr/sbin/nginx'],
  curl: ['curl'],
  openssl: ['openssl'],
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
  // In runlevel 1 no service is started: the tests start their own.
  const env = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  run('apt-get', ['update', '-q'], { env })
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], { env })
}

function isThere(program) {
  if (program.startsWith('/')) return existsSync(program)
  return (process.env.PATH ?? '').split(delimiter).some((directory) => existsSync(join(directory, program)))
}
