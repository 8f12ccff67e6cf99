/** The libFuzzer targets build and find nothing in seconds; `npm run fuzz` runs them longer. */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, it } from '@jest/globals';

const root = resolve(import.meta.dirname, '../..');
const clang = spawnSync(process.env['CLANGXX'] ?? 'clang++', ['--version']).status === 0;
if (!clang) console.warn('skipped: the fuzz targets need clang');

(clang ? it : it.skip)(
  'config, adapter, GGUF and safetensors files of any content are read or refused',
  () => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['scripts/fuzz.mjs', '--seconds', '3'],
      { cwd: root, encoding: 'utf8' },
    );
    expect({ status, stderr: status === 0 ? '' : stderr, stdout }).toMatchObject({
      status: 0,
      stdout: '5 fuzz targets ran without a finding\n',
    });
  },
  900_000,
);
