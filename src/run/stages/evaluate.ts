/**
 * Evaluate: questions with known answers → graded answers, extracted from greedy decoding or chosen
 * by log-likelihood.
 */
import type { AnswerRecord } from '../../data/records.js';
import { accuracyOf, normalised, type Accuracy } from '../../evaluate/intervals.js';
import { answerByLikelihood } from '../../evaluate/loglikelihood.js';
import { grade, type Question } from '../../evaluate/task.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { promptInSlices, textInSlices } from '../../lm/sliced.js';
import { mapInSlices, type Slices } from '../../lm/slices.js';
import type { RunContext, WorkContext } from '../context.js';
import { promptKey } from '../keys.js';
import type { Recipe } from '../recipe.js';
import type { Phase } from '../store.js';
import { sequencesAtOnce, type BlockedStage } from './stage.js';

export interface EvaluateSettings extends Pick<
  Recipe['evaluate'],
  'method' | 'apply_chat_template' | 'max_new_tokens'
> {
  max_num_seqs: number | 'auto';
  max_num_batched_tokens: number | 'auto';
}

/** The settings that an answer depends on. */
export function evaluateSettings({
  evaluate: { method, apply_chat_template, max_new_tokens },
  sample: { max_num_seqs },
  score: { max_num_batched_tokens },
}: Recipe): EvaluateSettings {
  return { method, apply_chat_template, max_new_tokens, max_num_seqs, max_num_batched_tokens };
}

/** Evaluation as a stage: a block of questions → their answers. */
export function evaluateStage(
  questions: readonly Question[],
  policy: () => Promise<LanguageModel>,
  recipe: Recipe,
): BlockedStage<Question, AnswerRecord> {
  const settings = evaluateSettings(recipe);
  return {
    items: questions,
    size: recipe.evaluate.save_prompts,
    unit: 'questions',
    make: async (block, hooks) => evaluate(block, await policy(), settings, hooks),
    ...(settings.method === 'generate' && {
      atOnce: () => sequencesAtOnce(policy, settings.max_num_seqs),
    }),
    note: accuracyNote,
  };
}

/** Evaluates θ_n for `phase`; does nothing if the recipe has no tasks. */
export async function evaluateModel(run: RunContext, phase: Phase, n: number): Promise<void> {
  const questions = await run.inputs.questions();
  if (questions.length === 0) return;
  await run.blocks({ phase, stage: 'evaluate' }, 'answers.jsonl', evaluationOf(run, n, questions));
}

/** The evaluation of θ_n. */
export function evaluationOf(
  run: WorkContext,
  n: number,
  questions: readonly Question[],
): BlockedStage<Question, AnswerRecord> {
  const policy = () => run.models.policy(run.checkpoint(n));
  return {
    ...evaluateStage(questions, policy, run.recipe),
    work: () => Promise.resolve({ stage: 'evaluate', n }),
  };
}

function accuracyNote(answers: readonly AnswerRecord[]): string {
  const shown = ({ accuracy, low, high }: Accuracy) =>
    `${(accuracy * 100).toFixed(1)} % (${(low * 100).toFixed(1)} – ${(high * 100).toFixed(1)})`;
  const norm = normalised(answers);
  return (
    `accuracy ${shown(accuracyOf(answers))}` + (norm ? `, length-normalised ${shown(norm)}` : '')
  );
}

/** Answers in the order of `questions`. */
export async function evaluate(
  questions: readonly Question[],
  policy: LanguageModel,
  settings: EvaluateSettings,
  hooks: WorkHooks,
): Promise<AnswerRecord[]> {
  if (settings.method === 'loglikelihood') {
    return answerByLikelihood(
      questions,
      policy,
      {
        chat: settings.apply_chat_template ?? false,
        max_num_batched_tokens: settings.max_num_batched_tokens,
      },
      hooks,
    );
  }
  return generateAnswers(questions, policy, settings, hooks);
}

async function generateAnswers(
  questions: readonly Question[],
  policy: LanguageModel,
  settings: EvaluateSettings,
  hooks: WorkHooks,
): Promise<AnswerRecord[]> {
  const chat = settings.apply_chat_template ?? true;
  const encoded = await mapInSlices(
    questions,
    (question, slices) => encode(question, policy, chat, slices),
    hooks.signal,
  );
  const completions = await policy.model
    .generate(
      {
        prompts: questions.map((question, i) => ({
          tokens: encoded[i]!,
          key: promptKey(question.id),
        })),
        temperature: 0,
        maxNewTokens: settings.max_new_tokens,
        stopIds: policy.stopIds,
        maxNumSeqs: settings.max_num_seqs,
      },
      { signal: hooks.signal, onProgress: ({ done, tokens }) => hooks.progress(done, tokens) },
    )
    .all();
  return completions.map((completion) =>
    grade(questions[completion.promptIndex]!, {
      text: policy.tokenizer.decode([...completion.tokens], { skipSpecialTokens: true }),
      tokens: completion.tokens.length,
    }),
  );
}

function encode(
  { prompt }: Question,
  policy: LanguageModel,
  chat: boolean,
  slices: Slices,
): Promise<number[]> {
  const text = prompt.map((message) => message.content).join('\n\n');
  return chat ? promptInSlices(policy, prompt, slices) : textInSlices(policy, text, slices, true);
}
