import { runPython } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { plot } from '../src/plot.js'
import type { Spread } from '../src/statistics.js'

it('draws a bar for each contender that was measured, as well-formed XML', async () => {
  const value = { median: 1.25, low: 1.2, high: 1.5 }
  const over = (cpu: Spread) => ({ c: { cpu, throughput: cpu } })
  const lines = [
    { contender: 'c', over: over({ median: 1, low: 1, high: 1 }) },
    { contender: 'reactor', over: over(value) },
    { contender: 'net', failure: 'broken' },
    { contender: 'reactor@26', over: over(value) },
  ]
  const svg = plot([{ name: 'one', title: 'small & <many>, 50 connections', bulk: false, lines }])
  const script = `
import sys, xml.dom.minidom
picture = xml.dom.minidom.parseString(sys.argv[1])
rects = [r for r in picture.getElementsByTagName('rect') if r.getAttribute('fill')]
print(len(rects), [t.firstChild.data for t in picture.getElementsByTagName('text')])`
  const said = await runPython(script, svg)
  // The bar, and the square in the legend.
  expect(said).toMatch(/^2 /)
  expect(said).toContain("'small & <many>', '50 connections', '1.25'")
  expect(said).not.toContain('Node.js')
})
