/**
 * DPO on given preference pairs (`pairs.source`): an iteration without sampling and ranking. The
 * pairs' responses are scored by θ_t, which is the reference, and by θ_0; then they are learnt like
 * any others.
 */
import { existsSync } from 'node:fs';
import { loadPreferences, type PreferenceRecord } from '../data/preferences.js';
import type { Message, PairRecord, ScoreRecord } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import type { RunContext } from './context.js';
import { withSystem } from './data.js';
import { RunError } from './errors.js';
import { evaluateModel } from './evaluation.js';
import { trainOn } from './iteration.js';
import { shuffled } from './keys.js';
import type { Recipe } from './recipe.js';
import { score, type Judges } from './stages/score.js';
import type { StageHooks } from './stages/stage.js';
import { readRecords, writeRecords } from './store.js';

export async function learnGivenPairs(run: RunContext, t: number): Promise<void> {
  const preferences = await preferencesOf(run, t);
  const pairs = await pairsOf(run, t, preferences); // log π under θ_t and θ_0
  await trainOn(run, t, pairs); // θ_t → θ_{t+1}
  await evaluateModel(run, t, t + 1);
}

export interface ChosenPreferences {
  preferences: PreferenceRecord[];
  /** What was left out and why, in a sentence; none where all rows are used. */
  warning?: string;
  /** File and line of each pair, by id. */
  places: ReadonlyMap<string, string>;
}

/**
 * The preferences that the recipe names, in the order of its seed where it takes a part of them.
 */
export async function choosePreferences({
  seed,
  system_prompt: system,
  pairs: { source, columns, count },
}: Pick<Recipe, 'seed' | 'system_prompt' | 'pairs'>): Promise<ChosenPreferences> {
  const { records, duplicates, skipped, places } = await loadPreferences(source!, { columns });
  if (count > records.length)
    throw new RunError(
      'ERR_RUN_DATA',
      `${source} holds ${records.length} pairs and the recipe asks for ${count}: lower ` +
        'pairs.count, or set it to 0 for all.',
    );
  const chosen =
    count === 0 ? records : shuffled(records, ({ id }) => id, seed, 'pairs').slice(0, count);
  const left = [
    duplicates > 0 && `${duplicates} that repeat another`,
    skipped.length > 0 && `${skipped.length} that teach nothing (${skipped[0]!.reason})`,
  ].filter(Boolean);
  return {
    preferences: chosen.map((record) => ({ ...record, prompt: withSystem(record.prompt, system) })),
    places,
    ...(left.length > 0 && { warning: `${source}: rows left out: ${left.join(', ')}.` }),
  };
}

async function preferencesOf(run: RunContext, t: number): Promise<PreferenceRecord[]> {
  const path = run.file(t, 'preferences.jsonl');
  if (existsSync(path)) return readRecords(path);
  const { preferences, warning } = await choosePreferences(run.recipe);
  if (warning !== undefined) run.emit({ type: 'warning', message: warning });
  await writeRecords(path, preferences);
  return preferences;
}

async function pairsOf(
  run: RunContext,
  t: number,
  preferences: PreferenceRecord[],
): Promise<PairRecord[]> {
  const of = { phase: t, stage: 'score' } as const;
  const path = run.file(t, 'pairs.jsonl');
  if (existsSync(path)) return run.kept(of, path);
  const language = await run.models.policy(run.checkpoint(t));
  const settings = run.recipe.score;
  const scores = await run.blocks<PreferenceRecord, ScoreRecord>(of, {
    path: run.file(t, 'scores.jsonl'),
    items: preferences,
    size: settings.save_prompts,
    unit: 'completions',
    perItem: 2,
    make: async (block, hooks) => {
      const current = await run.models.model(run.checkpoint(t));
      const base = await run.models.model(run.checkpoint(0));
      return scorePreferences(
        block,
        language,
        { current, previous: current, base },
        settings,
        hooks,
      );
    },
  });
  const pairs = makeGivenPairs(preferences, scores, language);
  await writeRecords(path, pairs);
  return pairs;
}

