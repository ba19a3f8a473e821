import { library } from '../../tsup.base.js'

export default library({ entry: ['src/faults.ts', 'src/program.ts', 'src/badly.ts', 'src/soak.ts'], dts: false })
