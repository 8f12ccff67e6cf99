/** `cream generate`: prompts → completions.jsonl, the first stage of an iteration on its own. */
import { randomInt } from 'node:crypto';
import { InvalidArgumentError, type Command } from 'commander';
import { RunError } from '../../run/errors.js';
import type { Recipe } from '../../run/recipe.js';
import { sampleStage } from '../../run/stages/sample.js';
import {
  addSettings,
  ANSWER_KEYS,
  refuseIdle,
  settingsFrom,
  wholeNumber,
  type Cli,
} from '../cli.js';
import { completionRecord, outputOf, printWritten } from '../output.js';
import { COUNT_KEY, countOption, PROMPT_KEYS, promptsOf } from '../prompts.js';
import { fetchData, showBlocks, withModel } from '../stage.js';
import { printJson, printLine } from '../table.js';

const KEYS = ['model', ...ANSWER_KEYS, ...PROMPT_KEYS];

/** Flags that replace the recipe's, which requires two completions for ranking. */
const OWN = ['sample.samples'];

/** Flags of prompts in a file, and of the completions that are saved. */
const OF_FILES = [
  'prompts',
  'count',
  'columns',
  'on-bad-row',
  'iteration',
  'save-prompts',
  'max-num-seqs',
  'min-new-tokens',
];

/** OpenAI's and the engine's limit. */
function topNumber(text: string): number {
  if (!/^\d{1,2}$/.test(text) || Number(text) > 20)
    throw new InvalidArgumentError('It must be a whole number from 0 to 20.');
  return Number(text);
}

interface Flags extends Record<string, unknown> {
  prompts: string;
  prompt?: string;
  json?: boolean;
  samples?: number;
  topLogprobs?: number;
  seed?: string;
  out?: string;
  iteration: number;
}

export function addGenerate(program: Command, cli: Cli): void {
  const command = program
    .command('generate')
    .description('sample completions of prompts')
    .option(
      '--prompts <file>',
      'prompts: `builtin`, a JSONL, JSON, CSV or Parquet file, or hub:org/name',
      'builtin',
    )
    .option('--prompt <text>', 'one prompt instead; its completion is printed as it is written')
    .option(
      '--json',
      'print the result as JSON; with --prompt completions, token ids and log-probs',
    )
    .option('--samples <number>', 'completions per prompt [5, with --prompt 1]', wholeNumber)
    .option(
      '--top-logprobs <number>',
      'with --prompt and --json: the most likely tokens beside each, at most 20',
      topNumber,
    )
    .option(
      '-o, --out <file>',
      'completions (JSONL); an existing file is replaced, an unfinished one is resumed',
    )
    .option(
      '--iteration <number>',
      'part of the random key: another number, other samples',
      wholeNumber,
      1,
    )
    .addOption(countOption());
  addSettings(command, KEYS, 'sample', [...OWN, COUNT_KEY]).action(async (flags: Flags) => {
    if (flags.prompt !== undefined)
      refuseIdle(command, OF_FILES, 'with --prompt, which completes one text and saves nothing');
    const settings = settingsFrom(flags, KEYS, 'sample', {
      leaveOut: OWN,
      more: [
        { label: '--prompts', key: 'prompts.source', value: flags.prompts, text: true },
        { label: 'generate', key: 'iterations', value: '1' },
      ],
    });
    if (flags.samples === 0) throw new RunError('ERR_RECIPE', '--samples must be at least 1.');
    const samples = flags.samples ?? (flags.prompt === undefined ? settings.sample.samples : 1);
    if (settings.sample.temperature === 0 && samples > 1)
      throw new RunError(
        'ERR_RECIPE',
        '--temperature 0 gives every sample of a prompt the same text: give --samples 1.',
      );
    if (flags.prompt !== undefined) return printCompletions(flags, settings, cli);
    if (flags.topLogprobs !== undefined)
      throw new RunError('ERR_RECIPE', '--top-logprobs needs --prompt.');
    const { out } = flags;
    if (out === undefined)
      throw new RunError(
        'ERR_RECIPE',
        'generate needs --out, the file of the completions, or --prompt with a text.',
      );
    await fetchData([flags.prompts], cli);
    const { sample, seed } = settings;
    const request = { ...sample, samples, seed, iteration: flags.iteration };
    const made = await withModel(settings.model, settings, cli, async (policy) => {
      const chosen = { source: flags.prompts, count: flags['count'] };
      const prompts = await promptsOf(settings, chosen, policy, cli);
      return showBlocks(
        cli,
        'sample',
        {
          out,
          plan: [settings.model, settings.dtype, settings.device, request, prompts],
        },
        sampleStage(prompts, async () => policy, request),
      );
    });
    printWritten(outputOf(out), out, { json: flags.json, rows: made.length });
  });
}

/** `--prompt`: prints to standard output; a single completion is printed while it is generated. */
async function printCompletions(flags: Flags, settings: Recipe, cli: Cli): Promise<void> {
  if (flags.out !== undefined)
    throw new RunError('ERR_RECIPE', '--prompt prints its completion and takes no --out.');
  const { topLogprobs: top } = flags;
  if (top !== undefined && !flags.json)
    throw new RunError('ERR_RECIPE', '--top-logprobs needs --json, which prints them.');
  const { sample, system_prompt: system } = settings;
  const messages = [
    ...(system === null ? [] : [{ role: 'system' as const, content: system }]),
    { role: 'user' as const, content: flags.prompt! },
  ];
  const seed = BigInt(flags.seed === undefined ? randomInt(2 ** 47) : settings.seed);
  const count = flags.samples ?? 1;
  await withModel(settings.model, settings, cli, async (lm) => {
    cli.progress.stop();
    // Each completion has its own seed; the first has the given one.
    const streams = Array.from({ length: count }, (_, i) =>
      lm.stream(messages, {
        temperature: sample.temperature,
        topP: sample.top_p,
        topK: sample.top_k,
        maxNewTokens: sample.max_new_tokens,
        stop: sample.stop,
        topLogprobs: top ?? 0,
        seed: seed + BigInt(i),
        signal: cli.signal,
      }),
    );
    if (count === 1 && !flags.json) {
      for await (const chunk of streams[0]!) process.stdout.write(chunk);
      printLine('');
    }
    const made = await Promise.all(streams.map((stream) => stream.completion));
    if (flags.json)
      return printJson({
        prompt: flags.prompt,
        completions: made.map((one) => completionRecord(one, top !== undefined)),
      });
    if (count > 1) for (const { text } of made) printLine(`${text}\n`);
    cli.progress.say(`seed ${seed}`);
  });
}