/** A preference as token ids. */
function encode(
  { id, prompt, chosen, rejected }: PreferenceRecord,
  language: LanguageModel,
): { prompt: number[]; chosen: number[]; rejected: number[] } {
  return {
    prompt: language.encodePrompt(prompt),
    chosen: encodeTurns(prompt, chosen, language, id),
    rejected: encodeTurns(prompt, rejected, language, id),
  };
}

/**
 * One answer as it is sampled, with its end of turn; several turns as the template writes them
 * behind the prompt, up to the last end of turn.
 */
function encodeTurns(
  prompt: Message[],
  turns: Message[],
  language: LanguageModel,
  id: string,
): number[] {
  if (turns.length === 1 || !language.chatTemplate)
    return language.encodeCompletion(turns.map(({ content }) => content).join('\n\n'));
  const template = language.chatTemplate;
  const start = template.fit(prompt);
  const before = template.render(start, { addGenerationPrompt: true });
  const whole = template.render([...start, ...turns], { addGenerationPrompt: false });
  const ids = whole.startsWith(before) ? language.tokenizer.encode(whole.slice(before.length)) : [];
  const end = ids.findLastIndex((token) => language.stopIds.includes(token));
  if (end < 0)
    throw new RunError(
      'ERR_RUN_DATA',
      `The pair ${JSON.stringify(id)} has an answer of ${turns.length} turns, which this ` +
        `model's chat template does not write behind the prompt as it stands: give one ` +
        'assistant turn.',
    );
  return ids.slice(0, end + 1);
}

/** Length in tokens of the longer of its two sequences. */
export function preferenceLength(preference: PreferenceRecord, language: LanguageModel): number {
  const { prompt, chosen, rejected } = encode(preference, language);
  return prompt.length + Math.max(chosen.length, rejected.length);
}

/** Scores of both responses of each preference: sample 0 is the chosen one, 1 the rejected. */
export function scorePreferences(
  preferences: readonly PreferenceRecord[],
  language: LanguageModel,
  judges: Judges,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: StageHooks,
): Promise<ScoreRecord[]> {
  const groups = preferences.map((preference) => {
    const ids = encode(preference, language);
    return [ids.chosen, ids.rejected].map((token_ids, sample) => ({
      prompt_id: preference.id,
      sample,
      prompt_token_ids: ids.prompt,
      token_ids,
    }));
  });
  return score(groups, judges, settings, hooks);
}

/**
 * Pairs with their reference log-probs. C is 1 unless the preference brings its own; the reward is
 * the label.
 */
export function makeGivenPairs(
  preferences: readonly PreferenceRecord[],
  scores: readonly ScoreRecord[],
  language: LanguageModel,
): PairRecord[] {
  const scoreOf = new Map(scores.map((record) => [`${record.sample} ${record.prompt_id}`, record]));
  return preferences.map((preference) => {
    const ids = encode(preference, language);
    const { id, prompt, chosen, rejected, consistency = 1 } = preference;
    const [better, worse] = [0, 1].map((sample) => scoreOf.get(`${sample} ${id}`)!) as [
      ScoreRecord,
      ScoreRecord,
    ];
    return {
      prompt_id: id,
      prompt,
      chosen,
      rejected,
      chosen_sample: 0,
      rejected_sample: 1,
      prompt_token_ids: ids.prompt,
      chosen_token_ids: ids.chosen,
      rejected_token_ids: ids.rejected,
      ref_chosen_logps: better.logp_current,
      ref_rejected_logps: worse.logp_current,
      base_chosen_logps: better.logp_base,
      base_rejected_logps: worse.logp_base,
      reward_chosen: 1,
      reward_rejected: 0,
      consistency,
      weight: consistency,
    };
  });
}
