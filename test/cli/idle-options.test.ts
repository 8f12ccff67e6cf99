/** An option that changes nothing beside the others is refused, before any work is done. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { Command } from 'commander';
import { addChat } from '../../src/cli/commands/chat.js';
import { addEval } from '../../src/cli/commands/eval.js';
import { addGenerate } from '../../src/cli/commands/generate.js';
import { addPlan } from '../../src/cli/commands/plan.js';
import { addPrefer } from '../../src/cli/commands/prefer.js';
import { addReport } from '../../src/cli/commands/report.js';
import { addTrain } from '../../src/cli/commands/train.js';
import { addWinRate } from '../../src/cli/commands/win-rate.js';
import { Progress } from '../../src/cli/progress.js';
import { cream } from '../support/cli.js';
import { temporaryFolder } from '../support/tiny-model.js';

const work = temporaryFolder('cream-idle-');
const file = (name: string, row: object): string => {
  const path = join(work, name);
  writeFileSync(path, `${JSON.stringify(row)}\n`);
  return path;
};
const completions = file('completions.jsonl', {
  prompt_id: 'a',
  sample: 0,
  prompt: [{ role: 'user', content: 'q' }],
  completion: 'x',
  prompt_token_ids: [1],
  token_ids: [2],
  logprob: -1,
  finish_reason: 'eos',
});
const answers = file('answers.jsonl', {
  prompt_id: 'a',
  task: 'siqa',
  completion: 'A',
  extracted: 'A',
  answer: 'A',
  correct: true,
  tokens: 1,
});
const pairs = file('pairs.jsonl', {
  prompt_id: 'a',
  prompt: [{ role: 'user', content: 'q' }],
  chosen: [{ role: 'assistant', content: 'x' }],
  rejected: [{ role: 'assistant', content: 'y' }],
  chosen_sample: 0,
  rejected_sample: 1,
  prompt_token_ids: [1],
  chosen_token_ids: [2],
  rejected_token_ids: [3],
  ref_chosen_logps: -1,
  ref_rejected_logps: -1,
  base_chosen_logps: -1,
  base_rejected_logps: -1,
  reward_chosen: 1,
  reward_rejected: 0,
  consistency: 1,
  weight: 1,
});

const COMMANDS = [
  addPrefer,
  addWinRate,
  addEval,
  addTrain,
  addGenerate,
  addReport,
  addChat,
  addPlan,
];

/** Runs a command within this process. */
const command = async (...args: string[]): Promise<unknown> => {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  const cli = { signal: new AbortController().signal, progress: new Progress() };
  for (const add of COMMANDS) add(program, cli);
  program.commands.forEach((one) => one.copyInheritedSettings(program));
  return program.parseAsync(args, { from: 'user' });
};

const PREFER = ['prefer', '--scores', 's', '--completions', 'c', '-o', 'p'];
const WIN_RATE = ['win-rate', '--before', completions, '--after', completions, '--judge', 'j'];
const COMPARE = ['eval', '--compare', answers, answers];
const TRAIN = ['train', '--model', 'm', '--pairs', pairs, '-o', join(work, 'trained')];

describe('has no effect', () => {
  it.each([
    [[...PREFER, '--rewards', 'r'], '--rewards', 'where --reward-source is implicit'],
    [
      [...PREFER, '--reward-source', 'judge', '--prompts', 'p'],
      '--prompts',
      'where --reward-source is judge',
    ],
    [
      [...PREFER, '--reward-source', 'file', '--rewards', 'r', '--judgements', 'j'],
      '--judgements',
      'where --reward-source is file',
    ],
    [[...WIN_RATE, '--prompts', 'p'], '--prompts', 'where both sides are files of completions'],
    [[...WIN_RATE, '--count', '3'], '--count', 'where both sides are files of completions'],
    [
      [...WIN_RATE, '--max-new-tokens', '3'],
      '--max-new-tokens',
      'where both sides are files of completions',
    ],
    ...['--out', '--task', '--model', '--count'].map((flag): [string[], string, string] => [
      [...COMPARE, flag, '1'],
      flag,
      'with --compare, which reads answers and runs no model',
    ]),
    ...[
      ['--base', 'b'],
      ['--columns', '[chosen=good]'],
      ['--on-bad-row', 'skip'],
      ['--system-prompt', 'be nice'],
    ].map(([flag, value]): [string[], string, string] => [
      [...TRAIN, flag!, value!],
      flag!,
      `on pairs that have token ids and log-probs already, as those of ${pairs}`,
    ]),
    ...[
      ['--prompts', 'p'],
      ['--count', '1'],
      ['--columns', 'prompt=q'],
      ['--on-bad-row', 'skip'],
      ['--iteration', '2'],
      ['--save-prompts', '2'],
      ['--max-num-seqs', '2'],
      ['--min-new-tokens', '2'],
    ].map(([flag, value]): [string[], string, string] => [
      ['generate', '--prompt', 'a', flag!, value!],
      flag!,
      'with --prompt, which completes one text and saves nothing',
    ]),
    [['report', 'r', '--port', '5'], '--port', 'without --live'],
    [['report', 'r', '--host', 'h'], '--host', 'without --live'],
  ])('%#', async (args, flag, where) => {
    await expect(command(...args)).rejects.toMatchObject({
      code: 'ERR_RECIPE',
      message: `${flag} has no effect ${where}; leave it out.`,
    });
  });

  it.each([
    [['chat', 'm', '--model', 'n'], 'The model is given twice, as m and with --model'],
    [['plan', '--model', 'm', '--shape', '8b'], '--model and --shape each name what is planned'],
    [['eval', '--compare', answers], '--compare takes two files of answers'],
  ])('one of two is left out: %#', async (args, message) => {
    await expect(command(...args)).rejects.toMatchObject({
      code: 'ERR_RECIPE',
      message: expect.stringContaining(message),
    });
  });

  it.each([
    [['--reward-source', 'file'], '--reward-source file needs --rewards <file>.'],
    [['--reward-source', 'model'], '--reward-source model is for runs; here give its rewards'],
    [['--reward-source', 'function'], '--reward-source function is for runs; here give'],
    [['--reward-source', 'gold', '--prompts', 'p'], '--weighting must be fixed where'],
  ])('prefer says which flag is missing or wrong: %j', async (flags, message) => {
    await expect(command(...PREFER, ...flags)).rejects.toMatchObject({
      code: 'ERR_RECIPE',
      message: expect.stringMatching(new RegExp(`^${message}`)),
    });
  });

  it('prefer tells scores of other completions by name', async () => {
    const scores = file('other-scores.jsonl', {
      prompt_id: 'b',
      sample: 0,
      tokens: 1,
      logp_current: -1,
      logp_previous: -1,
      logp_base: -1,
    });
    const made = ['--out', join(work, 'made.jsonl')];
    await expect(
      command('prefer', '--scores', scores, '--completions', completions, ...made),
    ).rejects.toThrow(
      `${scores} and ${completions} are not of the same completions: ${scores} has sample 0 of ` +
        `prompt "b", and ${completions} does not.`,
    );
  });

  it('is wrong use of the command line', async () => {
    expect(await cream(...PREFER, '--rewards', 'r')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: 'cream: --rewards has no effect where --reward-source is implicit; leave it out.\n',
    });
  });

  it('settings of evaluations in training are no options of eval', async () => {
    await expect(command('eval', '--every', '5')).rejects.toThrow("unknown option '--every'");
  });
});
