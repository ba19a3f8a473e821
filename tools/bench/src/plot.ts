import type { Line, Report } from './report.js'

/** Who is drawn, in this order; the colours are told apart on white and on black, and by those who see few. */
const drawn: readonly (readonly [contender: string, label: string, colour: string])[] = [
  ['reactor', 'reactor', '#0072b2'],
  ['streams', 'Duplex', '#56b4e9'],
  ['net', 'node:net', '#d55e00'],
  ['bun', 'Bun', '#cc79a7'],
  ['deno', 'Deno', '#009e73'],
  ['ours', 'ours', '#0072b2'],
  ['node', 'Node.js', '#d55e00'],
]

const LEFT = 240
const WIDTH = 860
const RIGHT = 60
const LANE = 13
const TOP = 64

/**
 * The CPU time of each server over that of C, as an SVG picture that can be read on light and on dark pages: a bar to the
 * median, and a line over the middle half of the rounds.
 */
export function plot(reports: readonly Report[]): string {
  const groups = reports
    .map(({ title, lines }) => ({ title, bars: drawn.flatMap(([name, , colour]) => barsOf(lines, name, colour)) }))
    .filter(({ bars }) => bars.length > 0)
  const most = Math.max(1, ...groups.flatMap(({ bars }) => bars.map(({ line }) => line.overC.high)))
  const scale = (WIDTH - LEFT - RIGHT) / most
  const x = (value: number) => (LEFT + value * scale).toFixed(1)
  let y = TOP
  const shapes = groups.map(({ title, bars }) => {
    const middle = y + (bars.length * LANE) / 2 + 4
    const shown = bars.map(({ colour, line: { overC } }) => {
      const at = y
      y += LANE
      return [
        `<rect x="${LEFT}" y="${at + 2}" width="${(overC.median * scale).toFixed(1)}" height="${LANE - 3}" fill="${colour}"/>`,
        `<path d="M${x(overC.low)} ${at + LANE / 2}H${x(overC.high)}" class="spread"/>`,
        `<text x="${Number(x(Math.max(overC.high, overC.median))) + 5}" y="${at + LANE - 3}" class="value">${overC.median.toFixed(2)}</text>`,
      ].join('')
    })
    y += LANE
    return `<text x="${LEFT - 10}" y="${middle}" text-anchor="end">${escaped(title)}</text>${shown.join('')}`
  })
  const ends = y - LANE / 2
  const shown = drawn.filter(([name]) => groups.some(({ bars }) => bars.some(({ line }) => line.contender === name)))
  const legend = shown.map(([, label, colour], i) => {
    const at = LEFT + i * 80
    return `<rect x="${at}" y="32" width="11" height="11" fill="${colour}"/><text x="${at + 16}" y="42">${escaped(label)}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${ends + 24}" font-family="system-ui, sans-serif" font-size="12">
<style>
text { fill: #1f2328 } .value { font-size: 10px } .one { stroke: #1f2328; stroke-dasharray: 3 3 } .spread { stroke: #1f2328; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .one, .spread { stroke: #e6edf3 } }
</style>
<text x="${LEFT}" y="20" font-weight="600">CPU time, C = 1; less is better</text>
${legend.join('\n')}
${shapes.join('\n')}
<path d="M${x(1)} ${TOP - 8}V${ends}" class="one"/><text x="${x(1)}" y="${ends + 16}" text-anchor="middle">1 = C</text>
</svg>
`
}

type Measured = Line & { readonly overC: NonNullable<Line['overC']> }

function barsOf(lines: readonly Line[], name: string, colour: string): { colour: string; line: Measured }[] {
  const line = lines.find(({ contender }) => contender === name)
  return line?.overC === undefined ? [] : [{ colour, line: line as Measured }]
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
