// After tsc: makes the program executable, which `npx cream` in a clone needs, and writes
// dist/index.cjs and dist/index.d.cts for `require('cream-lm')`. Both refer to the ES modules, so
// there is one copy of the code and of each type.
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { root } from './steps.mjs';

const entry = join(root, 'dist/index.d.ts');
const program = ts.createProgram([entry], {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  skipLibCheck: true,
  types: ['node'],
});
const checker = program.getTypeChecker();
const exported = checker
  .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)))
  .map((symbol) => {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    return { name: symbol.name, flags: target.flags };
  });

const FROM = `'./index.js', { with: { 'resolution-mode': 'import' } }`;
// A class can be exported as a type alone, so the flags do not say whether a name has a value.
const names = Object.keys(await import(pathToFileURL(join(root, 'dist/index.js'))));
const values = exported.filter(({ name }) => names.includes(name));
const types = exported.filter(({ name }) => !names.includes(name));
const lines = [
  '// Made by scripts/commonjs.mjs.',
  `import type * as esm from './index.js' with { 'resolution-mode': 'import' };`,
  ...values.map(({ name }) => `export declare const ${name}: typeof import(${FROM}).${name};`),
  ...values
    .filter(({ flags }) => flags & ts.SymbolFlags.Class)
    .map(({ name }) => `export type ${name} = esm.${name};`),
  `export type { ${types.map(({ name }) => name).join(', ')} }`,
  `  from './index.js' with { 'resolution-mode': 'import' };`,
];
writeFileSync(join(root, 'dist/index.d.cts'), `${lines.join('\n')}\n`);
writeFileSync(
  join(root, 'dist/index.cjs'),
  "'use strict';\nmodule.exports = require('./index.js');\n",
);
chmodSync(join(root, 'dist/cli/main.js'), 0o755);
