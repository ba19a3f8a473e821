import type { Line, Report } from './report.js'
import type { Spread } from './statistics.js'

/** The contenders to draw, in order. The colours can be told apart on white and on black, and by colour-blind readers. */
const drawn: readonly Drawn[] = [
  { contenders: ['reactor', 'ours'], label: 'linux-sockets', colour: '#0072b2' },
  { contenders: ['streams'], label: 'linux-sockets as Duplex', colour: '#56b4e9' },
  { contenders: ['net', 'node'], label: 'Node.js', colour: '#d55e00' },
  { contenders: ['bun'], label: 'Bun', colour: '#cc79a7' },
  { contenders: ['deno'], label: 'Deno', colour: '#009e73' },
]

interface Drawn {
  readonly contenders: readonly string[]
  readonly label: string
  readonly colour: string
}

const LEFT = 220
const WIDTH = 860
const RIGHT = 56
const LANE = 13
const TOP = 76

/**
 * Draws the CPU time of each server divided by that of C, as an SVG picture for light and dark pages. A bar shows the median,
 * and a line the interquartile range of the rounds.
 */
export function plot(reports: readonly Report[]): string {
  const groups = reports
    .map(({ title, lines }) => ({ title, bars: drawn.flatMap((one) => barsOf(lines, one)) }))
    .filter(({ bars }) => bars.length > 0)
  const most = Math.max(1, ...groups.flatMap(({ bars }) => bars.map(({ overC }) => overC.high)))
  const scale = (WIDTH - LEFT - RIGHT) / most
  const x = (value: number) => (LEFT + value * scale).toFixed(1)
  let y = TOP
  const shapes = groups.map(({ title, bars }) => {
    const label = labelOf(title, y + (bars.length * LANE) / 2)
    const shown = bars.map(({ colour, overC }) => {
      const at = y
      y += LANE
      return [
        `<rect x="${LEFT}" y="${at + 1}" width="${(overC.median * scale).toFixed(1)}" height="${LANE - 2}" fill="${colour}"/>`,
        `<path d="M${x(overC.low)} ${at + LANE / 2}H${x(overC.high)}" class="spread"/>`,
        `<text x="${Number(x(overC.high)) + 5}" y="${at + LANE - 3}" class="value">${overC.median.toFixed(2)}</text>`,
      ].join('')
    })
    y += LANE
    return `${label}${shown.join('')}`
  })
  const ends = y - LANE / 2
  let at = LEFT
  const legend = drawn
    .filter((one) => groups.some(({ bars }) => bars.some(({ colour }) => colour === one.colour)))
    .map(({ label, colour }) => {
      const entry = `<rect x="${at}" y="40" width="11" height="11" fill="${colour}"/><text x="${at + 16}" y="50">${label}</text>`
      at += 36 + label.length * 7
      return entry
    })
  const height = ends + 28
  // A page may be dark although the reader's system is light, so the picture has a background of its own.
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="${TITLE}">
<style>
text { fill: #1f2328 } .page { fill: #ffffff } .value, .detail { font-size: 10px } .one, .spread { stroke: #1f2328 } .one { stroke-dasharray: 3 3 } .spread { stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .page { fill: #0d1117 } .one, .spread { stroke: #e6edf3 } }
</style>
<rect class="page" width="${WIDTH}" height="${height}" rx="6"/>
<text x="${LEFT}" y="26" font-weight="600">${TITLE}</text>
${legend.join('\n')}
${shapes.join('\n')}
<path d="M${x(1)} ${TOP - 8}V${ends}" class="one"/><text x="${x(1)}" y="${ends + 16}" text-anchor="middle">1 = C</text>
</svg>
`
}

const TITLE = 'CPU time for the same work, C with epoll = 1; less is better'

/** Draws the title of a case, with its last part, the amount, on a second line. */
function labelOf(title: string, middle: number): string {
  const [, what = title, detail] = /^(.*)[,;] ([^,;]*)$/.exec(title) ?? []
  const line = (text: string, y: number, kind = '') =>
    `<text x="${LEFT - 10}" y="${y}" text-anchor="end"${kind}>${escaped(text)}</text>`
  if (detail === undefined) return line(what, middle + 4)
  return line(what, middle - 2) + line(detail, middle + 11, ' class="detail"')
}

interface Bar {
  readonly colour: string
  readonly overC: Spread
}

function barsOf(lines: readonly Line[], { contenders, colour }: Drawn): Bar[] {
  const overC = lines.find(({ contender }) => contenders.includes(contender))?.over?.c?.cpu
  return overC === undefined ? [] : [{ colour, overC }]
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
