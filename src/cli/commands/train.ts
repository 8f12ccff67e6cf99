/**
 * `cream train`: preference pairs, our own or others → a trained model, by a consistency-
 * regularised loss.
 */
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import { PAIR_COLUMNS } from '../../data/columns.js';
import { readJsonl } from '../../data/jsonl.js';
import { describeLeftOut } from '../../data/bad-rows.js';
import { describeUnread } from '../../data/unread-columns.js';
import type { PreferenceRecord } from '../../data/preferences.js';
import type { Loaded } from '../../data/prompts.js';
import type { MismatchedRecord, PairRecord } from '../../data/records.js';
import type { Model } from '../../engine/model.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { Hold } from '../../run/held.js';
import { writeCard, type CardContent } from '../../run/card.js';
import { syncFolder } from '../../files/files.js';
import {
  choosePreferences,
  makeGivenPairs,
  scorePreferences,
} from '../../run/stages/given-pairs.js';
import { adapterOf } from '../../run/models.js';
import type { Recipe } from '../../run/recipe.js';
import { totalSteps, type StepRecord } from '../../run/stages/objective.js';
import { optimise } from '../../run/stages/optimise.js';
import { noteOn } from '../../run/stages/train-checkpoint.js';
import { mismatchedStage } from '../../run/stages/mismatched.js';
import { preferenceObjective } from '../../run/stages/train.js';
import { onDisk, writeRecords } from '../../run/store.js';
import { lossTitle } from '../../report/loss.js';
import { weightWarning } from '../../run/warnings.js';
import { trainingState } from '../../run/training-state.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ANSWER_KEYS, refuseIdle, settingsFrom, type Cli } from '../cli.js';
import { newFolder } from '../output.js';
import { readablePairs } from '../pairs.js';
import { readGivenRecords } from '../records.js';
import { digestOf, showStage, withModel } from '../stage.js';
import { printJson, printLine } from '../table.js';

const KEYS = [
  'model',
  ...ANSWER_KEYS,
  'lora.enabled',
  'lora.rank',
  'lora.alpha',
  'lora.dropout',
  'lora.target_modules',
  'score.max_num_batched_tokens',
  'pairs.columns',
  'pairs.on_bad_row',
];

interface Flags extends Record<string, unknown> {
  pairs: string;
  base?: string;
  out: string;
  json?: boolean;
}

/**
 * Pairs with token ids and reference log-probs, as `cream prefer` makes them; or preferences, which
 * the model still has to score.
 */
type Given = { pairs: PairRecord[] } | { preferences: Loaded<PreferenceRecord> };

export function addTrain(program: Command, cli: Cli): void {
  const command = program
    .command('train')
    .description('train a model on preference pairs')
    .requiredOption(
      '--pairs <file>',
      "JSONL of `cream prefer`, whose reference log-probs must be the model's; or " +
        'given preference pairs, which the model scores first',
    )
    .option(
      '--base <name>',
      'θ_0, for given pairs with --reference base or --kl-coefficient, and for --loss kto ' +
        'with --reference base [the model]',
    )
    .requiredOption(
      '-o, --out <dir>',
      'the trained model: a Hugging Face folder (with --lora-enabled true a PEFT folder), ' +
        'and steps.jsonl',
    )
    .option('--json', 'print the result as JSON');
  addSettings(command, KEYS, 'train').action(({ base, ...flags }: Flags) =>
    train({ ...flags, ...(base !== undefined && { base: modelOrCheckpoint(base) }) }, command, cli),
  );
}

async function train(flags: Flags, command: Command, cli: Cli): Promise<void> {
  const settings = settingsFrom(flags, KEYS, 'train', {
    more: [
      { label: '--pairs', key: 'pairs.source', value: flags.pairs, text: true },
      { label: '--pairs', key: 'iterations', value: '1' },
    ],
  });
  const out = await newFolder(flags.out);
  const given = await readGiven(flags.pairs, settings, cli);
  if ('pairs' in given) {
    const { loss, reference } = settings.train;
    const scoresBase = loss === 'kto' && reference === 'base';
    refuseIdle(
      command,
      ['columns', 'on-bad-row', 'system-prompt', ...(scoresBase ? [] : ['base'])],
      `on pairs that have token ids and log-probs already, as those of ${flags.pairs}`,
    );
  }
  const { model, dtype, device, seed, lora } = settings;
  const examples = 'pairs' in given ? given : { preferences: given.preferences.records };
  const plan = digestOf([model, flags.base, dtype, device, seed, settings.train, lora, examples]);
  const stateFolder = `${out}.training`;
  const unfinished = `${out}.unfinished`;
  const state = trainingState(stateFolder, plan, cli.signal);
  const last = await withModel(settings.model, settings, cli, async (language) => {
    const objective = await objectiveOf(given, language, flags, settings, cli);
    const adapter = adapterOf(settings);
    if (adapter && language.model.adapter === null) await language.model.addAdapter(adapter);
    const unsavedSteps = new Hold();
    cli.resumable = true;
    const { steps } = await showStage(
      cli,
      { stage: 'train', unit: 'steps', total: totalSteps(objective), done: await state.steps() },
      (hooks) =>
        optimise(language, objective, unfinished, state, {
          ...hooks,
          onStep: (step) => {
            unsavedSteps.begin();
            cli.progress.showStep(step);
          },
        }).finally(() => unsavedSteps.end()),
      (result) => noteOn(result.steps),
    );
    await writeRecords(join(unfinished, 'steps.jsonl'), steps);
    await writeCard(unfinished, cardOf(settings, flags.pairs, steps));
    await onDisk(out, async () => {
      await rename(unfinished, out);
      await syncFolder(dirname(out));
    });
    await rm(stateFolder, { recursive: true, force: true });
    return steps.at(-1)!;
  });
  if (flags.json) printJson({ directory: out, last_step: last });
  else printLine(out);
}

