/** Evaluate: questions with known answers → graded greedy answers. */
import type { AnswerRecord, PromptRecord } from '../../data/records.js';
import { grade } from '../../evaluate/task.js';
import { promptKey } from '../keys.js';
import type { Policy, StageHooks } from './stage.js';

export interface EvaluateSettings {
  max_new_tokens: number;
  max_rows: number;
}

/** Answers in the order of `questions`. */
export async function evaluate(questions: readonly PromptRecord[], { language, model }: Policy, settings: EvaluateSettings, hooks: StageHooks): Promise<AnswerRecord[]> {
  const completions = await model.generate({
    prompts: questions.map((question) => ({ tokens: language.encodePrompt(question.prompt), key: promptKey(question.id) })),
    temperature: 0,
    maxNewTokens: settings.max_new_tokens,
    stopIds: language.stopIds,
    maxRows: settings.max_rows,
  }, { signal: hooks.signal, onProgress: ({ done, tokens }) => hooks.progress(done, tokens) }).all();
  return completions.map((completion) => grade(questions[completion.promptIndex]!, {
    text: language.tokenizer.decode([...completion.tokens], { skipSpecialTokens: true }),
    tokens: completion.tokens.length,
  }));
}
