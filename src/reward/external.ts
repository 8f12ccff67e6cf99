/**
 * Rewards from outside the policy: a file of scores, or a function of the calling program. Each
 * completion gets exactly one finite number; errors name the row or the prompt.
 */
import { columnList, DataError, describe } from '../data/jsonl.js';
import type { CompletionRecord, ExternalRewardRecord, Message } from '../data/records.js';

/** A completion as it is passed to a reward function. */
export interface RewardItem {
  /** Id of the prompt. */
  prompt_id: string;
  /** Number of the sample, from 0. */
  sample: number;
  /** The messages that the completion continues. */
  prompt: Message[];
  /** The text, without special tokens. */
  completion: string;
}

/**
 * Returns the rewards of a batch: one finite number per completion, in the order of the batch;
 * higher is better. A batch has all completions of one or more prompts.
 */
export type RewardFunction = (batch: readonly RewardItem[]) => Rewards | Promise<Rewards>;
type Rewards = readonly (number | bigint)[];

/**
 * Calls the reward function on copies of all completions, which it may change. @throws DataError if
 * it throws, or does not return one finite number per completion.
 */
export async function callRewards(
  rewards: RewardFunction,
  completions: readonly CompletionRecord[],
): Promise<ExternalRewardRecord[]> {
  const batch = completions.map(({ prompt_id, sample, prompt, completion }) => ({
    prompt_id,
    sample,
    prompt: prompt.map((message) => ({ ...message })),
    completion,
  }));
  let values: unknown;
  try {
    values = await rewards(batch);
  } catch (cause) {
    const first = completions[0]?.prompt_id;
    const why = cause instanceof Error ? cause.message : describe(cause);
    throw new DataError(
      `the reward function failed on the ${completions.length} completions that begin with ` +
        `prompt ${JSON.stringify(first)}: ${why}`,
      { cause },
    );
  }
  const isTyped = ArrayBuffer.isView(values) && 'length' in values; // a DataView has none
  if (!Array.isArray(values) && !isTyped)
    throw new DataError(
      'the reward function must return a list of numbers, but returned ' +
        (values === undefined ? 'nothing' : describe(values)),
    );
  return fromValues(values as ArrayLike<unknown>, completions, 'the reward function');
}

/**
 * Makes records of one number per completion, in the order of `completions`. @throws DataError
 * naming a completion without a finite number.
 */
export function fromValues(
  values: ArrayLike<unknown>,
  completions: readonly CompletionRecord[],
  by: string,
): ExternalRewardRecord[] {
  if (values.length !== completions.length)
    throw new DataError(
      `${by} must give one number for each of ${completions.length} completions, but gave ` +
        `${values.length}`,
    );
  return completions.map(({ prompt_id, sample }, i) => {
    const given = values[i];
    const reward = typeof given === 'bigint' ? Number(given) : given;
    if (!Number.isFinite(reward))
      throw new DataError(
        `${by} gave ${typeof reward === 'number' ? reward : describe(reward)} for sample ` +
          `${sample} of prompt ${JSON.stringify(prompt_id)}; a reward is a finite number`,
      );
    return { prompt_id, sample, reward: reward as number };
  });
}

/** A row of a scores file; `where` names it in messages, as file and line. */
export interface ScoresRow {
  value: unknown;
  where: string;
}

/**
 * Joins the rows of a scores file to the completions; the result has the order of `completions`. A
 * row has the columns `prompt_id` (or `id`); `sample` (the completion's number) or `completion`
 * (its text, which stands for every sample with that text); and `reward`. `reward_previous`, from a
 * second reward source, is in every row or in none.
 * @throws DataError for a row of an unknown prompt or completion, a reward that is not a finite
 *   number, and a completion with two rewards or with none.
 */
