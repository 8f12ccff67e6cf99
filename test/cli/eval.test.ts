/** `cream eval` on the built command line: both methods, and the paired comparison. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import type { AnswerRecord } from '../../src/data/records.js';
import { cream } from '../support/cli.js';
import { temporaryFolder } from '../support/tiny-model.js';

const work = temporaryFolder('cream-eval-');
const GOLDEN = fileURLToPath(new URL('../golden/lm-eval/', import.meta.url));
const answers = (name: string, correct: boolean[], task = 'siqa'): string => {
  const path = join(work, name);
  writeFileSync(
    path,
    correct
      .map(
        (right, i) =>
          `${JSON.stringify({
            prompt_id: `q${i}`,
            task,
            completion: '',
            extracted: 'A',
            answer: 'A',
            correct: right,
            tokens: 1,
          } satisfies AnswerRecord)}\n`,
      )
      .join(''),
  );
  return path;
};
const copied = (name: string, from: string, change: (text: string) => string): string => {
  const path = join(work, name);
  writeFileSync(path, change(readFileSync(from, 'utf8')));
  return path;
};

const measure = (...flags: string[]) =>
  cream('eval', '--model', GOLDEN, '--dtype', 'float32', '--method', 'loglikelihood', ...flags);

describe('cream eval --method loglikelihood', () => {
  it('prints both accuracies of each task, and writes the log-likelihoods', async () => {
    const out = join(work, 'answers.jsonl');
    const result = await measure(
      '--task',
      `arc_easy:${GOLDEN}arc_easy.jsonl`,
      '--task',
      `siqa:${GOLDEN}siqa.jsonl`,
      '--out',
      out,
    );
    expect(result).toMatchObject({ code: 0 });
    // lm-evaluation-harness: 5 and 8 of 25, 3 and 4 of 25
    expect(result.stdout.split('\n').map((line) => line.trim().split(/ {2,}/))).toEqual([
      ['task', 'questions', 'accuracy', '95 % interval', 'per character', '95 % interval'],
      expect.anything(),
      ['arc_easy', '25', '20.0 %', '8.9 % – 39.1 %', '32.0 %', '17.2 % – 51.6 %'],
      ['siqa', '25', '12.0 %', '4.2 % – 30.0 %', '16.0 %', '6.4 % – 34.7 %'],
      [''],
    ]);
    const rows = readFileSync(out, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as AnswerRecord);
    expect(rows).toHaveLength(50);
    expect(rows[5]!.choice_logps).toHaveLength(5);
  });

  it('uses the chat template if asked to', async () => {
    const result = await measure(
      '--apply-chat-template',
      'true',
      '--task',
      `arc_easy:${GOLDEN}arc_easy.jsonl`,
      '--json',
    );
    expect(JSON.parse(result.stdout)).toMatchObject([
      { task: 'arc_easy', correct: 6, total: 25, normalised: { correct: 7, total: 25 } },
    ]);
  });

  it('refuses a task without choices in one sentence', async () => {
    expect(await cream('eval', '--method', 'loglikelihood', '--task', 'gsm8k')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining(
        'cream: evaluate.method: the task gsm8k has no choices to compare by log-likelihood; ' +
          'measure it with `method: generate`',
      ),
    });
  });
});

describe('cream eval --compare', () => {
  const before = answers('before.jsonl', [
    true,
    true,
    false,
    false,
    false,
    false,
    false,
    false,
    true,
    false,
  ]);
  const after = answers('after.jsonl', [
    true,
    false,
    true,
    true,
    true,
    true,
    true,
    true,
    true,
    false,
  ]);

  it('prints the paired difference', async () => {
    const { code, stdout } = await cream('eval', '--compare', before, after);
    expect(code).toBe(0);
    const cells = stdout.split('\n')[2]!.split(/ {2,}/);
    expect([...cells.slice(0, 5), ...cells.slice(6)]).toEqual([
      'siqa',
      '10',
      '30.0 %',
      '80.0 %',
      '+50.0',
      '1',
      '6',
      '0.125',
    ]);
    expect(cells[5]).toBe('−2.0 – +79.3'); // a score interval, of so few questions
  });
  it('prints JSON, the same every time', async () => {
    const [one, two] = [
      await cream('eval', '--json', '--compare', before, after),
      await cream('eval', '--json', '--compare', before, after),
    ];
    expect(one.stdout).toBe(two.stdout);
    expect(JSON.parse(one.stdout)).toMatchObject([
      {
        task: 'siqa',
        questions: 10,
        onlyBefore: 1,
        onlyAfter: 6,
        difference: 0.5,
        p: expect.closeTo(0.125, 12),
      },
    ]);
  });
  it('says how many questions only one side answers', async () => {
    const few = answers('few.jsonl', [true, false, true]);
    const { code, stdout, stderr } = await cream('eval', '--json', '--compare', before, few);
    expect([code, stderr]).toEqual([
      0,
      'warning 7 answers are to a question that the other side lacks: left out.\n',
    ]);
    expect(JSON.parse(stdout)).toMatchObject([{ questions: 3 }]);
  });

  it.each([
    ['one file', [before], /--compare takes two files of answers, before and after; 1 given/],
    [
      'nothing in common',
      [before, answers('other.jsonl', [true], 'arc')],
      /have no question in common; compare answers to the same tasks/,
    ],
    [
      'a question that is answered twice',
      [before, copied('twice.jsonl', after, (text) => text + text)],
      /twice\.jsonl answers question "\w+" of siqa twice: remove one of the rows\.$/m,
    ],
    [
      'other questions with the same ids',
      [
        before,
        copied('changed.jsonl', after, (text) => text.replaceAll('"answer":"A"', '"answer":"B"')),
      ],
      /The known answer of question "\w+" of siqa is "A" in .* and "B" in .*changed\.jsonl/,
    ],
    [
      'a folder without answers',
      [before, work.slice(0, work.lastIndexOf('/'))],
      /cannot read .*answers\.jsonl: there is no such file/,
    ],
    [
      'a file of something else',
      [before, `${GOLDEN}siqa.jsonl`],
      /siqa\.jsonl:1: column "prompt_id" is missing/,
    ],
  ])('refuses %s', async (_, files, message) => {
    expect(await cream('eval', '--compare', ...files)).toMatchObject({
      code: files.length === 1 ? 2 : 1,
      stdout: '',
      stderr: expect.stringMatching(message),
    });
  });
});
