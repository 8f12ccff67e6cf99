/** libtorch's wheel is verified by its digest, and damage to the unpacked libraries is seen. */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeEach, expect, it } from '@jest/globals';
import { loadLibtorch } from '../../src/engine/libtorch.js';
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

it('a library that is cut off, or is none, is named before it is loaded', () => {
  const folder = join(root, 'cut');
  mkdirSync(join(folder, 'lib'), { recursive: true });
  writeFileSync(join(folder, 'version.py'), "__version__ = '2.13.0'\n");
  const load = () => loadLibtorch({ torch: '2.13.0', cuda: false }, { LIBTORCH: folder });
  const header = Buffer.alloc(64);
  header.write('\x7fELF', 'latin1');
  header.writeBigUInt64LE(1000n, 40); // where the table of sections is
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(2, 60);
  const file = join(folder, 'lib/libtorch_cpu.so');
  writeFileSync(file, Buffer.concat([header, Buffer.alloc(1000)]));
  expect(load).toThrow(`${file} is damaged (it is cut off): remove ${folder} and run \`npx cream`);
  for (const text of ['', 'version https://git-lfs']) {
    writeFileSync(file, text);
    expect(load).toThrow('it is no library');
  }
});
