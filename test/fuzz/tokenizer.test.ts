/**
 * An untrusted tokenizer.json, by seeded mutation of the golden ones: it is refused with a
 * sentence, or it encodes; it neither hangs nor fails with an internal error.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { TextError } from '../../src/text/errors.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../support/folders.js';

const folder = temporaryFolder('cream-fuzz-');
const golden = new URL('../golden/tokenizers/', import.meta.url);
/** Far above what any of these takes on a busy machine; a hang takes for ever. */
const BUDGET_MS = 20_000;

/** Numbers in [0, 1), the same for one seed (mulberry32). */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const VALUES: unknown[] = [
  ...[null, true, -1, 0, 1e9, 2 ** 53, '', 'x', 'ü', '\u0000', '(', '(a+)+$', '[', [], [[]], {}],
  { type: 'Sequence', normalizers: [] },
  { Regex: '(x+x+)+y' },
  { type: 'Replace', pattern: { String: '' }, content: 'aa' },
  ['a', 'b'],
];

/** Replaces, removes or copies one value somewhere in `json`. */
function mutate(json: unknown, next: () => number): void {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  let at = json as Record<string, unknown>;
  for (;;) {
    const keys = Object.keys(at);
    if (keys.length === 0) return;
    const key = pick(keys);
    const held = at[key];
    if (typeof held === 'object' && held !== null && next() < 0.75) {
      at = held as Record<string, unknown>;
      continue;
    }
    const kind = next();
    if (kind < 0.2) delete at[key];
    else if (kind < 0.3) at[pick(keys)] = held;
    else at[key] = structuredClone(pick(VALUES));
    return;
  }
}

it.each(readdirSync(golden).filter((name) => name !== 'flags' && !name.endsWith('.json')))(
  '%s, mutated',
  async (name) => {
    const text = readFileSync(new URL(`${name}/tokenizer.json`, golden), 'utf8');
    for (let seed = 0; seed < 40; seed++) {
      const next = random(seed);
      const json: unknown = JSON.parse(text);
      for (let n = 1 + Math.floor(next() * 4); n > 0; n--) mutate(json, next);
      const cut = seed % 8 === 7 ? Math.floor(next() * text.length) : undefined;
      writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json).slice(0, cut));
      const before = performance.now();
      try {
        const tokenizer = await loadTokenizer({ folder });
        tokenizer.decode(tokenizer.encode('Hello wörld, 12345!  xxxxxxxxxxxxxxxxxxxx\n'));
      } catch (error) {
        if (!(error instanceof TextError))
          throw new Error(`seed ${seed}: ${(error as Error).stack}`, { cause: error });
        expect(error.message).toMatch(/^\S.* .*[^\n]$/s);
      }
      expect(performance.now() - before).toBeLessThan(BUDGET_MS);
    }
  },
);
