/** Ranked samples of one iteration: a few prompts to read, and how often the model's own choice was right. */
import { builtinById } from '../data/builtin.js';
import type { Choice, Message } from '../data/records.js';
import { isCorrect } from '../evaluate/answer.js';
import { conversationText, numbers, number, string, type Row, type RunFolder } from './read.js';

/** Prompts shown of an iteration. */
const SHOWN = 6;

export interface RankedSample {
  sample: number;
  text: string;
  tokens: number;
  rewardCurrent: number;
  rewardPrevious: number;
  rankCurrent: number;
  rankPrevious: number;
  /** Whether it gives the known answer; null where none is known. */
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

interface Question {
  answer?: string;
  choices?: Choice[];
}

export interface RankedPrompts {
  examples: RankedPrompt[];
  rightness: { pairs: number; chosen: number; rejected: number } | null;
}

/** Joins rankings, prompts, completions and pairs of one iteration by id; rows that lack their partner are left out. */
export function rankedPrompts(folder: RunFolder, name: string, rankings: readonly Row[]): RankedPrompts {
  const shown = new Set(chooseExamples(rankings));
  const questions = knownQuestions(folder, name);
  const roles = new Map(folder.rows(`${name}/pairs.jsonl`, (row) => {
    const id = string(row, 'prompt_id');
    return id === undefined ? undefined : ([id, { chosen: number(row, 'chosen_sample'), rejected: number(row, 'rejected_sample') }] as const);
  }));
  const completions = new Map<string, { text: string; tokens: number; prompt: string }>();
  const right = { pairs: 0, chosen: 0, rejected: 0 };
  folder.rows(`${name}/completions.jsonl`, (row) => {
    const id = string(row, 'prompt_id'), sample = number(row, 'sample'), text = string(row, 'completion');
    if (id === undefined || sample === undefined || text === undefined) return undefined;
    const role = roleOf(roles.get(id), sample), question = questions.get(id);
    if (role && question?.answer !== undefined) {
      if (role === 'chosen') right.pairs++;
      if (isCorrect(question, text)) right[role]++;
    }
    if (shown.has(id)) completions.set(`${sample} ${id}`, { text, tokens: Array.isArray(row.token_ids) ? row.token_ids.length : 0, prompt: conversationText(row.prompt) });
    return true;
  });
  const examples = rankings.flatMap((row) => (shown.has(string(row, 'prompt_id')!) ? (rankedPrompt(row, questions, roles, completions) ?? []) : []));
  return { examples: examples.sort((a, b) => b.consistency - a.consistency), rightness: right.pairs === 0 ? null : right };
}

/**
 * Answers known for the prompts. The run leaves them out of prompts.jsonl, as training must not see them; those of built-in prompts are
 * made anew here, where the text is still the same.
 */
function knownQuestions(folder: RunFolder, name: string): Map<string, Question> {
  const asked = (prompt: unknown) => (Array.isArray(prompt) ? ((prompt as Partial<Message>[]).at(-1)?.content ?? '') : '');
  const prompts = folder.rows(`${name}/prompts.jsonl`, (row) => {
    const id = string(row, 'id');
    return id === undefined ? undefined : { id, question: questionOf(row), asked: asked(row.prompt) };
  });
  const builtin = builtinById(prompts.map(({ id }) => id));
  return new Map(prompts.map(({ id, question, asked: text }) => {
    const known = builtin.get(id);
    return [id, question.answer === undefined && known && asked(known.prompt) === text ? known : question];
  }));
}

/** Prompts spread evenly from the highest C to the lowest, so that agreement and disagreement can both be read. */
function chooseExamples(rankings: readonly Row[]): string[] {
  const ordered = rankings
    .filter((row) => (numbers(row, 'samples')?.length ?? 0) > 1)
    .map((row, index) => ({ id: string(row, 'prompt_id')!, c: number(row, 'consistency') ?? 0, index }))
    .sort((a, b) => b.c - a.c || a.index - b.index);
  const count = Math.min(SHOWN, ordered.length);
  return Array.from({ length: count }, (_, i) => ordered[count === 1 ? 0 : Math.round((i * (ordered.length - 1)) / (count - 1))]!.id);
}

function rankedPrompt(
  row: Row, questions: ReadonlyMap<string, Question>, roles: ReadonlyMap<string, { chosen?: number | undefined; rejected?: number | undefined }>,
  completions: ReadonlyMap<string, { text: string; tokens: number; prompt: string }>,
): RankedPrompt | undefined {
  const id = string(row, 'prompt_id')!, question = questions.get(id) ?? {};
  const columns = ['samples', 'reward_current', 'reward_previous', 'rank_current', 'rank_previous'].map((column) => numbers(row, column));
  const [samples, rewardCurrent, rewardPrevious, rankCurrent, rankPrevious] = columns;
  if (!samples || columns.some((column) => column?.length !== samples.length)) return undefined;
  const joined = samples.flatMap((sample, i): RankedSample[] => {
    const completion = completions.get(`${sample} ${id}`);
    if (!completion) return [];
    return [{
      sample, text: completion.text, tokens: completion.tokens,
      rewardCurrent: rewardCurrent![i]!, rewardPrevious: rewardPrevious![i]!, rankCurrent: rankCurrent![i]!, rankPrevious: rankPrevious![i]!,
      correct: question.answer === undefined ? null : isCorrect(question, completion.text),
      role: roleOf(roles.get(id), sample),
    }];
  });
  return {
    id, prompt: completions.get(`${samples[0]} ${id}`)?.prompt ?? '', answer: question.answer ?? null, consistency: number(row, 'consistency') ?? 0,
    skipped: string(row, 'skipped') ?? null, samples: joined.sort((a, b) => a.rankCurrent - b.rankCurrent),
  };
}

function roleOf(pair: { chosen?: number | undefined; rejected?: number | undefined } | undefined, sample: number): RankedSample['role'] {
  return pair?.chosen === sample ? 'chosen' : pair?.rejected === sample ? 'rejected' : null;
}

function questionOf(row: Row): Question {
  const answer = string(row, 'answer');
  const choices = Array.isArray(row.choices) ? (row.choices as Choice[]).filter((c) => typeof c?.label === 'string' && typeof c.text === 'string') : [];
  return { ...(answer !== undefined && { answer }), ...(choices.length > 1 && { choices }) };
}
