/**
 * The C++ tests: every case of build/Release/cream_check is a jest test, and the cases of a module
 * run in one process.
 */
import { describe, expect, it } from '@jest/globals';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const program = join(root, 'build/Release/cream_check');

if (!existsSync(program))
  throw new Error('build/Release/cream_check is missing: run `node scripts/build.mjs --check`.');

const names = execFileSync(program, ['--list'], { encoding: 'utf8' }).trim().split('\n');
const modules = new Map<string, string[]>();
for (const name of names) {
  const module = name.split(':')[0]!;
  modules.set(module, [...(modules.get(module) ?? []), name]);
}

/**
 * Runs a module's cases once; each test then looks up its own line. A crash fails the cases that
 * had not reported yet.
 */
function runModule(cases: string[]): Promise<Map<string, string>> {
  return new Promise((resolve) => {
    execFile(
      program,
      cases,
      { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        const lines = stdout.split('\n');
        resolve(
          new Map(
            cases.map((name) => [
              name,
              lines.find(
                (line) =>
                  line === `ok ${name}` ||
                  line.startsWith(`skip ${name}:`) ||
                  line.startsWith(`FAIL ${name}:`),
              ) ??
                `FAIL ${name}: no result; the program ended with ` +
                  `${error?.signal ?? error?.code ?? 0} ${stderr.slice(-500)}`,
            ]),
          ),
        );
      },
    );
  });
}

for (const [module, cases] of modules) {
  describe(`native ${module}`, () => {
    let outcome: Promise<Map<string, string>> | undefined;
    it.each(cases)('%s', async (name) => {
      outcome ??= runModule(cases);
      const line = (await outcome).get(name)!;
      if (line.startsWith('skip ')) console.warn(line);
      expect(line.startsWith('FAIL ') ? line : 'ok').toBe('ok');
    });
  });
}
