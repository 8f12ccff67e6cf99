/**
 * The C++ tests: every case of build/Release/cream_check is a jest test of its own, all run in one
 * process a room.
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
const rooms = new Map<string, string[]>();
for (const name of names) {
  const room = name.split(':')[0]!;
  rooms.set(room, [...(rooms.get(room) ?? []), name]);
}

/**
 * Runs a room's cases once; each test then looks its own line up. A crash fails the cases that had
 * not reported.
 */
function runRoom(cases: string[]): Promise<Map<string, string>> {
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

for (const [room, cases] of rooms) {
  describe(`native ${room}`, () => {
    let outcome: Promise<Map<string, string>> | undefined;
    it.each(cases)(
      '%s',
      async (name) => {
        outcome ??= runRoom(cases);
        const line = (await outcome).get(name)!;
        if (line.startsWith('skip ')) console.warn(line);
        expect(line.startsWith('FAIL ') ? line : 'ok').toBe('ok');
      },
      300_000,
    );
  });
}
