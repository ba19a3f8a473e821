// Runs before a package is packed, and refuses any packer but pnpm. pnpm replaces `workspace:^` with the versions of the
// siblings and adds the repository's LICENSE; npm does neither. `changeset publish` calls pnpm if it finds pnpm's lockfile.
import { fail } from './run.mjs'

if (!process.env.npm_config_user_agent?.startsWith('pnpm/')) {
  fail('A tarball that others can install is made by pnpm pack, from the root: npx pnpm --filter <package> pack')
}
