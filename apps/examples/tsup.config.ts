import { library } from '../../tsup.base.js'

// Not bundled, so that each program can be run and read by itself.
export default library({ entry: ['src/*.ts'], dts: false, bundle: false })
