import { describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { promptKey, shuffled } from '../../src/run/keys.js';

describe('keyed randomness', () => {
  it('turns a prompt id into the first 8 bytes of its SHA-256', () => {
    expect(promptKey('builtin-train-42-00000').toString(16).padStart(16, '0')).toBe(
      createHash('sha256').update('builtin-train-42-00000').digest('hex').slice(0, 16),
    );
  });

  it('orders by key and ids alone', () => {
    const items = Array.from({ length: 50 }, (_, i) => ({ id: `p${i}` }));
    const ids = (list: { id: string }[]) => list.map((item) => item.id);
    const order = ids(shuffled(items, (item) => item.id, 42, 'train', 1));
    expect(ids(shuffled([...items].reverse(), (item) => item.id, 42, 'train', 1))).toEqual(order);
    expect([...order].sort()).toEqual(ids(items).sort());
    expect(ids(shuffled(items, (item) => item.id, 42, 'train', 2))).not.toEqual(order);
    expect(order).not.toEqual(ids(items));
  });
});
