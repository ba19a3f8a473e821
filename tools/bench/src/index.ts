/** `npm run bench`: every benchmark, one after the other. */
import { benchBoundary } from './boundary.js'

await benchBoundary()
