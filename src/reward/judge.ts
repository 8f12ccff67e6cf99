/**
 * LLM-as-a-judge: the policy grades its own completions in words (Yuan et al. 2024, Self-Rewarding
 * Language Models, arXiv 2401.10020: an additive scale of five points; the wording here is ours).
 * Each completion is judged several times with sampling, and its reward is the mean of the points
 * that could be parsed.
 *
 * A judgement without a valid `Score: n` is left out of the mean. If a completion has no valid
 * judgement by one of the two models, its whole prompt has no ranking (`no_judgement`), because
 * ranking needs rewards of all of a prompt's completions.
 */
import { createHash } from 'node:crypto';
import { average } from '../data/average.js';
import { sampleKey } from '../data/group.js';
import type { CompletionRecord, JudgementRecord, Message, RewardRecord } from '../data/records.js';
import type { Model } from '../engine/model.js';
import type { WorkHooks } from '../lm/hooks.js';
import type { LanguageModel } from '../lm/language-model.js';
import { promptInSlices } from '../lm/sliced.js';
import { mapInSlices } from '../lm/slices.js';

export const MOST_POINTS = 5;
/** Beginning of a judgement for which no reasons are requested. */
const BEGUN = 'Score:';

export interface JudgeSettings {
  /** Judgements per completion and model. */
  judgements: number;
  /**
   * Whether the judge gives reasons before the score. Without them it only completes a line that
   * begins with `Score:`, which small models can do.
   */
  reasons: boolean;
  temperature: number;
  top_p: number;
  max_new_tokens: number;
  max_num_seqs: number | 'auto';
  seed: number;
  iteration: number;
}

/** The criteria of an additive five-point score (Yuan et al. 2024, figure 2), in our words. */
const CRITERIA = [
  'Grade how well an assistant answered a user. Start at 0 and add one point for ' +
    'each of these statements that is true; a later point may be given without an ' +
    'earlier one only if you say why.',
  '',
  '+1  The answer is about what was asked and holds something useful, even if it is' +
    ' incomplete or strays.',
  '+1  It deals with most of what was asked.',
  '+1  It answers the heart of the question in a way that the user can work with.',
  "+1  It is complete, well ordered, and written from an assistant's view, with " +
    'little left to improve.',
  '+1  An expert would leave it as it is: correct throughout, to the point, nothing' +
    ' superfluous.',
  '',
].join('\n');

/** The prompt that asks the judge about one completion. */
export function judgePrompt(
  prompt: readonly Message[],
  response: string,
  reasons = true,
): Message[] {
  const task = reasons
    ? 'Say in at most three sentences which points it earns. Then end with one line of this ' +
      `form, n being the sum from 0 to ${MOST_POINTS}:`
    : 'Write one line of this form and nothing else, n being the sum, a digit from 0 to ' +
      `${MOST_POINTS}:`;
  return [
    {
      role: 'user',
      content: `${CRITERIA}
<conversation>
${conversation(prompt)}
</conversation>

<answer>
${response.trim()}
</answer>

${task}
Score: n`,
    },
  ];
}

/** A single user turn is kept as it is; a longer conversation gets the role before each turn. */
function conversation(prompt: readonly Message[]): string {
  if (prompt.length === 1) return prompt[0]!.content.trim();
  return prompt.map(({ role, content }) => `${role}: ${content.trim()}`).join('\n\n');
}

/** `Score: 4`, also `score (out of 5) is 4` or `**Score** (0-5): <4>`. */
const SCORE = new RegExp(
  String.raw`\bscore\b["'*_]*\s*(?:\(?(?:from |out of )?(?:0\s*(?:to|-|–)\s*)?5\)?[*_]*\s*)?` +
    String.raw`(?:is\b|[:=：])[\s"'*_]*[<[(]?\s*(-?\d+(?:\.\d+)?)(?!\w)`,
  'gi',
);

/**
 * Points of the last `Score: n` in a judgement, or null if there is none or n is outside 0 to 5.
 * Decimals are accepted.
 */
export function parseScore(text: string): number | null {
  const last = [...text.matchAll(SCORE)].at(-1);
  if (!last) return null;
  const points = Number(last[1]);
  return points >= 0 && points <= MOST_POINTS ? points : null;
}

/**
 * Judgements of `completions` by `current` and `previous`, ordered by completion, model, judgement.
 * Both models sample with the same random numbers, keyed by prompt, sample and judgement, so that
 * only the models' opinions differ. If both are the same model, it is asked once, as `current`.
 */
