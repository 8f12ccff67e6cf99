// npm run faults [runs] [share]: the long campaign of test/fault. It kills `runs` tiny runs
// (default: 100) again and again until each is finished, and damages every file of runs that were
// stopped in every stage. It takes about an hour; run it with a low priority.
import { spawnSync } from 'node:child_process';

const [runs = '100', share = '1'] = process.argv.slice(2);
const { status } = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    'node_modules/jest/bin/jest.js',
    'test/fault',
    '--testTimeout=86400000',
  ],
  { stdio: 'inherit', env: { ...process.env, CREAM_FAULTS: runs, CREAM_FAULTS_SHARE: share } },
);
process.exitCode = status ?? 1;
