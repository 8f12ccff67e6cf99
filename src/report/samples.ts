/** Ranked samples of one iteration: a few prompts to read. */
import { builtinById } from '../data/builtin.js';
import { sampleKey } from '../data/group.js';
import type {
  CompletionRecord,
  GoldRecord,
  Message,
  PairRecord,
  PromptRecord,
  RankingRecord,
} from '../data/records.js';
import { isCorrect, type Known } from '../evaluate/answer.js';
import { conversationText, type RunFolder } from './read.js';

/** Prompts of an iteration that are shown if there are many. */
export const EXAMPLES = 6;

export interface RankedSample {
  sample: number;
  text: string;
  tokens: number;
  rewardCurrent: number;
  rewardPrevious: number;
  rankCurrent: number;
  rankPrevious: number;
  /** Whether it gives the known answer; null if none is known. */
  correct: boolean | null;
  role: 'chosen' | 'rejected' | null;
}

export interface RankedPrompt {
  id: string;
  prompt: string;
  answer: string | null;
  consistency: number;
  skipped: string | null;
  /** Best first. */
  samples: RankedSample[];
}

type Pair = Pick<PairRecord, 'prompt_id' | 'chosen_sample' | 'rejected_sample'>;

export interface RankedPromptsOf {
  folder: RunFolder;
  /** The iteration's folder. */
  name: string;
  rankings: readonly RankingRecord[];
  pairs: readonly Pair[];
  questions: ReadonlyMap<string, Known>;
  /** Maximum number of prompts. */
  count: number;
}

/**
 * Joins rankings, completions and pairs of one iteration by id; rows without a partner are left
 * out.
 */
export function rankedPrompts({
  folder,
  name,
  rankings,
  pairs,
  questions,
  count,
}: RankedPromptsOf): RankedPrompt[] {
  const shown = new Map(
    chooseExamples(rankings, count).map((ranking) => [ranking.prompt_id, ranking]),
  );
  const roles = new Map(pairs.map((pair) => [pair.prompt_id, pair]));
  const completions = new Map<string, Shown>();
  const add = ({ prompt_id, sample, completion, token_ids, prompt }: CompletionRecord) => {
    if (shown.has(prompt_id))
      completions.set(sampleKey({ prompt_id, sample }), {
        text: completion,
        tokens: token_ids.length,
        prompt: conversationText(prompt),
      });
    return true;
  };
  // Completions of other models are in folders of their own (`temporal`).
  for (const part of ['', 'initial/', 'future/'])
    folder.records(name, `${part}completions.jsonl`, add);
  return [...shown.values()]
    .map((ranking) =>
      rankedPrompt(
        ranking,
        questions.get(ranking.prompt_id),
        roles.get(ranking.prompt_id),
        completions,
      ),
    )
    .sort((a, b) => b.consistency - a.consistency);
}

/**
 * Known answers of the prompts, from gold.jsonl, because prompts.jsonl does not contain them
 * (training must not see them). If that file is missing, answers of built-in prompts are generated
 * again, provided that the text is still the same.
 */
export function knownQuestions(folder: RunFolder, name: string): Map<string, Known> {
  const gold = folder.records<GoldRecord>(name, 'gold.jsonl');
  if (gold.length > 0) return new Map(gold.map((record) => [record.id, record]));
  const asked = (prompt: readonly Message[]) => prompt.at(-1)?.content ?? '';
  const prompts = folder.records<PromptRecord>(name, 'prompts.jsonl');
  const builtin = builtinById(prompts.map(({ id }) => id));
  return new Map(
    prompts.map((prompt) => {
      const known = builtin.get(prompt.id);
      return [
        prompt.id,
        prompt.answer === undefined && known && asked(known.prompt) === asked(prompt.prompt)
          ? known
          : prompt,
      ];
    }),
  );
}

interface Shown {
  text: string;
  tokens: number;
  prompt: string;
}

/**
 * Prompts spread evenly from the highest C to the lowest, so that both agreement and disagreement
 * are shown.
 */
function chooseExamples(rankings: readonly RankingRecord[], most: number): RankingRecord[] {
  const ordered = rankings
    .filter(
      ({ samples, ...columns }) =>
        samples.length > 1 && PARALLEL.every((column) => columns[column].length === samples.length),
    )
    .map((ranking, index) => ({ ranking, index }))
    .sort((a, b) => b.ranking.consistency - a.ranking.consistency || a.index - b.index);
  return spread(ordered, most).map(({ ranking }) => ranking);
}

/** At most `most` of the items, evenly spread from the first to the last. */
export function spread<T>(items: readonly T[], most: number): T[] {
  const count = Math.min(most, items.length);
  return Array.from(
    { length: count },
    (_, i) => items[count === 1 ? 0 : Math.round((i * (items.length - 1)) / (count - 1))]!,
  );
}

const PARALLEL = ['reward_current', 'reward_previous', 'rank_current', 'rank_previous'] as const;

function rankedPrompt(
  ranking: RankingRecord,
  question: Known | undefined,
  pair: Pair | undefined,
  completions: ReadonlyMap<string, Shown>,
): RankedPrompt {
  const { prompt_id: id, samples, consistency, skipped } = ranking;
  const joined = samples.flatMap((sample, i): RankedSample[] => {
    const completion = completions.get(sampleKey({ prompt_id: id, sample }));
    if (!completion) return [];
    return [
      {
        sample,
        text: completion.text,
        tokens: completion.tokens,
        rewardCurrent: ranking.reward_current[i]!,
        rewardPrevious: ranking.reward_previous[i]!,
        rankCurrent: ranking.rank_current[i]!,
        rankPrevious: ranking.rank_previous[i]!,
        correct: question?.answer === undefined ? null : isCorrect(question, completion.text),
        role:
          pair?.chosen_sample === sample
            ? 'chosen'
            : pair?.rejected_sample === sample
              ? 'rejected'
              : null,
      },
    ];
  });
  return {
    id,
    prompt: completions.get(`${samples[0]} ${id}`)?.prompt ?? '',
    answer: question?.answer ?? null,
    consistency,
    skipped: skipped ?? null,
    samples: joined.sort((a, b) => a.rankCurrent - b.rankCurrent),
  };
}
