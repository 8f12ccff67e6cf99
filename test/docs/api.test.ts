/**
 * Every name that the package exports has a docstring, and so has every member of its types;
 * docs/node.md names the values and the codes of errors.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';

const root = resolve(import.meta.dirname, '../..');

const parse = (file: string): ts.SourceFile =>
  ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);

/** The file of a `export … from './x.js'` in `from`. */
const fileOf = (statement: ts.ExportDeclaration, from: string): string =>
  join(dirname(from), (statement.moduleSpecifier as ts.StringLiteral).text.replace(/js$/, 'ts'));

/** Names that `file` exports from other files, as [file, name]; '*' for all. */
function reexports(file: string): [string, string][] {
  return parse(file)
    .statements.filter(ts.isExportDeclaration)
    .flatMap((statement) => {
      if (!statement.moduleSpecifier) return [];
      const { exportClause } = statement;
      const names =
        exportClause && ts.isNamedExports(exportClause)
          ? exportClause.elements.map((element) => (element.propertyName ?? element.name).text)
          : ['*'];
      return names.map((name): [string, string] => [fileOf(statement, file), name]);
    });
}

const isExported = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) &&
  (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);

const namesOf = (node: ts.Statement): string[] =>
  ts.isVariableStatement(node)
    ? node.declarationList.declarations.map(({ name }) => name.getText())
    : [(node as ts.DeclarationStatement).name?.getText() ?? ''];

const hasDoc = (node: ts.Node): boolean => ts.getJSDocCommentsAndTags(node).length > 0;

/** Members that need no sentence of their own. */
const PLAIN = new Set(['name', 'code', '[Symbol.asyncDispose]', '[Symbol.asyncIterator]']);

const isPublic = (member: ts.ClassElement | ts.TypeElement): boolean =>
  member.name !== undefined &&
  !ts.isPrivateIdentifier(member.name) &&
  !PLAIN.has(member.name.getText()) &&
  !(ts.canHaveModifiers(member) ? (ts.getModifiers(member) ?? []) : []).some(
    ({ kind }) => kind === ts.SyntaxKind.PrivateKeyword,
  );

/** Columns of artefacts, which the docstring of each record explains together. */
const RECORDS = 'src/data/records.ts';

/** `file: name` of what has no docstring among `name` of `file`, followed to its source. */
function missing([file, name]: [string, string]): string[] {
  const further = reexports(file).filter(([, other]) => other === name);
  if (further.length > 0) return further.flatMap(missing);
  return parse(file)
    .statements.filter((node) => isExported(node) && (name === '*' || namesOf(node).includes(name)))
    .flatMap((node) => {
      const own = namesOf(node).join(', ');
      const hasMembers = ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node);
      const members = hasMembers && !file.endsWith(RECORDS) ? [...node.members] : [];
      return [
        ...(hasDoc(node) ? [] : [own]),
        ...members
          .filter((member) => isPublic(member) && !hasDoc(member))
          .map((member) => `${own}.${member.name!.getText()}`),
      ];
    })
    .map((found) => `${file.slice(root.length + 1)}: ${found}`);
}

it('every exported name and its members have a docstring', () => {
  const exported = reexports(join(root, 'src/index.ts'));
  expect(exported.length).toBeGreaterThan(60);
  expect(exported.flatMap(missing)).toEqual([]);
});

describe('docs/node.md', () => {
  const page = readFileSync(join(root, 'docs/node.md'), 'utf8');
  const named = new Set([...page.matchAll(/`(\w+)`/g)].map(([, name]) => name!));

  it('names every value that the package exports', () => {
    const values = parse(join(root, 'src/index.ts'))
      .statements.filter(ts.isExportDeclaration)
      .filter(({ isTypeOnly }) => !isTypeOnly)
      .flatMap(({ exportClause }) =>
        exportClause && ts.isNamedExports(exportClause) ? [...exportClause.elements] : [],
      )
      .filter(({ isTypeOnly }) => !isTypeOnly)
      .map(({ name }) => name.text);
    expect(values.length).toBeGreaterThan(20);
    expect(values.filter((name) => !named.has(name))).toEqual([]);
  });

  it.each([
    'src/engine/errors.ts',
    'src/files/errors.ts',
    'src/text/errors.ts',
    'src/run/errors.ts',
    'src/data/jsonl.ts',
  ])('has the codes of %s', (file) => {
    const codes = [...readFileSync(join(root, file), 'utf8').matchAll(/^ .*?'(ERR_[A-Z_]+)'/gm)];
    expect(codes.length).toBeGreaterThan(0);
    expect(codes.map(([, code]) => code!).filter((code) => !named.has(code))).toEqual([]);
  });
});
