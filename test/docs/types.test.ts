/** The TypeScript of README and docs compiles in a strict project that has the package. */
import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from '@jest/globals';
import ts from 'typescript';
import { temporaryFolder } from '../support/folders.js';

const root = resolve(import.meta.dirname, '../..');

/** `page:line` and text of every TypeScript block. */
const blocks = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)]
  .filter((name) => name.endsWith('.md'))
  .flatMap((page) => {
    const source = readFileSync(join(root, page), 'utf8');
    return [...source.matchAll(/^```ts.*\n([^]*?)^```$/gm)].map((match) => ({
      place: `${page}:${source.slice(0, match.index).split('\n').length}`,
      text: match[1]!,
    }));
  });

it('every TypeScript block compiles under strict', () => {
  const folder = temporaryFolder('cream-types-');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/cream-lm'));
  symlinkSync(join(root, 'node_modules/@types'), join(folder, 'node_modules/@types'));
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}\n');
  const places = new Map(
    blocks.map(({ place, text }, i) => {
      const file = join(folder, `block-${i}.ts`);
      writeFileSync(file, text);
      return [file, place];
    }),
  );
  expect(places.size).toBeGreaterThan(3);
  const program = ts.createProgram([...places.keys()], {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    types: ['node'],
    typeRoots: [join(folder, 'node_modules/@types')],
  });
  const found = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    const place = file && (places.get(file.fileName) ?? file.fileName);
    return `${place}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
  expect(found).toEqual([]);
}, 120_000);
