// Runs one of the programs, whose name is the argument, in this process.
import { perform } from './perform.js'
import { programs } from './programs.js'

perform(programs[process.argv[2] as string])
