import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_REUSEADDR } from '@linux-sockets/native-core/options'
import {
  type Namespace,
  type Need,
  needProgram,
  type Program,
  runProgram,
  spawnProgram,
  temporaryDirectory,
  waitForLine,
} from '@linux-sockets/testkit'
import { onTestFinished } from 'vitest'

/** Starts Redis in a directory of its own, and returns its port. Redis is stopped when the running test ends. */
export async function startRedis(): Promise<number> {
  const port = reservePort()
  const redis = spawnProgram('redis-server', [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', temporaryDirectory()],
    ...['--save', '', '--appendonly', 'no', '--daemonize', 'no'],
  ])
  await waitForLine(redis, /Ready to accept connections/)
  return port
}

/** Returns the directory where Debian keeps the programs of the newest installed version of PostgreSQL. */
export function postgresPrograms(): string | undefined {
  try {
    const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(a) - Number(b))
    return join('/usr/lib/postgresql', versions.at(-1) as string, 'bin')
  } catch {
    return undefined
  }
}

/** Needs PostgreSQL as Debian installs it. */
export function needPostgres(): Need {
  return postgresPrograms() === undefined ? 'postgresql is not installed' : null
}

/**
 * Starts PostgreSQL with a new cluster, and returns its port. PostgreSQL refuses to run as root, so it runs as its own user. It
 * is stopped when the running test ends. Its user and its database are called `postgres`.
 */
export async function startPostgres(): Promise<number> {
  const port = reservePort()
  const directory = temporaryDirectory()
  const data = join(directory, 'data')
  const owner = process.getuid?.() === 0 ? postgresUser() : undefined
  if (owner !== undefined) chownSync(directory, owner.uid, owner.gid)
  const options = { cwd: directory, ...owner }
  const programs = postgresPrograms() as string
  await runProgram(
    join(programs, 'initdb'),
    ['--pgdata', data, '--username=postgres', '--auth=trust', '--encoding=UTF8', '--no-locale', '--no-sync'],
    options,
  )
  const settings = ['fsync=off', 'listen_addresses=127.0.0.1', `port=${port}`, `unix_socket_directories=${directory}`]
  const postgres = spawnProgram(
    join(programs, 'postgres'),
    ['-D', data, ...settings.flatMap((setting) => ['-c', setting])],
    options,
  )
  // If it were killed, it would leave its shared memory behind.
  stopWith(postgres, 'SIGINT')
  await waitForLine(postgres, /ready to accept connections/)
  return port
}

/** Needs nginx. */
export function needNginx(): Need {
  return needDaemon('nginx')
}

/** Needs a program of /usr/sbin, which is not in the `PATH` of every user. */
export function needDaemon(name: string): Need {
  return existsSync(join('/usr/sbin', name)) ? null : needProgram(name)
}

/**
 * Starts nginx, and returns its port. `server` and `http` are directives for these two blocks of its configuration. nginx is
 * stopped when the running test ends.
 */
export async function startNginx(server: string, http = '', listenOptions = ''): Promise<number> {
  const port = reservePort()
  const directory = temporaryDirectory()
  const file = join(directory, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  writeFileSync(
    file,
    `daemon off; master_process off; pid ${directory}/pid; error_log stderr notice;
     events { worker_connections 256; }
     http {
       access_log off; client_max_body_size 0;
       ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n')}
       ${http}
       server { listen 127.0.0.1:${port} ${listenOptions}; ${server} }
     }`,
  )
  const nginx = spawnProgram('nginx', ['-p', directory, '-c', file, '-e', 'stderr'], {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  })
  // nginx prints its version after it has started to listen.
  await waitForLine(nginx, /nginx\/\d/)
  return port
}

/**
 * Starts avahi-daemon on the interface of a host, with a service of the type `_interop._udp`. `name` is the name of the host
 * and of the service. It is killed when the running test ends.
 */
export async function startAvahi(host: Namespace, name: string, interfaceName: string): Promise<void> {
  const directory = temporaryDirectory()
  writeFileSync(
    join(directory, 'avahi-daemon.conf'),
    `[server]\nhost-name=${name}\nallow-interfaces=${interfaceName}\nenable-dbus=no\n`,
  )
  mkdirSync(join(directory, 'services'))
  writeFileSync(
    join(directory, 'services/interop.service'),
    `<!DOCTYPE service-group SYSTEM "avahi-service.dtd">
     <service-group><name>${name}</name><service><type>_interop._udp</type><port>4000</port></service></service-group>`,
  )
  // Its configuration and the file with its process id, of which there can be one, are at fixed paths.
  const script = `mount -t tmpfs tmpfs /run && mkdir /run/avahi-daemon && mount --bind ${directory} /etc/avahi &&
    exec /usr/sbin/avahi-daemon --no-chroot --no-drop-root --no-rlimits`
  const avahi = host.spawn('unshare', ['--mount', 'sh', '-c', script])
  await waitForLine(avahi, /Service .* successfully established/)
}

/** Starts dnsmasq on a host, with further options. It is killed when the running test ends. */
export async function startDnsmasq(host: Namespace, options: readonly string[]): Promise<void> {
  const fixed = ['--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv', '--user=root']
  const files = ['--log-facility=-', '--pid-file=', `--dhcp-leasefile=${join(temporaryDirectory(), 'leases')}`]
  const dnsmasq = host.spawn('/usr/sbin/dnsmasq', [...fixed, ...files, ...options])
  await waitForLine(dnsmasq, /cleared cache|DHCP, IP range/)
}

/**
 * Sends a question by socat to one of its addresses, and returns the line that it gets. Connected, it takes answers from the
 * asked address alone.
 */
export async function askBySocat(host: Namespace, address: string, question: string): Promise<string> {
  const socat = host.spawn('socat', ['-b', '70000', 'STDIO', address])
  socat.process.stdin?.write(question)
  const line = await waitForLine(socat, /./)
  socat.process.kill()
  await socat.finished
  return line
}

/** Starts chronyd on a host, without control of the clock, with a configuration. It is killed when the running test ends. */
export function startChrony(
  host: Namespace,
  configuration: readonly string[],
  options: readonly string[] = [],
): Program {
  const settings = ['cmdport 0', `pidfile ${join(temporaryDirectory(), 'chronyd.pid')}`, ...configuration]
  return host.spawn('/usr/sbin/chronyd', ['-x', '-d', '-u', 'root', ...options, ...settings])
}

/**
 * Reserves a port for the running test: the kernel won't choose it for another socket. A server that sets `SO_REUSEADDR`, as
 * this socket does, can still bind and listen, because this socket doesn't listen.
 */
function reservePort(): number {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  onTestFinished(() => socket.close())
  setOption(socket, SO_REUSEADDR, true)
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  return socket.localName.port
}

function postgresUser(): { uid: number; gid: number } {
  const entry = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))
  if (entry === null) throw new Error('there is no user postgres')
  return { uid: Number(entry[1]), gid: Number(entry[2]) }
}

/** Stops a program with a signal when the test ends. Registered after the program was started, so it runs before the kill. */
function stopWith({ process, finished }: Program, signal: NodeJS.Signals): void {
  onTestFinished(async () => {
    process.kill(signal)
    await finished
  })
}
