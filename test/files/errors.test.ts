/** Errors of the system, and texts of files in messages, as a terminal gets them. */
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { explainSystemError } from '../../src/files/errors.js';
import { withoutControls } from '../../src/files/secrets.js';
import { temporaryFolder } from '../support/folders.js';

const thrown = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

it('an error of the system is one sentence with its path; others stay as they are', () => {
  const folder = temporaryFolder();
  const [file, loop] = [join(folder, 'file'), join(folder, 'loop')];
  writeFileSync(file, '');
  symlinkSync(loop, loop);
  const told = (work: () => unknown) => explainSystemError(thrown(work));
  expect(told(() => readdirSync(file))).toMatchObject({
    code: 'ENOTDIR',
    message: `Cannot use ${file}: a part of its path is no folder.`,
  });
  expect(told(() => readFileSync(loop))).toMatchObject({
    message: `Cannot use ${loop}: its links lead in a circle.`,
  });
  const other = new Error('own words');
  expect(explainSystemError(other)).toBe(other);
  expect(explainSystemError(null)).toBeNull();
});

it('characters that would steer a terminal are shown, lines are kept', () => {
  expect(withoutControls('a\x1b[2J\0\u009b é\n\tb')).toBe('a\\x1b[2J\\x00\\x9b é\n\tb');
});
