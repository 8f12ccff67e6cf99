/**
 * Multiple choice by log-likelihood: the choice whose text the model finds most likely after the
 * question, as lm-evaluation-harness 0.4.13 measures it, item by item.
 *
 *   acc        argmax_i log P(" " + choice_i | stem)
 *   acc_norm   argmax_i log P(" " + choice_i | stem) / |choice_i|, |·| in characters (code points;
 *              not bytes, not tokens, without the space)
 *
 * A task may have one stem per choice and one continuation for all (WinoGrande; then without
 * acc_norm), or count the share of the probability that several right choices get (TruthfulQA's
 * mc2).
 *
 * Among equal choices the first counts. Each task has its own stem. The chat template is used only
 * on request, and then the choice follows the generation prompt without a space. The begin-of-text
 * token is added as the tokenizer does, unless the text begins with it already. The choices of one
 * question share its context, which is computed once.
 */
import { DataError } from '../data/jsonl.js';
import type { AnswerRecord, Choice } from '../data/records.js';
import { strip } from '../data/white-space.js';
import type { WorkHooks } from '../lm/hooks.js';
import type { LanguageModel } from '../lm/language-model.js';
import { textInSlices } from '../lm/sliced.js';
import { mapInSlices, Slices } from '../lm/slices.js';
import type { Question } from './task.js';

export interface LoglikelihoodSettings {
  /** Formats the question with the model's chat template. */
  chat: boolean;
  /** Tokens of one scoring pass. */
  max_num_batched_tokens: number | 'auto';
}

/** A choice as passed to the model: the tokens before it and its own tokens. */
export interface EncodedChoice {
  context: number[];
  continuation: number[];
}

/**
 * Answers in the order of `questions`. Progress counts questions. @throws DataError naming a
 * question that has no bare text or no choices.
 */
export async function answerByLikelihood(
  questions: readonly Question[],
  policy: LanguageModel,
  settings: LoglikelihoodSettings,
  hooks: WorkHooks,
): Promise<AnswerRecord[]> {
  const most = policy.model.config.maxPositionEmbeddings;
  const encoded = await mapInSlices(
    questions,
    (question, slices) => encodeChoices(question, policy, { ...settings, most }, slices),
    hooks.signal,
  );
  const shared = encoded.map(sharedContexts);
  const groups = shared.flat().map(({ context, members }) => ({
    prompt: context,
    completions: members.map(({ continuation }) => continuation),
  }));
  const choices = encoded.flat().length;
  const { sums } = await policy.model.score(
    { groups, maxNumBatchedTokens: settings.max_num_batched_tokens },
    {
      signal: hooks.signal,
      onProgress: ({ done, tokens }) =>
        hooks.progress(Math.floor((done / Math.max(1, choices)) * questions.length), tokens),
    },
  );
  let next = 0;
  return questions.map((question, q) => {
    const logps = new Array<number>(encoded[q]!.length);
    for (const { members } of shared[q]!)
      for (const { index } of members) logps[index] = sums[next++]!;
    return gradeChoices(
      question,
      logps,
      encoded[q]!.reduce((sum, { continuation }) => sum + continuation.length, 0),
    );
  });
}

/** The record of one question from the log-probs of its choices. */
export function gradeChoices(
  question: Question,
  logps: readonly number[],
  tokens: number,
): AnswerRecord {
  const choices = question.choices!;
  const best = choices[argmax(logps)]!.label;
  const answer = {
    prompt_id: question.id,
    task: question.task,
    completion: '',
    extracted: best,
    answer: question.answer,
    correct: best === question.answer,
    tokens,
    choice_logps: [...logps],
  };
  if (question.right) {
    const score = probabilityOf(question.right, choices, logps);
    return { ...answer, answer: question.right.join(', '), correct: score > 0.5, score };
  }
  if (Array.isArray(question.stem)) return answer;
  const bestNorm =
    choices[argmax(logps.map((logp, i) => logp / [...choices[i]!.text].length))]!.label;
  return { ...answer, extracted_norm: bestNorm, correct_norm: bestNorm === question.answer };
}

/** The total probability share of the choices that are labelled `right`. */
function probabilityOf(
  right: readonly string[],
  choices: readonly Choice[],
  logps: readonly number[],
): number {
  const most = Math.max(...logps);
  const weights = logps.map((logp) => Math.exp(logp - most));
  const sum = (of: readonly number[]) => of.reduce((total, weight) => total + weight, 0);
  return sum(weights.filter((_, i) => right.includes(choices[i]!.label))) / sum(weights);
}