export async function judge(
  completions: readonly CompletionRecord[],
  language: LanguageModel,
  { current, previous }: { current: Model; previous: Model },
  settings: JudgeSettings,
  hooks: WorkHooks,
): Promise<JudgementRecord[]> {
  const begun = settings.reasons ? [] : language.tokenizer.encode(BEGUN);
  const questions = await mapInSlices(
    completions,
    async ({ prompt, completion }, slices) => {
      const asked = judgePrompt(prompt, completion, settings.reasons);
      return [...(await promptInSlices(language, asked, slices)), ...begun];
    },
    hooks.signal,
  );
  const distinct = [...new Set([current, previous])];
  const texts = new Map<Model, string[][]>();
  let tokens = 0;
  for (const [turn, model] of distinct.entries()) {
    const asked = await ask(model, language, { completions, questions }, settings, {
      signal: hooks.signal,
      progress: (done, now) =>
        hooks.progress(
          Math.floor((turn * completions.length + done) / distinct.length),
          tokens + now,
        ),
    });
    tokens += asked.tokens;
    texts.set(model, asked.texts);
  }
  const roles = (['current', 'previous'] as const).slice(0, distinct.length);
  return completions.flatMap(({ prompt_id, sample }, i) =>
    roles.flatMap((role, of) =>
      texts.get(distinct[of]!)![i]!.map((text, judgement) => ({
        prompt_id,
        sample,
        judge: role,
        judgement,
        score: parseScore(text),
        text,
      })),
    ),
  );
}

/**
 * Texts of the judgements per completion; they are empty where the prompt fills the model's
 * context.
 */
async function ask(
  model: Model,
  language: LanguageModel,
  {
    completions,
    questions,
  }: { completions: readonly CompletionRecord[]; questions: readonly number[][] },
  settings: JudgeSettings,
  hooks: WorkHooks,
): Promise<{ texts: string[][]; tokens: number }> {
  const texts = completions.map(() => new Array<string>(settings.judgements).fill(''));
  const fitting = completions
    .map((_, i) => i)
    .filter((i) => questions[i]!.length < model.config.maxPositionEmbeddings);
  let tokens = 0;
  if (fitting.length === 0) return { texts, tokens };
  const written = await model
    .generate(
      {
        prompts: fitting.map((i) => ({
          tokens: questions[i]!,
          key: judgeKey(completions[i]!),
          samples: settings.judgements,
        })),
        temperature: settings.temperature,
        topP: settings.top_p,
        maxNewTokens: settings.max_new_tokens,
        stopIds: language.stopIds,
        seed: settings.seed,
        iteration: settings.iteration,
        maxNumSeqs: settings.max_num_seqs,
      },
      {
        signal: hooks.signal,
        onProgress: (p) =>
          hooks.progress(Math.floor(p.done / settings.judgements), (tokens = p.tokens)),
      },
    )
    .all();
  for (const one of written)
    texts[fitting[one.promptIndex]!]![one.sample] =
      (settings.reasons ? '' : BEGUN) +
      language.tokenizer.decode([...one.tokens], { skipSpecialTokens: true });
  return { texts, tokens };
}

/** The prompt key of a judgement in the engine's random numbers: a hash of the completion's id. */
function judgeKey({ prompt_id, sample }: CompletionRecord): bigint {
  return createHash('sha256')
    .update(JSON.stringify(['judge', prompt_id, sample]))
    .digest()
    .readBigUInt64BE(0);
}

export interface JudgeRewards {
  /** Mean points by θ_t and θ_{t−1}, for the prompts all of whose completions have both. */
  rewards: RewardRecord[];
  /** Ids of the other prompts. */
  unjudged: string[];
  /** Judgements without a valid score. */
  failed: number;
  /** All judgements. */
  total: number;
}

/**
 * Averages the points into rewards, with the completions in order of first appearance. Where
 * θ_{t−1} was not asked, because it is θ_t, its points are those of θ_t.
 */
export function judgeRewards(judgements: readonly JudgementRecord[]): JudgeRewards {
  const points = new Map<
    string,
    { prompt_id: string; sample: number; current: number[]; previous?: number[] }
  >();
  for (const { prompt_id, sample, judge: role, score } of judgements) {
    const id = sampleKey({ prompt_id, sample });
    const of = points.get(id) ?? { prompt_id, sample, current: [] };
    const given = (of[role] ??= []);
    if (score !== null) given.push(score);
    points.set(id, of);
  }
  const all = [...points.values()].map((of) => ({ previous: of.current, ...of }));
  const unjudged = new Set(
    all
      .filter(({ current, previous }) => current.length === 0 || previous.length === 0)
      .map(({ prompt_id }) => prompt_id),
  );
  return {
    rewards: all
      .filter(({ prompt_id }) => !unjudged.has(prompt_id))
      .map(({ prompt_id, sample, current, previous }) => ({
        prompt_id,
        sample,
        reward_current: average(current),
        reward_previous: average(previous),
      })),
    unjudged: [...unjudged],
    failed: judgements.filter(({ score }) => score === null).length,
    total: judgements.length,
  };
}
