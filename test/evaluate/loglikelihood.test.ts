/**
 * Log-likelihood evaluation against lm-evaluation-harness 0.4.13 itself, item by item
 * (scripts/golden/loglikelihood.py).
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  answerByLikelihood,
  encodeChoices,
  encodePair,
  gradeChoices,
} from '../../src/evaluate/loglikelihood.js';
import type { Question } from '../../src/evaluate/task.js';
import { TASKS } from '../../src/evaluate/tasks.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';

interface Item {
  task: 'arc_easy' | 'openbookqa' | 'siqa';
  row: number;
  choice_logps: number[];
  acc: number;
  acc_norm: number;
}
const FOLDER = fileURLToPath(new URL('../golden/lm-eval/', import.meta.url));
const golden = JSON.parse(readFileSync(`${FOLDER}expected.json`, 'utf8')) as Record<
  'plain' | 'chat',
  Item[]
>;
const NAMES = ['arc_easy', 'openbookqa', 'siqa'] as const;
const hooks = { signal: new AbortController().signal, progress: () => {} };

let language: LanguageModel;
const questions: Record<string, Question[]> = {};
beforeAll(async () => {
  language = await loadModel(FOLDER, { dtype: 'float32' });
  for (const name of NAMES)
    questions[name] = await TASKS[name].questions({ source: `${FOLDER}${name}.jsonl` });
});
afterAll(() => language.dispose());

describe.each(['plain', 'chat'] as const)('%s', (kind) => {
  it.each(NAMES)('%s: every log-likelihood, acc and acc_norm is the harness’s', async (name) => {
    const expected = golden[kind].filter(({ task }) => task === name);
    const of = questions[name]!;
    expect(of).toHaveLength(expected.length);
    const answers = await answerByLikelihood(
      of,
      language,
      { chat: kind === 'chat', max_num_batched_tokens: 512 },
      hooks,
    );
    answers.forEach((answer, i) => {
      const { choice_logps, acc, acc_norm } = expected[i]!;
      expect(answer.choice_logps).toHaveLength(choice_logps.length);
      choice_logps.forEach((logp, c) =>
        expect(Math.abs(answer.choice_logps![c]! - logp)).toBeLessThan(1e-3),
      );
      expect([i, Number(answer.correct), Number(answer.correct_norm)]).toEqual([i, acc, acc_norm]);
      expect(answer).toMatchObject({
        prompt_id: of[i]!.id,
        task: name,
        completion: '',
        answer: of[i]!.answer,
      });
    });
  });

  it('has questions on which the two rules differ', () => {
    for (const name of NAMES) {
      const items = golden[kind].filter(({ task }) => task === name);
      expect(items.length).toBeGreaterThanOrEqual(25);
      expect(items.some(({ acc, acc_norm }) => acc !== acc_norm)).toBe(true);
      expect(new Set(items.map(({ acc }) => acc)).size).toBe(2);
    }
  });
});

describe('encodeChoices', () => {
  it('begins with the begin-of-text token once, of template or tokenizer', async () => {
    const [question] = questions.arc_easy!;
    for (const chat of [false, true]) {
      const { context } = (await encodeChoices(question!, language, { chat, most: 112 }))[0]!;
      expect(context.filter((id) => id === language.tokenizer.bosTokenId)).toHaveLength(
        chat ? 2 : 1,
      ); // user and assistant
      expect(context[0]).toBe(language.tokenizer.bosTokenId);
    }
  });

  it('shares the context of a question’s choices, and cuts a long one from the left', async () => {
    const long = questions.arc_easy!.find(({ id }) => id === 'arc-24')!;
    const whole = await encodeChoices(long, language, { chat: false, most: 10_000 });
    const cut = await encodeChoices(long, language, { chat: false, most: 112 });
    expect(new Set(whole.map(({ context }) => context.join(' '))).size).toBe(1);
    cut.forEach(({ context, continuation }, i) => {
      expect(context.length + continuation.length).toBe(113);
      expect(continuation).toEqual(whole[i]!.continuation);
      expect(context).toEqual(whole[i]!.context.slice(-context.length));
    });
  });

  it('moves the white space that Python sees at its end to the continuation', async () => {
    const units = (text: string) => [...text].map((c) => c.codePointAt(0)!);
    const tokens = (text: string) => Promise.resolve(units(text));
    expect(await encodePair('ab \n', 'c', tokens)).toEqual({
      context: units('ab'),
      continuation: units(' \nc'),
    });
    expect(await encodePair('ab\u0085\x1c', ' c', tokens)).toEqual({
      context: units('ab'),
      continuation: units('\u0085\x1c c'),
    });
    expect(await encodePair('ab\ufeff', ' c', tokens)).toEqual({
      context: units('ab\ufeff'),
      continuation: units(' c'),
    });
  });

  it('names what cannot be compared', async () => {
    const question = questions.arc_easy![0]!;
    const { choices: _choices, ...open } = question;
    const { stem: _stem, ...told } = question;
    await expect(encodeChoices(open, language, { chat: false, most: 112 })).rejects.toThrow(
      'the question "arc-01" of arc_easy has no choices to compare by log-likelihood; use ' +
        'the method generate for it',
    );
    await expect(encodeChoices(told, language, { chat: false, most: 112 })).rejects.toThrow(
      'has no column "question"',
    );
    await expect(encodeChoices(question, language, { chat: false, most: 1 })).rejects.toThrow(
      "has 8 tokens and the model's context holds 1",
    );
  });
});

describe('gradeChoices', () => {
  const question = (texts: string[], answer: string): Question => ({
    id: 'q',
    task: 't',
    prompt: [],
    answer,
    choices: texts.map((text, i) => ({ label: 'ABCDE'[i]!, text })),
  });

  it('takes the likeliest by sum, and by mean over characters', () => {
    expect(gradeChoices(question(['a long choice', 'short'], 'A'), [-12, -6], 9)).toMatchObject({
      extracted: 'B',
      correct: false,
      extracted_norm: 'A',
      correct_norm: true,
      tokens: 9,
    });
  });
  it('counts code points, not bytes and not UTF-16 units', () => {
    expect(gradeChoices(question(['🐋🐋🐋', 'abcd'], 'B'), [-3.5, -4], 2).extracted_norm).toBe('B');
    expect(gradeChoices(question(['ééé', 'abcd'], 'B'), [-3.5, -4], 2).extracted_norm).toBe('B');
  });
  it('takes the first of equal choices', () =>
    expect(gradeChoices(question(['one', 'two'], 'A'), [-3, -3], 2)).toMatchObject({
      extracted: 'A',
      extracted_norm: 'A',
    }));
});
