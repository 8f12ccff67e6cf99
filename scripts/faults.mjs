// npm run faults [runs]: the long campaign of test/fault. It kills `runs` tiny runs (default:
// 100) again and again until each is finished, and damages every file of runs that were stopped in
// every stage. It takes about an hour; run it with a low priority.
import { spawnSync } from 'node:child_process';

const runs = process.argv[2] ?? '100';
const { status } = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    'node_modules/jest/bin/jest.js',
    'test/fault',
    '--testTimeout=86400000',
  ],
  { stdio: 'inherit', env: { ...process.env, CREAM_FAULTS: runs } },
);
process.exitCode = status ?? 1;
