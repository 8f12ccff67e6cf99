// `npm test`: set up, then types, layers, sizes and every test. Arguments go to jest: npm test -- test/preference
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { root, runMain, runStep, say } from './steps.mjs';

await runMain(async () => {
  await setUp({ check: true });
  say('checking types and layers');
  runStep(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.test.json']);
  runStep(process.execPath, [join(root, 'scripts/layers.mjs')]);

  const work = mkdtempSync(join(tmpdir(), 'cream-test-'));
  const report = join(work, 'jest.json');
  const jest = spawnSync(process.execPath, ['--experimental-vm-modules', '--no-warnings=ExperimentalWarning', join(root, 'node_modules/jest/bin/jest.js'),
    '--json', `--outputFile=${report}`, ...process.argv.slice(2)], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'],
    env: { OMP_WAIT_POLICY: 'passive', ...process.env } });  // waiting threads that spin take minutes where others work too; no number depends on it
  let counts;
  try {
    counts = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    counts = null;  // jest did not get as far as a report
  }
  rmSync(work, { recursive: true, force: true });
  if (counts) console.log(`${counts.numPassedTests} passed, ${counts.numFailedTests + counts.numRuntimeErrorTestSuites} failed, ${counts.numPendingTests} skipped`);
  process.exitCode = jest.status ?? 1;
});
