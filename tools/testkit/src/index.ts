/**
 * Helpers that the tests of all packages share. The package is private: no published package has it in its `dependencies`,
 * and it imports none of them, because native-core's own tests use it.
 */
export { testShortAnswers } from './answer.js'
export { type Certificate, temporaryCertificate } from './certificate.js'
export {
  collectGarbage,
  expectCloexec,
  expectNonBlocking,
  guardDescriptors,
  type OpenDescriptor,
  openDescriptors,
} from './descriptor.js'
export { temporaryDirectory } from './directory.js'
export {
  type DocumentedProgram,
  documentedPrograms,
  programsOf,
  runDocumented,
  testDocumented,
} from './documentation.js'
export { expectErrno, type SystemErrorLike } from './errno.js'
export { withFault } from './fault.js'
export { expectHeaderNumbers, type HeaderNumber, headerMacros, needCompiler, numbersOf } from './headers.js'
export {
  connectNamespaces,
  createHosts,
  createNamespace,
  type Namespace,
  type NamespaceOptions,
  needNamespaces,
} from './namespace.js'
export { haveProgram, type Need, needFile, needNode, needProgram, needRoot, needUdpLite, skipUnless } from './need.js'
export { type Finished, type Program, runProgram, runPython, spawnProgram, waitForLine } from './program.js'
export {
  beginning,
  optionRefusals,
  type Refusal,
  refusalsOf,
  testRefusals,
  unknownName,
} from './refusal.js'
export {
  type Effect,
  type Expectation,
  type Kind,
  needCapability,
  needLinux,
  type RowAccess,
  type RowTable,
  type RowTester,
  rowsOf,
  rowTester,
  type Sample,
} from './row.js'
export { inSteadyTime } from './steady.js'
export { expectRest, SAYS_ALIVE, testWatch, turns, until, type WatchMeans, type WatchUnderTest } from './watch.js'
