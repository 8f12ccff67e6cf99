/** docs/architecture.md states sizes and rules that the code changes: they are compared with it. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const root = resolve(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** Cells of the table under a heading, without its head. */
const table = (heading: string): string[][] =>
  read('docs/architecture.md')
    .split(`\n## ${heading}\n`)[1]!
    .split('\n## ')[0]!
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(2)
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );

/** Lines of the functions and methods in `names`, from the signature to the closing brace. */
function linesOf(source: string, names: readonly string[]): number {
  const lines = source.trimEnd().split('\n');
  if (names.length === 0) return lines.length;
  return names
    .map((name) => {
      const signature = new RegExp(
        `^\\S.*[ :*]${name}(<.*>)?\\((?!.*;$)|^  (private )?(async )?${name}\\(.*\\{$`,
      );
      const first = lines.findIndex((line) => signature.test(line));
      if (first === -1) throw new Error(`there is no function ${name}`);
      const end = `${/^ */.exec(lines[first]!)![0]}}`;
      return lines.findIndex((line, i) => i >= first && line === end) - first + 1;
    })
    .reduce((sum, count) => sum + count, 0);
}

describe('the path of one prompt and one pair', () => {
  const rows = table('Follow one prompt and one pair').map(([link, lines, what]) => ({
    file: /`(.+)`/.exec(link!)![1]!,
    lines: Number(lines),
    names: [...what!.matchAll(/`(\w+)\(\)`/g)].map(([, name]) => name!),
  }));

  it.each(rows)('takes the stated lines of $file', ({ file, lines, names }) => {
    expect(Math.abs(linesOf(read(file), names) - lines)).toBeLessThanOrEqual(10);
  });

  it('is read in less than 1,000 lines', () => {
    const counts = rows.map(({ file, names }) => linesOf(read(file), names));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBeLessThan(1000);
  });
});

it('the table of modules gives the rules of scripts/layers.json', () => {
  const { src, native } = JSON.parse(read('scripts/layers.json')) as Record<
    'src' | 'native',
    Record<string, string[]>
  >;
  const rules = Object.entries({ src, native }).flatMap(([top, modules]) =>
    Object.entries(modules).map(([name, uses]) => [`${top}/${name}`, [...uses].sort()]),
  );
  const stated = table('Modules').map(([module, , uses]) => [
    module!.replaceAll('`', ''),
    uses === 'nothing' ? [] : uses!.replaceAll('`', '').split(', ').sort(),
  ]);
  expect(Object.fromEntries(stated)).toEqual(Object.fromEntries(rules));
});
