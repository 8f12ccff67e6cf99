/**
 * `cream win-rate`: how often a judge prefers the answers of one model to those of another, also at
 * equal length.
 */
import { statSync } from 'node:fs';
import { Option, type Command } from 'commander';
import { COMPLETION_COLUMNS } from '../../data/columns.js';
import type { CompletionRecord, Message } from '../../data/records.js';
import { judgePairs, type AnswerPair, type JudgedPair } from '../../evaluate/pairwise.js';
import { meanRate, winRate, type Rate, type WinRate } from '../../evaluate/win-rate.js';
import { RunError } from '../../run/errors.js';
import type { Recipe } from '../../run/recipe.js';
import { sampleStage } from '../../run/stages/sample.js';
import type { BlockedStage } from '../../run/stages/stage.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ANSWER_KEYS, flagName, refuseIdle, settingsFrom, type Cli } from '../cli.js';
import { outputOf } from '../output.js';
import { COUNT_KEY, countOption, PROMPT_KEYS, promptsOf } from '../prompts.js';
import { readGivenRecords } from '../records.js';
import { fetchData, showBlocks, showStage, withModel } from '../stage.js';
import { formatTable, percent, printJson, printLine } from '../table.js';

/** Settings of a model that answers. */
const SAMPLING_KEYS = [...PROMPT_KEYS, 'sample.max_new_tokens', 'sample.max_num_seqs'];
const KEYS = [
  ...ANSWER_KEYS,
  ...SAMPLING_KEYS,
  'score.max_num_batched_tokens',
  'score.save_prompts',
];

interface Flags extends Record<string, unknown> {
  before: string;
  after: string;
  judge: string;
  prompts?: string;
  out?: string;
  json?: boolean;
}

export function addWinRate(program: Command, cli: Cli): void {
  const side = 'a model, or a file of completions (JSONL of `cream generate`)';
  const command = program
    .command('win-rate')
    .description(
      'how often a judge prefers the answers of one model to those of another, also at equal ' +
        'length',
    )
    .requiredOption('--before <name>', `the model to beat: ${side}`)
    .requiredOption('--after <name>', `the model whose win rate is measured: ${side}`)
    .requiredOption('--judge <name>', 'the model that judges, best a third one')
    .addOption(
      new Option(
        '--prompts <source>',
        'prompts that models answer, greedily: `builtin`, a file, or hub:org/name',
      ),
    )
    .addOption(countOption())
    .option('-o, --out <file>', 'also write the preferences (JSONL); an unfinished file is resumed')
    .option('--json', 'print the result as JSON');
  addSettings(command, KEYS, undefined, [COUNT_KEY]).action(async (given: Flags) => {
    const [before, after, judging] = [given.before, given.after, given.judge].map(
      modelOrCheckpoint,
    ) as [string, string, string];
    const flags = { ...given, before, after, judge: judging };
    const settings = settingsFrom(flags, KEYS, undefined, {
      more: [
        { label: 'win-rate', key: 'iterations', value: '1' },
        ...(flags.prompts === undefined
          ? []
          : [{ label: '--prompts', key: 'prompts.source', value: flags.prompts, text: true }]),
      ],
    });
    if (!modelsAnswer(flags))
      refuseIdle(
        command,
        ['prompts', ...SAMPLING_KEYS.map((key) => flagName(key))],
        'where both sides are files of completions',
      );
    const pairs = await pairsOf(flags, settings, cli);
    const judged = await judge(pairs, flags, settings, cli);
    if (flags.out === undefined || outputOf(flags.out).kind !== 'stdout') show(judged, flags, cli);
  });
}

async function pairsOf(flags: Flags, settings: Recipe, cli: Cli): Promise<AnswerPair[]> {
  const before = await answersOf(flags.before, flags, settings, cli);
  const after = await answersOf(flags.after, flags, settings, cli);
  const pairs = [...before].flatMap(([prompt_id, { prompt, completion }]) => {
    const other = after.get(prompt_id);
    if (!other) return [];
    if (conversationOf(prompt) !== conversationOf(other.prompt))
      throw new RunError(
        'ERR_RUN_DATA',
        `Prompt ${JSON.stringify(prompt_id)} is not the same in ${flags.before} and ` +
          `${flags.after}: compare answers to the same prompts.`,
      );
    return [{ prompt_id, prompt, before: completion, after: other.completion }];
  });
  if (pairs.length === 0)
    throw new RunError(
      'ERR_RUN_DATA',
      `${flags.before} and ${flags.after} have no prompt in common; compare answers to the same ` +
        'prompts.',
    );
  const alone = before.size + after.size - 2 * pairs.length;
  if (alone > 0)
    cli.progress.warn(`${alone} answers are to a prompt that the other side lacks: left out.`);
  return pairs;
}

/** The turns of a prompt as one text, without system messages, which belong to the model. */
const conversationOf = (prompt: readonly Message[]): string =>
  JSON.stringify(
    prompt.filter(({ role }) => role !== 'system').map(({ role, content }) => [role, content]),
  );