/** The pairs with what the loss needs of them, scored by `language` before it is trained. */
async function objectiveOf(
  given: Given,
  language: LanguageModel,
  flags: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<ReturnType<typeof preferenceObjective>> {
  const warn = (message: string) => cli.progress.warn(message);
  const pairs =
    'pairs' in given
      ? given.pairs
      : await scored(given.preferences, language, flags, settings, cli);
  const weights = weightWarning(pairs, 'pairs' in given ? 'ranked' : 'given');
  if (weights !== undefined) warn(weights);
  const mismatched =
    settings.train.loss === 'kto'
      ? await scoredMismatched(pairs, language, flags, settings, cli)
      : [];
  return preferenceObjective({ pairs, mismatched }, settings, [settings.seed, 'train'], warn);
}

function cardOf(recipe: Recipe, pairs: string, steps: readonly StepRecord[]): CardContent {
  const last = steps.at(-1)!;
  const quoted = (text: string) => (/^[\w./:=@-]+$/.test(text) ? text : JSON.stringify(text));
  return {
    title: `${recipe.model} trained on ${basename(pairs)}`,
    recipe,
    method: `${lossTitle(recipe.train.loss)} on given preference pairs.`,
    command: `npx cream ${process.argv.slice(2).map(quoted).join(' ')}`,
    training: [
      ['steps', String(steps.length)],
      ['loss, last step', last.loss.toFixed(4)],
      ['reward margin, last step', (last['rewards/margins'] ?? 0).toFixed(4)],
    ],
  };
}

async function readGiven(path: string, settings: Recipe, cli: Cli): Promise<Given> {
  const ours =
    /\.jsonl$/i.test(path) &&
    (await readJsonl(path)).every(({ value }) => value.prompt_token_ids !== undefined);
  if (ours) return { pairs: await readGivenRecords(path, PAIR_COLUMNS, cli) };
  const preferences = await choosePreferences({
    ...settings,
    pairs: { ...settings.pairs, source: path },
  });
  for (const sentence of [describeLeftOut(path, preferences), describeUnread(path, preferences)])
    if (sentence !== undefined) cli.progress.warn(sentence);
  return { preferences };
}

/** Pairs with the model's own log-probs as reference, and those of the base model if it differs. */
async function scored(
  loaded: Loaded<PreferenceRecord>,
  language: LanguageModel,
  { base: name, pairs: source }: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<PairRecord[]> {
  const onBadRow = settings.pairs.on_bad_row;
  const reading = { source, onBadRow, use: 'preferences' } as const;
  const preferences = await readablePairs(loaded, language, reading, cli);
  const current = language.model;
  const total = preferences.length * 2;
  const work = (base: Model) =>
    showStage(cli, { stage: 'score', unit: 'completions', total }, (hooks) =>
      scorePreferences(
        preferences,
        language,
        { current, previous: current, base },
        settings.score,
        hooks,
      ),
    );
  const scores =
    name === undefined
      ? await work(current)
      : await withModel(name, settings, cli, (base) => work(base.model));
  return makeGivenPairs(preferences, scores, language, cli.signal);
}

/**
 * KTO's mismatched completions under the reference: the model before training, or θ_0. They are
 * computed again where a stopped training goes on.
 */
function scoredMismatched(
  pairs: readonly PairRecord[],
  language: LanguageModel,
  { base: name }: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<MismatchedRecord[]> {
  const work = (reference: Model) => {
    const stage = mismatchedStage(
      pairs,
      [settings.seed, 'train'],
      () => Promise.resolve(reference),
      settings.score,
    );
    const total = pairs.length * 2;
    return showStage(cli, { stage: 'score', unit: stage.unit, total }, (hooks) =>
      stage.make(pairs, hooks),
    );
  };
  return settings.train.reference === 'base' && name !== undefined
    ? withModel(name, settings, cli, (base) => work(base.model))
    : work(language.model);
}
