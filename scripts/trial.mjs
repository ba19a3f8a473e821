// Installs packed packages in an empty project, as npm does for a user, and runs the first program of each package's README.
// Needs only Node and npm, so it can try the packages on machines that can't build them.
//   node scripts/trial.mjs <directory of tarballs>
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fail, say } from './run.mjs'

const [directory = '.'] = process.argv.slice(2)
const tarballs = readdirSync(directory).filter((file) => file.endsWith('.tgz'))
if (tarballs.length === 0) fail(`There are no tarballs in ${directory}.`)

const project = mkdtempSync(join(tmpdir(), 'linux-sockets-'))
process.on('exit', () => rmSync(project, { recursive: true }))

writeFileSync(join(project, 'package.json'), '{ "private": true }')
const options = ['--ignore-scripts', '--offline', '--no-audit', '--no-fund']
run('npm', ['install', ...options, ...tarballs.map((file) => resolve(directory, file))])

const scope = join(project, 'node_modules/@linux-sockets')
const installed = readdirSync(scope)
if (installed.length !== tarballs.length)
  fail(`Of ${tarballs.length} tarballs these were installed: ${installed.join(', ')}.`)
for (const name of installed) {
  const [, program] = /^```js\n(.*?)^```$/ms.exec(readFileSync(join(scope, name, 'README.md'), 'utf8')) ?? []
  if (program === undefined) fail(`The README of ${name} shows no program.`)
  writeFileSync(join(project, `${name}.mjs`), program)
  say(`${name} under Node.js ${process.version}:\n${run(process.execPath, [`${name}.mjs`])}`)
  run(process.execPath, ['--eval', `require('@linux-sockets/${name}')`])
}

/** Runs a program in the project and returns its output. Ends this process if the program fails. */
function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: project,
    encoding: 'utf8',
    timeout: 60_000,
  })
  if (status !== 0) fail(`${command} ${args.join(' ')}: ${error?.message ?? `${stdout}${stderr}`}`)
  return stdout
}