/** Whether one of the sides is a model, and no file of completions. */
const modelsAnswer = ({ before, after }: Flags): boolean =>
  ![before, after].every(isFileOfCompletions);

const isFileOfCompletions = (side: string): boolean =>
  /\.jsonl?$/.test(side) && statSync(side, { throwIfNoEntry: false })?.isFile() === true;

/** The first completion of each prompt, from a file or by greedy decoding. */
async function answersOf(
  side: string,
  flags: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<Map<string, CompletionRecord>> {
  const completions = isFileOfCompletions(side)
    ? await readGivenRecords(side, COMPLETION_COLUMNS, cli)
    : await answer(side, flags, settings, cli);
  const first = new Map<string, CompletionRecord>();
  for (const completion of completions) {
    const other = first.get(completion.prompt_id);
    if (other === undefined || completion.sample < other.sample)
      first.set(completion.prompt_id, completion);
  }
  const further = completions.length - first.size;
  if (further > 0)
    cli.progress.warn(
      `${further} of the ${completions.length} completions in ${side} are further samples of a ` +
        'prompt: left out, the first of each is judged.',
    );
  return first;
}

async function answer(
  model: string,
  flags: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<CompletionRecord[]> {
  const source = flags.prompts;
  if (source === undefined)
    throw new RunError(
      'ERR_RECIPE',
      `win-rate needs --prompts, which ${model} answers; only files of completions need none.`,
    );
  await fetchData([source], cli);
  return withModel(model, settings, cli, async (policy) => {
    const chosen = { source, count: flags['count'] };
    const prompts = await promptsOf(settings, chosen, policy, cli);
    const request = { ...settings.sample, samples: 1, temperature: 0, top_p: 1 };
    const stage = sampleStage(prompts, async () => policy, {
      ...request,
      seed: settings.seed,
      iteration: 1,
    });
    return showStage(
      cli,
      { stage: `answers of ${model}`, unit: stage.unit, total: prompts.length },
      (hooks) => stage.make(prompts, hooks),
      stage.note,
    );
  });
}

function judge(
  pairs: readonly AnswerPair[],
  flags: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<JudgedPair[]> {
  const { max_num_batched_tokens: batch, save_prompts: size } = settings.score;
  return withModel(flags.judge, settings, cli, (model) => {
    const stage: BlockedStage<AnswerPair, JudgedPair> = {
      items: pairs,
      size,
      unit: 'pairs',
      make: (block, hooks) => judgePairs(block, model, batch, hooks),
      note: () => '',
    };
    const line = { stage: 'judge', unit: stage.unit, total: pairs.length };
    if (flags.out === undefined) return showStage(cli, line, (hooks) => stage.make(pairs, hooks));
    const plan = [flags.judge, settings.dtype, settings.device, pairs];
    return showBlocks(cli, 'judge', { out: flags.out, plan }, stage);
  });
}

function show(judged: readonly JudgedPair[], flags: Flags, cli: Cli): void {
  const { json, judge: name } = flags;
  const fitting = judged.flatMap(({ shown_first: first, shown_second: second, ...lengths }) =>
    first === null || second === null ? [] : [{ ...lengths, first, second }],
  );
  const left = judged.length - fitting.length;
  if (fitting.length === 0)
    throw new RunError(
      'ERR_RUN_DATA',
      `No pair of answers fits into the context of the judge ${name}: use a judge with a longer ` +
        `one, or ${modelsAnswer(flags) ? 'lower --max-new-tokens' : 'give shorter completions'}.`,
    );
  if (left > 0) cli.progress.warn(`${left} pairs are too long for the judge: left out.`);
  const result = winRate(
    fitting.map((pair) => ({ ...pair, preference: (pair.first + pair.second) / 2 })),
  );
  // The answer in the first position is `after` where it is shown first, else `before`.
  const firstPosition = meanRate(fitting.map(({ first, second }) => (first + 1 - second) / 2));
  if (json) return printJson({ ...result, first_position: firstPosition });
  printLine(table(result, firstPosition));
}

function table(result: WinRate, firstPosition: Rate): string {
  const interval = ({ low, high }: Rate) => `${percent(low)} – ${percent(high)}`;
  const cells = (rate: Rate | null) => (rate ? [percent(rate.rate), interval(rate)] : ['', '']);
  const shown = (rate: Rate) => `${percent(rate.rate)} (${interval(rate)})`;
  const header = [
    'pairs',
    'win rate',
    '95 % interval',
    'equal length',
    '95 % interval',
    'characters',
    'longer preferred',
    'first preferred',
  ];
  return formatTable(header, [
    [
      String(result.prompts),
      ...cells(result.raw),
      ...cells(result.controlled),
      `${result.before_length.toFixed(0)} → ${result.after_length.toFixed(0)}`,
      result.longer_preferred === null ? '' : shown(result.longer_preferred),
      shown(firstPosition),
    ],
  ]);
}
