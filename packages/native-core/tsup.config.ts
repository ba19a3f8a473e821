import { library } from '../../tsup.base.js'

export default library({
  entry: {
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
  },
})