/** @throws DataError for a question that has no bare text, or no choices. */
export function checkComparable(
  question: Question,
): asserts question is Question & Required<Pick<Question, 'choices' | 'stem'>> {
  const { choices, stem, id, task } = question;
  if (!choices || stem === undefined)
    throw new DataError(
      `the question ${JSON.stringify(id)} of ${task} has no ` +
        `${choices ? 'column "question" without earlier turns' : 'choices'} to compare by ` +
        'log-likelihood; use the method generate for it',
    );
}

/**
 * Each choice of a question after its context, cut from the left if both together exceed the
 * model's context.
 */
export async function encodeChoices(
  question: Question,
  language: LanguageModel,
  { chat, most }: { chat: boolean; most: number },
  slices = new Slices(),
): Promise<EncodedChoice[]> {
  checkComparable(question);
  const { choices, stem, id, task } = question;
  const stems = typeof stem === 'string' ? choices.map(() => stem) : stem;
  const delimiter = chat ? '' : ' ';
  const encoded: EncodedChoice[] = [];
  for (const [i, { label, text }] of choices.entries()) {
    const context = chat ? chatContext(question, stems[i]!, language) : stems[i]!;
    const continuation = delimiter + (question.continuation ?? text);
    const pair = await encodePair(context, continuation, (all) => encode(all, language, slices));
    if (pair.continuation.length === 0)
      throw new DataError(
        `the choice ${label} of question ${JSON.stringify(id)} of ${task} is empty for ` +
          'this tokenizer: remove the row',
      );
    if (pair.continuation.length > most)
      throw new DataError(
        `the choice ${label} of question ${JSON.stringify(id)} of ${task} has ` +
          `${pair.continuation.length} tokens and the model's context holds ${most}: ` +
          'remove the row',
      );
    // The last token is scored but never read, so one more than the context fits.
    const space = most + 1 - pair.continuation.length;
    encoded.push({
      context: pair.context.slice(Math.max(0, pair.context.length - space)),
      continuation: pair.continuation,
    });
  }
  return encoded;
}

/**
 * Tokens of a context and of its continuation. White space at the end of the context goes to the
 * continuation, so that a word keeps its leading space; both are encoded together and cut where the
 * context alone would end, because a tokenizer may join tokens across the boundary.
 */
export async function encodePair(
  context: string,
  continuation: string,
  tokens: (text: string) => Promise<number[]>,
): Promise<EncodedChoice> {
  const before = await tokens(strip(context, 'right'));
  const whole = await tokens(context + continuation);
  return { context: before, continuation: whole.slice(before.length) };
}

function encode(text: string, language: LanguageModel, slices: Slices): Promise<number[]> {
  const { bos_token, eos_token } = language.tokenizer.specialTokens;
  const first = bos_token ?? eos_token;
  const addSpecialTokens = first === undefined || !text.startsWith(first);
  return textInSlices(language, text, slices, addSpecialTokens);
}

function chatContext(
  { prompt }: Question,
  stem: string,
  { chatTemplate, source }: LanguageModel,
): string {
  if (!chatTemplate)
    throw new DataError(
      `${source.name} has no chat template: leave apply_chat_template out, or set it to false`,
    );
  return chatTemplate.render(
    chatTemplate.fit([
      ...prompt.filter(({ role }) => role === 'system'),
      { role: 'user', content: stem },
    ]),
    { addGenerationPrompt: true },
  );
}

/**
 * Groups the choices of one question by equal context: cutting from the left can make contexts
 * differ.
 */
function sharedContexts(
  choices: readonly EncodedChoice[],
): { context: number[]; members: { index: number; continuation: number[] }[] }[] {
  const groups = new Map<
    string,
    { context: number[]; members: { index: number; continuation: number[] }[] }
  >();
  choices.forEach(({ context, continuation }, index) => {
    const key = context.join(' ');
    const group = groups.get(key) ?? { context, members: [] };
    group.members.push({ index, continuation });
    groups.set(key, group);
  });
  return [...groups.values()];
}

const argmax = (values: readonly number[]): number =>
  values.reduce((best, value, i) => (value > values[best]! ? i : best), 0);
