// Copies the declarations for `import` as declarations for `require`. TypeScript assumes that CommonJS can't load what ES
// module declarations describe (TS1479 under `module: node16`), although Node.js can. The contents are the same.
//   node scripts/declare.mjs packages/tcp/dist
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [directory] = process.argv.slice(2)
for (const file of readdirSync(directory).filter((name) => name.endsWith('.d.ts'))) {
  const text = readFileSync(join(directory, file), 'utf8')
  writeFileSync(
    join(directory, file.replace(/\.ts$/, '.cts')),
    text.replaceAll(/(["'])(\.\/[^"']+)\.js\1/g, '$1$2.cjs$1'),
  )
}
