/** The declarations for CommonJS name as values what `require('cream-lm')` returns. */
import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect, it } from '@jest/globals';
import ts from 'typescript';

const dist = resolve(import.meta.dirname, '../../dist');

/** Names that the module has at run time. */
const loaded = (code: string): string[] =>
  JSON.parse(
    execFileSync(
      process.execPath,
      ['-e', `${code}.then((all) => console.log(JSON.stringify(all)))`],
      {
        cwd: dist,
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: '--no-warnings' },
      },
    ),
  ) as string[];

/** Names that the declarations say have a value. */
function declared(file: string): string[] {
  const options = { module: ts.ModuleKind.NodeNext, skipLibCheck: true, types: ['node'] };
  const program = ts.createProgram([join(dist, file)], options);
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(program.getSourceFile(join(dist, file))!)!;
  return checker
    .getExportsOfModule(module)
    .filter(({ flags }) => flags & ts.SymbolFlags.Value)
    .map(({ name }) => name);
}

it('index.d.cts has the values of index.cjs and index.js', () => {
  const values = declared('index.d.cts').sort();
  const required = loaded(`Promise.resolve(Object.keys(require('./index.cjs')))`);
  expect(values).toContain('loadModel');
  expect(values).toEqual(required.filter((name) => name !== '__esModule').sort());
  expect(values).toEqual(loaded(`import('./index.js').then(Object.keys)`).sort());
});
