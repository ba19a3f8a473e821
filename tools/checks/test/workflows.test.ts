// Jobs with the right to publish run only reviewed code: actions pinned to commits, and packages that were tried before.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { filesIn, packages, read, root } from '../src/workspace.js'

describe.each(filesIn('.github/workflows'))('%s', (file) => {
  it('names each action by its commit, with the version', () => {
    const used = [...read(file).matchAll(/\buses: (.*)/g)].map((match) => match[1] as string)
    expect(used).not.toEqual([])
    const pinned = /^([\w-]+\/[\w-]+@[\da-f]{40} # v\d+\.\d+\.\d+|\.\/\.github\/workflows\/\w+\.yml)$/
    expect(used.filter((action) => !pinned.test(action))).toEqual([])
  })
})

describe('the release', () => {
  const jobs = new Map(
    read('.github/workflows/release.yml')
      .split(/^ {2}(?=\w+:$)/m)
      .slice(1)
      .map((text) => [text.slice(0, text.indexOf(':')), text] as const),
  )

  it('waits for CI and for the trial of the tarballs', () => {
    expect(jobs.get('ci')).toContain('uses: ./.github/workflows/ci.yml')
    expect(jobs.get('release')).toContain('needs: [ci, trial]')
    expect(jobs.get('trial')).toContain('needs: pack')
    expect(jobs.get('pack')).toContain('needs: [glibc, musl]')
  })

  it('is tried on the oldest and the newest Node.js version', () => {
    const versions = /^ +node: \[(.*)\]$/m.exec(read('.github/workflows/ci.yml'))?.[1]?.split(', ') ?? []
    expect(jobs.get('trial')).toContain(`node: [${versions.at(0)}, ${versions.at(-1)}]`)
  })
})

describe('the trial', () => {
  const trial = (directory: string, binary: string) =>
    execFileSync(process.execPath, [join(root, 'scripts/trial.mjs'), directory], {
      env: { ...process.env, LINUX_SOCKETS_BINARY: binary },
      encoding: 'utf8',
      stdio: 'pipe',
    })

  it('runs every package, and fails if one does not load', () => {
    const directory = mkdtempSync(join(tmpdir(), 'linux-sockets-'))
    try {
      for (const { path } of packages) {
        execFileSync('pnpm', ['pack', '--pack-destination', directory], { cwd: join(root, path), stdio: 'pipe' })
      }
      const said = trial(directory, join(root, 'packages/native-core/build/Release/native_core.node'))
      for (const { path } of packages) expect(said).toContain(`▸ ${path.replace('packages/', '')} under Node.js`)
      expect(() => trial(directory, '/absent/native_core.node')).toThrow('/absent/native_core.node')
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
