/** Work in steps has the result of work at once, and its steps are short. */
import { expect, it } from '@jest/globals';
import { parseJsonInSteps, STEP_BYTES } from '../../src/files/json-steps.js';
import { atOnce, forEach, inTurns, sorted, STEP_ITEMS } from '../../src/files/steps.js';
import { generator } from '../preference/generator.js';

const { integer } = generator(23);
const TEXTS = ['', 'a,]"', '\\"[{', 'é☃😀', ' x', '}\n'];

/** A value of lists, objects, texts and numbers, some of them long. */
function value(depth: number): unknown {
  const size = integer(8) * (integer(9) === 0 ? 20 : 1);
  switch (integer(depth > 3 ? 4 : 7)) {
    case 0:
      return integer(1000) / 8;
    case 1:
      return [null, true, false][integer(3)];
    case 2:
    case 3:
      return TEXTS[integer(TEXTS.length)]!.repeat(integer(9));
    case 4:
      return Array.from({ length: size }, () => value(depth + 1));
    default:
      return Object.fromEntries(
        Array.from({ length: size }, () => [
          [`k${integer(99)}`, 'vocab', '__proto__', '7', ''][integer(5)],
          value(depth + 1),
        ]),
      );
  }
}

/** `it` with its Maps as objects, and what it is made of. */
function plain(it: unknown): unknown {
  if (Array.isArray(it)) return it.map(plain);
  if (typeof it !== 'object' || it === null) return it;
  const entries = it instanceof Map ? [...(it as Map<string, unknown>)] : Object.entries(it);
  return Object.fromEntries(entries.map(([key, held]) => [key, plain(held)]));
}

const outcome = (parse: () => unknown): unknown => {
  try {
    return plain(parse());
  } catch (error) {
    return (error as Error).message;
  }
};

it('JSON in steps is read or refused as JSON.parse reads or refuses it', () => {
  for (let round = 0; round < 3; round++) {
    const entries = Array.from({ length: 250 }, () => value(0));
    const keyed = Object.fromEntries(entries.map((entry, i) => [`m${i}`, entry]));
    const text = JSON.stringify(
      [entries, keyed, { a: 1, model: { vocab: keyed, merges: entries }, z: [] }][round % 3],
      null,
      round % 2,
    );
    const at = text.indexOf(',', integer(text.length));
    const broken = [',', '}', ']', '"', '{', '[', ':', ' ', ''].flatMap((put) => [
      text.slice(0, at) + put + text.slice(at),
      text.slice(0, at) + put + text.slice(at + 1),
    ]);
    for (const said of [text, ...broken, text.slice(0, at), `${text}x`, `\ufeff${text}`])
      expect(outcome(() => atOnce(parseJsonInSteps(Buffer.from(said), 'vocab')))).toEqual(
        outcome(() => JSON.parse(said)),
      );
  }
});

it('JSON comes in steps of some kB, and the long object under the key as a Map', () => {
  const vocab = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`token ${i}`, i]));
  const bytes = Buffer.from(JSON.stringify({ vocab, list: Object.keys(vocab) }));
  const steps = parseJsonInSteps(bytes, 'vocab');
  let count = 0;
  let step = steps.next();
  for (; !step.done; step = steps.next()) count++;
  expect(count).toBeGreaterThan(0.9 * (bytes.length / STEP_BYTES) - 1);
  expect(step.value).toEqual({ vocab: new Map(Object.entries(vocab)), list: Object.keys(vocab) });
  expect(atOnce(parseJsonInSteps(Buffer.from('{"vocab": {"a": 1}}'), 'vocab'))).toEqual({
    vocab: { a: 1 },
  });
});

it('is not cut where very many lists are open', () => {
  const deep = `${'[1,'.repeat(50_000)}1${']'.repeat(50_000)}`;
  expect(Array.isArray(atOnce(parseJsonInSteps(Buffer.from(deep))))).toBe(true);
});

it('of more parts than any file needs is refused', () => {
  const text = `[${'[],'.repeat(5_000_001)}0]`;
  expect(() => atOnce(parseJsonInSteps(Buffer.from(text)))).toThrow(
    'it has 10000003 entries, and at most 10000000 are read',
  );
});

it('a sort in steps is the stable sort', async () => {
  const items = Array.from({ length: 5 * STEP_ITEMS + 7 }, (_, at) => ({ key: integer(50), at }));
  const compare = (a: { key: number }, b: { key: number }) => a.key - b.key;
  expect(await inTurns(sorted(items, compare))).toEqual(items.toSorted(compare));
  expect(atOnce(sorted([], compare))).toEqual([]);
});

it('the signal ends work between two steps', async () => {
  const stop = new AbortController();
  let done = 0;
  const steps = forEach(Array(10 * STEP_ITEMS).fill(0), () => {
    if (++done === STEP_ITEMS) stop.abort(new Error('enough'));
  });
  await expect(inTurns(steps, stop.signal)).rejects.toThrow('enough');
  expect(done).toBe(STEP_ITEMS);
});
