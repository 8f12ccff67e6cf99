import { createHash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import {
  builtinById,
  builtinDemonstrations,
  builtinPrompts,
  normalise,
  SPLITS,
} from '../../src/data/builtin.js';
import { serialize } from '../../src/data/jsonl.js';

const digest = (records: object[]) =>
  createHash('sha256').update(records.map(serialize).join('')).digest('hex').slice(0, 16);
const questions = (seed: number, split: (typeof SPLITS)[number], count: number) =>
  builtinPrompts({ seed, split, count }).map(({ prompt }) => prompt[0]!.content);

describe('built-in prompts', () => {
  it('are the same on every machine', () => {
    expect(digest(builtinPrompts({ seed: 0, split: 'train', count: 500 }))).toMatchInlineSnapshot(
      `"af5f46b491d37803"`,
    );
    expect(digest(builtinDemonstrations({ seed: 0, count: 200 }))).toMatchInlineSnapshot(
      `"90dfce5c50f07651"`,
    );
  });

  it('start alike whatever the count, and differ by seed', () => {
    expect(builtinPrompts({ seed: 3, split: 'test', count: 40 })).toEqual(
      builtinPrompts({ seed: 3, split: 'test', count: 200 }).slice(0, 40),
    );
    expect(questions(3, 'test', 40)).not.toEqual(questions(4, 'test', 40));
  });

  it('never cross splits, even between seeds, and never repeat', () => {
    const seen = new Map<string, string>();
    for (const split of SPLITS) {
      for (const seed of [0, 1, 2]) {
        const asked = questions(seed, split, 600);
        expect(new Set(asked).size).toBe(asked.length);
        // Where the answer is a person, the names are what is asked.
        const said = asked.map((question) =>
          question.includes('Who is the') ? question : normalise(question),
        );
        for (const question of said) {
          expect(seen.get(question) ?? split).toBe(split);
          seen.set(question, split);
        }
      }
    }
    expect(seen.size).toBeGreaterThan(3000);
  });

  it('have ids of their own, an answer, and the instruction', () => {
    const prompts = builtinPrompts({ seed: 0, split: 'train', count: 500 });
    expect(new Set(prompts.map(({ id }) => id)).size).toBe(500);
    for (const { prompt, answer, task, choices } of prompts) {
      expect(prompt).toHaveLength(1);
      expect(prompt[0]!.content).toContain('End with "Answer:"');
      expect(answer).toMatch(/^(\d+|[A-Z]|[a-z]+|[A-Z][a-z]+)$/);
      expect(task).toBe('builtin');
      if (choices) {
        expect(choices.map(({ label }) => label)).toContain(answer);
        expect(new Set(choices.map(({ text }) => text)).size).toBe(choices.length);
      }
    }
  });

  it('are varied: numbers, words and letters, right letters spread', () => {
    const prompts = builtinPrompts({ seed: 0, split: 'train', count: 600 });
    const letters = prompts.filter(({ choices }) => choices);
    for (const label of 'ABCD')
      expect(letters.filter(({ answer }) => answer === label).length).toBeGreaterThan(
        letters.length / 8,
      );
    expect(prompts.filter(({ answer }) => /^\d+$/.test(answer!)).length).toBeGreaterThan(300);
    expect(prompts.filter(({ answer }) => /^[a-z]{2,}$/i.test(answer!)).length).toBeGreaterThan(30);
  });

  it('are right: sums and products asked in plain words', () => {
    for (const { prompt, answer } of builtinPrompts({ seed: 9, split: 'train', count: 2000 })) {
      const text = prompt[0]!.content;
      const [a, b] = [...text.matchAll(/\d+/g)].map(Number) as [number, number];
      if (/^What is \d+ plus|^What is the sum/.test(text)) expect(answer).toBe(String(a + b));
      if (/^What is \d+ minus|^What is the difference/.test(text))
        expect(answer).toBe(String(a - b));
      if (/equally among/.test(text)) expect(answer).toBe(String(a / b));
      if (/percent of \d+\?/.test(text)) expect(answer).toBe(String((a * b) / 100));
      expect(text).not.toMatch(/undefined|NaN|\b1 (dollars|hours|weeks)\b/);
    }
  });

  it('come with worked solutions that end in the answer', () => {
    const demonstrations = builtinDemonstrations({ seed: 0, count: 300 });
    const answers = new Map(
      builtinPrompts({ seed: 0, split: 'sft', count: 300 }).map(({ id, answer }) => [id, answer]),
    );
    for (const { id, completion } of demonstrations) {
      const { role, content } = completion[0]!;
      expect(role).toBe('assistant');
      expect(content.endsWith(`\nAnswer: ${answers.get(id)}`)).toBe(true);
      expect(content).not.toMatch(/undefined|NaN/);
      expect(content.length).toBeLessThan(400);
    }
    expect(
      new Set(demonstrations.map(({ completion }) => completion[0]!.content.split(' ')[0])).size,
    ).toBeGreaterThan(15);
  });

  it('are found again by id', () => {
    const prompts = builtinPrompts({ seed: 3, split: 'test', count: 30 });
    expect(builtinById(['other', prompts[7]!.id, prompts[29]!.id, 'builtin-test-3-99999'])).toEqual(
      new Map([prompts[7]!, prompts[29]!].map((p) => [p.id, p])),
    );
  });

  it('refuse counts and seeds that are no whole numbers', () => {
    expect(() => builtinPrompts({ seed: 0, split: 'train', count: 1.5 })).toThrow(
      '1.5 built-in prompts',
    );
    expect(() => builtinPrompts({ seed: -1, split: 'train', count: 1 })).toThrow(
      'the seed of the built-in prompts is -1',
    );
    expect(builtinPrompts({ seed: 0, split: 'train', count: 0 })).toEqual([]);
  });
});
