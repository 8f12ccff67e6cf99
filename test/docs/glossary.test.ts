/** docs/glossary.md defines the words: those in its last column appear nowhere. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const root = resolve(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** Rows of the glossary's tables: the concept and the patterns that its last column bans. */
const banned = read('docs/glossary.md')
  .split('\n')
  .filter((line) => /^\| (?!word |-)/.test(line))
  .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()))
  .flatMap(([, word, , bans]) =>
    [...(bans ?? '').matchAll(/`([^`]+)`/g)].map(([, ban]) => ({ word: word!, ban: ban! })),
  );

const files = execFileSync(
  'git',
  ['ls-files', 'src', 'native', 'docs', 'recipes', 'examples', 'README.md', 'CONTRIBUTING.md'],
  { cwd: root, encoding: 'utf8' },
)
  .trim()
  .split('\n')
  .filter((file) => /\.(ts|h|cpp|cc|cu|md|yaml)$/.test(file) && file !== 'docs/glossary.md');

const pattern = (ban: string): RegExp =>
  ban.startsWith('/')
    ? new RegExp(ban.slice(1, -1).replaceAll('\\|', '|'), 'i')
    : new RegExp(`\\b${ban}\\b`, 'i');

/** Where a banned word has another, ordinary meaning. */
const EXCEPTIONS: Readonly<Record<string, RegExp>> = {
  piece: /^src\/text\/|^docs\/tokenizers\.md$/, // a SentencePiece or pre-tokenizer piece
  pieces: /^src\/text\/|^docs\/tokenizers\.md$/,
  '/\\brooms?\\b(?! for)/': /^src\/data\/builtin/, // of a house
};

/** `file:line: text` of each use, apart from lines that say an old name on purpose. */
function uses(ban: string): string[] {
  const matcher = pattern(ban);
  return files
    .filter((file) => !EXCEPTIONS[ban]?.test(file))
    .flatMap((file) =>
      read(file)
        .split('\n')
        .flatMap((line, i) =>
          matcher.test(line) && !/SentencePiece|glossary-ok/i.test(line)
            ? [`${file}:${i + 1}: ${line.trim()}`]
            : [],
        ),
    );
}

describe('the glossary', () => {
  it('has words that it bans', () => expect(banned.length).toBeGreaterThan(10));

  it.each(banned)('"$ban" is not used for "$word"', ({ ban }) => {
    expect(uses(ban)).toEqual([]);
  });
});