export function joinRewards(
  rows: readonly ScoresRow[],
  completions: readonly CompletionRecord[],
  file: string,
): ExternalRewardRecord[] {
  const byPrompt = new Map<string, CompletionRecord[]>();
  for (const completion of completions)
    byPrompt.set(completion.prompt_id, [...(byPrompt.get(completion.prompt_id) ?? []), completion]);
  const found = new Map<CompletionRecord, { record: ExternalRewardRecord; where: string }>();
  const second = rows.some(({ value }) => isRow(value) && given(value.reward_previous));
  for (const row of rows) {
    const { where } = row;
    const { prompt_id, value, named } = nameOf(row);
    const samples = byPrompt.get(prompt_id);
    if (!samples)
      throw new DataError(
        `${where}: there is no prompt ${JSON.stringify(prompt_id)} among the completions; ` +
          'these scores seem to belong to other prompts',
      );
    const meant = samples.filter(named.is);
    if (meant.length === 0)
      throw new DataError(
        `${where}: prompt ${JSON.stringify(prompt_id)} has no ${named.text}; its samples ` +
          `are ${samples.map(({ sample }) => sample).join(', ')}`,
      );
    const reward = number(row, value, 'reward');
    const previous = second ? { reward_previous: number(row, value, 'reward_previous') } : {};
    for (const completion of meant) {
      const before = found.get(completion);
      // Duplicate texts may each come with their own row, as long as the rows agree.
      if (before && (named.exactly || before.record.reward !== reward))
        throw new DataError(
          `${where}: sample ${completion.sample} of prompt ${JSON.stringify(prompt_id)} ` +
            `has a reward already (${before.where}); give each completion one`,
        );
      found.set(completion, {
        record: { prompt_id, sample: completion.sample, reward, ...previous },
        where,
      });
    }
  }
  const missing = completions.filter((completion) => !found.has(completion));
  if (missing.length > 0)
    throw new DataError(
      `${file} has no reward for sample ${missing[0]!.sample} of prompt ` +
        JSON.stringify(missing[0]!.prompt_id) +
        (missing.length > 1 ? ` and ${missing.length - 1} more` : '') +
        '; every completion needs one',
    );
  return completions.map((completion) => found.get(completion)!.record);
}

type Row = Record<string, unknown>;
const isRow = (value: unknown): value is Row =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const given = (value: unknown): boolean => value !== undefined && value !== null;

interface Named {
  is: (completion: CompletionRecord) => boolean;
  text: string;
  /** Whether the row names one sample by its number; a second row for it is then an error. */
  exactly: boolean;
}

function nameOf({ value, where }: ScoresRow): { prompt_id: string; value: Row; named: Named } {
  if (!isRow(value))
    throw new DataError(
      `${where}: the row is ${describe(value)}; it must be an object with "prompt_id", ` +
        '"sample" or "completion", and "reward"',
    );
  const id = value.prompt_id ?? value.id;
  if (typeof id !== 'string' && typeof id !== 'number')
    throw new DataError(
      `${where}: column "prompt_id" (or "id") is missing; the row has ${columnList(value)}`,
    );
  const sample = typeof value.sample === 'bigint' ? Number(value.sample) : value.sample;
  if (given(sample)) {
    if (!Number.isSafeInteger(sample))
      throw new DataError(
        `${where}: column "sample" must be a whole number, but is ${describe(sample)}`,
      );
    return {
      prompt_id: String(id),
      value,
      named: {
        is: (completion) => completion.sample === sample,
        text: `sample ${String(sample)}`,
        exactly: true,
      },
    };
  }
  const text = value.completion;
  if (typeof text !== 'string')
    throw new DataError(
      `${where}: which completion of prompt ${JSON.stringify(id)} is meant? Give "sample" ` +
        `(its number) or "completion" (its text); the row has ${columnList(value)}`,
    );
  return {
    prompt_id: String(id),
    value,
    named: {
      is: ({ completion }) => completion === text,
      text: `completion ${describe(text)}`,
      exactly: false,
    },
  };
}

function number({ where }: ScoresRow, value: Row, column: string): number {
  const raw = value[column];
  if (!Number.isFinite(raw))
    throw new DataError(
      `${where}: column "${column}" must be a finite number, but is ` +
        `${typeof raw === 'number' ? raw : describe(raw)}`,
    );
  return raw as number;
}
