import { existsSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { defineConfig } from 'vitest/config'

// tools/checks is left to `npm run check`: it reads the tree and has nothing to do with the kernel. tools/interop is left to
// `npm run test:interop`, which brings the servers that it talks to.
const rooms = ['packages', 'apps', 'tools']
  .map((folder) => join(import.meta.dirname, folder))
  .flatMap((folder) => readdirSync(folder).map((room) => join(folder, room)))
  .filter((room) => existsSync(join(room, 'package.json')) && !['checks', 'interop'].includes(basename(room)))

export default defineConfig({
  test: {
    globalSetup: join(import.meta.dirname, 'scripts/fresh.mjs'),
    // A test that waits in vain is to fail, but one that has to wait for the processor isn't: these are for the former.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    projects: rooms.map((root) => ({
      extends: true,
      root,
      test: { name: basename(root), include: ['test/**/*.test.ts'] },
    })),
  },
})
