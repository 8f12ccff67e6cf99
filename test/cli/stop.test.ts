/** A command that is stopped by Ctrl-C says whether its finished work is saved, and resumes it. */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { cream, startCream, type Finished } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const SAVED = 'Stopped; finished work is saved. Run the same command to resume.\n';
const LOST = 'Stopped; nothing computed since the start is saved. Run the same command again.\n';
const GOLDEN = fileURLToPath(new URL('../golden/lm-eval/', import.meta.url));
const work = temporaryFolder('cream-stop-');
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 2048 });
const other = tinyModel({ tokenizer: true, maxPositionEmbeddings: 2048, seed: 5 });
const pairs = join(work, 'pairs.jsonl');
writeFileSync(
  pairs,
  Array.from({ length: 80 }, (_, i) =>
    JSON.stringify({
      prompt: `question ${i}`,
      chosen: 'yes',
      rejected: 'not at all',
      notes: 'a b',
    }),
  ).join('\n'),
);

/** Starts a command and presses Ctrl-C once `ready`. */
async function stopped(args: string[], ready: (printed: string) => boolean): Promise<Finished> {
  const { child, finished } = startCream(args);
  let printed = '';
  child.stderr!.on('data', (data: Buffer) => (printed += data.toString()));
  while (child.exitCode === null && !ready(printed)) await sleep(2);
  child.kill('SIGINT');
  return finished;
}
const hasParts = (out: string) => () => existsSync(join(`${out}.parts`, '00002.jsonl'));

describe('cream rank-eval', () => {
  const flags = ['rank-eval', '--pairs', pairs, '--model', model, '--model', other];
  const saving = [
    ...flags,
    '--rewards',
    'implicit_controlled',
    'likelihood',
    '--save-prompts',
    '2',
  ];
  const withOut = (out: string, ...more: string[]) => [...saving, '--json', '--out', out, ...more];

  it('resumes into the same file, unless settings have changed', async () => {
    // A part is not read as the artefact of this name.
    const out = join(work, 'rank-eval.jsonl');
    const result = await stopped(withOut(out), hasParts(out));
    expect([result.code, existsSync(out)]).toEqual([130, false]);
    expect(result.stderr).toContain(SAVED);
    expect(result.stderr).not.toContain(LOST);
    const changed = join(work, 'changed.jsonl');
    cpSync(`${out}.parts`, `${changed}.parts`, { recursive: true });

    const resumed = await cream(...withOut(out));
    expect(resumed).toMatchObject({ code: 0 });
    expect(resumed.stderr).toMatch(/rank-eval resumes at \d+ of 320 completions/);
    expect(existsSync(`${out}.parts`)).toBe(false);
    const undisturbed = join(work, 'undisturbed.jsonl');
    const whole = await cream(...withOut(undisturbed));
    expect(readFileSync(out)).toEqual(readFileSync(undisturbed));
    expect(resumed.stdout).toBe(whole.stdout);
    // In one part, without a file: the same figures.
    expect((await cream(...saving, '--json')).stdout).toBe(whole.stdout);

    const anew = await cream(...withOut(changed, '--system-prompt', 'Be brief.'));
    expect(anew).toMatchObject({ code: 0 });
    expect(anew.stderr).not.toContain('resumes');
    expect(readFileSync(changed)).not.toEqual(readFileSync(out));
  });

  it('does not claim that work is saved where there is no file', async () => {
    const judged = [...flags, '--rewards', 'judge', '--json'];
    const result = await stopped(judged, (printed) => printed.includes('is not read'));
    expect(result.code).toBe(130);
    expect(result.stderr).toContain(LOST);
    expect(result.stderr).not.toContain(SAVED);
    expect(JSON.parse(result.stdout)).toEqual({
      error: { code: 'ERR_INTERRUPTED', message: LOST.trimEnd() },
    });
  });
});

it('cream eval begins anew where blocks of another size are saved', async () => {
  const task = ['--task', `arc_easy:${GOLDEN}arc_easy.jsonl`, '--method', 'loglikelihood'];
  const command = ['eval', '--model', GOLDEN, '--dtype', 'float32', ...task, '--json', '--out'];
  const out = join(work, 'answers.jsonl');
  const result = await stopped([...command, out, '--save-prompts', '1'], hasParts(out));
  expect(result.stderr).toContain(SAVED);
  const larger = await cream(...command, out, '--save-prompts', '9');
  expect(larger).toMatchObject({ code: 0 });
  expect(JSON.parse(larger.stdout)).toMatchObject([{ total: 25 }]);
});
