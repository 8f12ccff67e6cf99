// `npm run bench:cuda [work] [flags of cream bench]`: `cream bench --device cuda --peers` with the
// CUDA build (docs/cuda.md). An explicit --device is kept; with --device cpu the same paths run
// without a GPU.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { buildTypeScript } from './build.mjs';
import { ADDON, buildForCuda } from './cuda-build.mjs';
import { requireGpu, requireUsable } from './gpu.mjs';
import { root, runMain } from './steps.mjs';

await runMain(() => {
  const given = process.argv.slice(2);
  const chosen = given[given.indexOf('--device') + 1];
  const device = given.includes('--device') ? chosen : 'cuda';
  if (device !== 'cpu') requireGpu('npm run bench:cuda');
  if (device !== 'cpu') buildForCuda();
  buildTypeScript();
  if (device !== 'cpu')
    requireUsable('npm run bench:cuda', createRequire(import.meta.url)(ADDON).engineInfo());
  const flags = given.includes('--device') ? given : [...given, '--device', device];
  const bench = spawnSync(
    process.execPath,
    [
      join(root, 'dist/cli/main.js'),
      'bench',
      ...flags,
      ...(given.includes('--quick') ? [] : ['--peers']),
    ],
    {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, ...(device !== 'cpu' && { CREAM_ADDON: ADDON }) },
    },
  );
  process.exitCode = bench.status ?? 1;
});
