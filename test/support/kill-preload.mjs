// Preloaded into a run (kill.ts): the process kills itself before the CREAM_TEST_KILL_AT-th change
// of a file or folder whose path matches CREAM_TEST_KILL_PATH.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

let left = Number(process.env.CREAM_TEST_KILL_AT);
const path = new RegExp(process.env.CREAM_TEST_KILL_PATH);

const reads = (flags) => (flags ?? 'r') === 'r' || (typeof flags === 'number' && (flags & 3) === 0);

/** `change`, whose `target`-th argument is the path that it changes. */
const counted = (change, target) =>
  function (...args) {
    if (change.name === 'open' && reads(args[1])) return change.apply(this, args);
    if (path.test(String(args[target]))) left -= 1;
    if (left === 0) process.kill(process.pid, 'SIGKILL');
    return change.apply(this, args);
  };

for (const name of ['appendFile', 'mkdir', 'open', 'rm', 'writeFile'])
  fs.promises[name] = counted(fs.promises[name], 0);
for (const name of ['copyFile', 'rename']) fs.promises[name] = counted(fs.promises[name], 1);
for (const name of ['mkdirSync', 'rmSync', 'writeFileSync']) fs[name] = counted(fs[name], 0);
for (const name of ['copyFileSync', 'renameSync']) fs[name] = counted(fs[name], 1);
syncBuiltinESMExports();
