// `npm test`: sets up, then runs lint, type checks and all tests. Arguments go to jest, and lint is
// then left out: npm test -- test/preference
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lint, TYPE_CHECK } from './lint.mjs';
import { setUp } from './setup.mjs';
import { root, runMain, runStep, say, SetupError } from './steps.mjs';

await runMain(async () => {
  await setUp({ check: true });
  const jestArguments = process.argv.slice(2);
  if (jestArguments.length === 0) {
    say('checking layout, types, lint rules and layers');
    if (!(await lint()))
      throw new SetupError('Lint failed: `npm run format` mends what a machine can.');
  } else {
    say('checking types');
    runStep(process.execPath, TYPE_CHECK);
  }

  const work = mkdtempSync(join(tmpdir(), 'cream-test-'));
  const report = join(work, 'jest.json');
  const jest = spawnSync(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--no-warnings=ExperimentalWarning',
      join(root, 'node_modules/jest/bin/jest.js'),
      '--json',
      `--outputFile=${report}`,
      ...jestArguments,
    ],
    {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
      // Spinning threads would take minutes on a busy machine; no result depends on this setting.
      env: { OMP_WAIT_POLICY: 'passive', ...process.env },
    },
  );
  let counts;
  try {
    counts = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    counts = null; // jest ended before its report
  }
  rmSync(work, { recursive: true, force: true });
  if (counts)
    console.log(
      `${counts.numPassedTests} passed, ` +
        `${counts.numFailedTests + counts.numRuntimeErrorTestSuites} failed, ` +
        `${counts.numPendingTests} skipped`,
    );
  process.exitCode = jest.status ?? 1;
});
