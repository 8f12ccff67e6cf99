// `npm run test:cuda [cases…]`: the tests that need an NVIDIA GPU. Builds for CUDA (build-cuda/),
// then runs
//   cream_check --device cuda   all native cases, on the GPU instead of the emulated device
//   jest test/cuda              loading, sampling, scoring, training and whole runs with
//                               `device: cuda`, compared with the CPU
// The exit code is 2 if there is no GPU, 1 if a test fails.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildTypeScript } from './build.mjs';
import { ADDON, buildForCuda, FOLDER } from './cuda-build.mjs';
import { requireGpu, requireUsable } from './gpu.mjs';
import { root, runMain, say } from './steps.mjs';

await runMain(() => {
  requireGpu('npm run test:cuda');
  buildForCuda();
  buildTypeScript();
  const info = createRequire(import.meta.url)(ADDON).engineInfo();
  requireUsable('npm run test:cuda', info);
  for (const gpu of info.cuda.gpus)
    say(`cuda:${gpu.index} ${gpu.name}, compute capability ${gpu.computeCapability}`);

  const run = (program, args, env = {}) =>
    spawnSync(program, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } })
      .status ?? 1;
  const native = run(join(root, FOLDER, 'Release/cream_check'), [
    '--device',
    'cuda',
    ...process.argv.slice(2),
  ]);
  const jest =
    process.argv.length > 2
      ? 0
      : run(
          process.execPath,
          [
            '--experimental-vm-modules',
            '--no-warnings=ExperimentalWarning',
            join(root, 'node_modules/jest/bin/jest.js'),
            'test/cuda',
            'test/engine/device',
          ],
          { CREAM_ADDON: ADDON },
        );
  process.exitCode = native === 0 && jest === 0 ? 0 : 1;
});
