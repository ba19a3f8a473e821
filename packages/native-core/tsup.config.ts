import { resolve } from 'node:path'
import { library } from '../../tsup.base.js'

/** What programs and siblings may import. */
const entries = {
  index: 'src/index.ts',
  codecs: 'src/codecs/index.ts',
  constants: 'src/constants.ts',
  epoll: 'src/epoll/index.ts',
  filter: 'src/filter.ts',
  interfaces: 'src/interfaces/index.ts',
  options: 'src/options/index.ts',
  resolve: 'src/resolve/index.ts',
  streams: 'src/streams/index.ts',
  internal: 'src/internal.ts',
}
const sources = new Set(Object.values(entries).map((file) => resolve(import.meta.dirname, file)))

export default library({
  entry: { ...entries, core: 'src/core.ts' },
  // One file has all modules, and the entries take from it. esbuild's own splitting makes some twenty files, which every
  // program and every Worker would have to open.
  splitting: false,
  dts: { entry: entries },
  esbuildPlugins: [
    {
      name: 'entries',
      setup({ onResolve }) {
        onResolve({ filter: /^\./ }, ({ importer }) =>
          sources.has(importer) ? { path: './core.js', external: true } : undefined,
        )
      },
    },
  ],
})
