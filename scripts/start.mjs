// `npm start`: sets up, then runs the quickstart recipe. Arguments go to `cream run`:
// npm start -- recipes/cream.yaml --out runs/mine --set iterations=3
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { root, runMain } from './steps.mjs';

await runMain(async () => {
  await setUp();
  const given = process.argv.slice(2);
  const args =
    given.length > 0 && !given[0].startsWith('-')
      ? given
      : [join(root, 'recipes/quickstart.yaml'), '--out', join(root, 'runs/quickstart'), ...given];
  const child = spawn(process.execPath, [join(root, 'dist/cli/main.js'), 'run', ...args], {
    stdio: 'inherit',
  });
  // Ctrl-C reaches the child through the terminal; we only wait for it to stop.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)));
});
