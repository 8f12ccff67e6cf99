/**
 * Runs the commands and programs of README and docs as printed: all blocks of a page in one folder
 * in which cream-lm is installed. A block marked `requires=…` needs time, a GPU or a network, and
 * is only listed.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const root = resolve(import.meta.dirname, '../..');

interface Block {
  language: string;
  requires: string | undefined;
  text: string;
  line: number;
}

/** The blocks of a page in an executable language. */
function blocksOf(page: string): Block[] {
  const source = readFileSync(join(root, page), 'utf8');
  return [...source.matchAll(/^```(sh|ts)(?: requires=(\S+))?\n([^]*?)^```$/gm)].map((match) => ({
    language: match[1]!,
    requires: match[2],
    text: match[3]!,
    line: source.slice(0, match.index).split('\n').length,
  }));
}

/** A project with the package, a file of prompts and a model, as the pages assume. */
function project(): string {
  const folder = temporaryFolder('cream-docs-');
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '.bin'), { recursive: true });
  symlinkSync(root, join(modules, 'cream-lm'));
  // npm links the program and makes it executable.
  const main = join(root, 'dist/cli/main.js');
  const link = `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`;
  writeFileSync(join(modules, '.bin/cream'), link, { mode: 0o755 });
  writeFileSync(join(folder, 'package.json'), '{"private": true}\n');
  const rows = Array.from({ length: 24 }, (_, i) =>
    JSON.stringify({ prompt: `What is ${i} + 1?` }),
  );
  writeFileSync(join(folder, 'prompts.jsonl'), rows.join('\n'));
  const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
  mkdirSync(join(folder, 'path/to/base'), { recursive: true });
  for (const name of readdirSync(model))
    copyFileSync(join(model, name), join(folder, 'path/to/base', name));
  return folder;
}

function run(block: Block, folder: string): { status: number | null; output: string } {
  const [command, args] =
    block.language === 'sh'
      ? ['bash', ['-ec', block.text]]
      : [process.execPath, ['--input-type=module', '-e', block.text]];
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      OMP_WAIT_POLICY: 'passive',
      PATH: `${join(folder, 'node_modules/.bin')}:${process.env['PATH']}`,
    },
  });
  return { status, output: stdout + stderr };
}

const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)]
  .filter((name) => name.endsWith('.md'))
  .map((page) => ({ page, blocks: blocksOf(page) }))
  .filter(({ blocks }) => blocks.length > 0);

const left = pages.flatMap(({ page, blocks }) =>
  blocks
    .filter(({ requires }) => requires !== undefined)
    .map(({ line, requires }) => `${page}:${line} needs ${requires}`),
);

describe('the commands of README and docs', () => {
  it('state a reason if they are not run here', () => {
    console.info(left.join('\n'));
    expect(left.every((line) => / needs (time|gpu|registry|docker|hub|data)$/.test(line))).toBe(
      true,
    );
  });

  it.each(pages)(
    '$page',
    ({ blocks }) => {
      const folder = project();
      for (const block of blocks.filter(({ requires }) => requires === undefined)) {
        const { status, output } = run(block, folder);
        if (status !== 0) throw new Error(`line ${block.line} ended with ${status}: ${output}`);
      }
    },
    900_000,
  );
});
