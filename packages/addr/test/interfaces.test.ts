import * as interfaces from '@linux-sockets/native-core/interfaces'
import { expect, it } from 'vitest'
import * as addr from '../src/index.js'

it('has all of native-core’s interfaces but the walk over netlink', () => {
  const { netlinkAttributes, netlinkDump, ...ours } = interfaces
  expect(addr).toMatchObject(ours)
})
