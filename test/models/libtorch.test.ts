/** libtorch's wheel is verified by its digest, and damage to the unpacked libraries is seen. */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeEach, expect, it } from '@jest/globals';
import { temporaryFolder } from '../support/folders.js';

const { verifyWheel, noteLibraries, damagedLibrary } = (await import(
  pathToFileURL(resolve('scripts/libtorch.mjs')).href
)) as {
  verifyWheel: (path: string, sha256: string) => void;
  noteLibraries: (root: string) => void;
  damagedLibrary: (root: string) => string | null;
};

const root = temporaryFolder('cream-libtorch-');
const library = join(root, 'lib/libc10.so');
beforeEach(() => {
  mkdirSync(join(root, 'lib/folder'), { recursive: true });
  writeFileSync(library, 'machine code');
  noteLibraries(root);
});

it('a wheel with another digest is refused', () => {
  const wheel = join(root, 'torch.whl');
  writeFileSync(wheel, 'wheel');
  const digest = createHash('sha256').update('wheel').digest('hex');
  verifyWheel(wheel, digest);
  expect(() => verifyWheel(wheel, '0'.repeat(64))).toThrow(
    `torch.whl has SHA-256 ${digest}, expected ${'0'.repeat(64)}: the download is damaged`,
  );
});

it('libraries that changed are named, one that was only touched is not', () => {
  expect(damagedLibrary(root)).toBeNull();
  utimesSync(library, 1, 1);
  expect(damagedLibrary(root)).toBeNull();
  writeFileSync(library, 'machine cod3');
  utimesSync(library, 2, 2);
  expect(damagedLibrary(root)).toBe('lib/libc10.so');
  writeFileSync(library, 'cut');
  expect(damagedLibrary(root)).toBe('lib/libc10.so');
  rmSync(library);
  expect(damagedLibrary(root)).toBe('lib/libc10.so');
});

it('a cache without a note, from before notes were written, is believed', () => {
  rmSync(join(root, 'verified.json'));
  expect(damagedLibrary(root)).toBeNull();
});
