// Preloaded into a run (pause.ts): the process stops itself, as by SIGSTOP, once it has written a
// matching line to its event log.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const line = new RegExp(process.env.CREAM_TEST_PAUSE);
const append = fs.appendFileSync;
let paused = false;
fs.appendFileSync = (path, data, ...rest) => {
  append(path, data, ...rest);
  if (paused || !String(path).endsWith('events.jsonl') || !line.test(String(data))) return;
  paused = true;
  process.kill(process.pid, 'SIGSTOP');
};
syncBuiltinESMExports();
