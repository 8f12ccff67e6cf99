import { describe, expect, it } from '@jest/globals';
import type { CompletionRecord, JudgementRecord } from '../../src/data/records.js';
import type { Model } from '../../src/engine/model.js';
import type { LanguageModel } from '../../src/lm/language-model.js';
import { judge, judgePrompt, judgeRewards, parseScore } from '../../src/reward/judge.js';

describe('parseScore', () => {
  it.each<[string, number | null]>([
    ['Score: 4', 4],
    ['It earns three points.\nScore: 3', 3],
    ['score:5', 5],
    ['**Score:** 2', 2],
    ['**Score: 4**', 4],
    ['Score: **4**', 4],
    ['Score: 4/5', 4],
    ['Score: 3.5', 3.5],
    ['Score: <2>', 2],
    ['Score: [1]', 1],
    ['Score = 0', 0],
    ['The final score is 4.', 4],
    ['"score": 3', 3],
    ['Score: 1\nOn reflection:\nScore: 4', 4],
    ['Score (0 to 5): 2', 2],
    ['**Score (out of 5)**: 4', 4],
    ['Score from 0-5: 1', 1],
    ['Score: n', null],
    ['Score: 0n', null],
    ['Score: 3.', 3],
    ['Score: 7', null],
    ['Score: -1', null],
    ['Score: 4\nScore: 9', null],
    ['Total Score: 12 of 15', null],
    ['four points', null],
    ['', null],
    ['Scores: 3', null],
    ['The team scored: 3', null],
  ])('%j → %j', (text, score) => expect(parseScore(text)).toBe(score));
});

describe('judgePrompt', () => {
  it('shows prompt and completion, and asks for a line that parseScore reads', () => {
    const [message, ...others] = judgePrompt(
      [{ role: 'user', content: 'Why is the sky blue? ' }],
      'Because of Rayleigh.\n',
    );
    expect(others).toEqual([]);
    expect(message!.content).toContain('<conversation>\nWhy is the sky blue?\n</conversation>');
    expect(message!.content).toContain('<answer>\nBecause of Rayleigh.\n</answer>');
    expect(message!.content.split('\n').filter((line) => line.startsWith('+1  '))).toHaveLength(5);
    expect(message!.content.endsWith('Score: n')).toBe(true);
    expect(parseScore(message!.content)).toBeNull();
  });
  it('names the speakers of a longer conversation', () => {
    const [message] = judgePrompt(
      [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Hello' },
        { role: 'user', content: 'Bye' },
      ],
      'See you',
    );
    expect(message!.content).toContain(
      'system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: Bye\n</conversation>',
    );
  });
});

const judgement = (
  prompt_id: string,
  sample: number,
  role: 'current' | 'previous',
  score: number | null,
  n = 0,
): JudgementRecord => ({ prompt_id, sample, judge: role, judgement: n, score, text: '' });

describe('judgeRewards', () => {
  it('averages what could be read, by each judge', () => {
    const rows = [
      judgement('a', 0, 'current', 4),
      judgement('a', 0, 'current', null, 1),
      judgement('a', 0, 'current', 3, 2),
      judgement('a', 0, 'previous', 1),
      judgement('a', 1, 'current', 2),
      judgement('a', 1, 'previous', 5),
    ];
    expect(judgeRewards(rows)).toEqual({
      rewards: [
        { prompt_id: 'a', sample: 0, reward_current: 3.5, reward_previous: 1 },
        { prompt_id: 'a', sample: 1, reward_current: 2, reward_previous: 5 },
      ],
      unjudged: [],
      failed: 1,
      total: 6,
    });
  });
  it('skips a prompt if one completion has no valid judgement by one of the models', () => {
    const rows = ['a', 'b'].flatMap((id) =>
      [0, 1].flatMap((sample) =>
        (['current', 'previous'] as const).map((role) =>
          judgement(id, sample, role, id === 'a' && sample === 1 && role === 'previous' ? null : 3),
        ),
      ),
    );
    const { rewards, unjudged, failed } = judgeRewards(rows);
    expect([unjudged, failed, rewards.map((r) => r.prompt_id)]).toEqual([['a'], 1, ['b', 'b']]);
  });
});

/** A fake model that generates `say(prompt text, sample)`; token ids are character codes. */
function fake(say: (question: string, sample: number) => string, maxPositionEmbeddings = 100_000) {
  const asked: { keys: bigint[]; samples: number }[] = [];
  const model = {
    config: { maxPositionEmbeddings },
    generate(
      request: { prompts: { tokens: number[]; key: bigint; samples: number }[] },
      { onProgress }: { onProgress: (p: { done: number; tokens: number }) => void },
    ) {
      asked.push({ keys: request.prompts.map((p) => p.key), samples: request.prompts[0]!.samples });
      onProgress({ done: request.prompts.length * request.prompts[0]!.samples, tokens: 10 });
      return {
        all: async () =>
          request.prompts.flatMap((p, promptIndex) =>
            Array.from({ length: p.samples }, (_, sample) => ({
              promptIndex,
              sample,
              tokens: [...say(String.fromCodePoint(...p.tokens), sample)].map((c) =>
                c.codePointAt(0)!,
              ),
            })),
          ),
      };
    },
  } as unknown as Model;
  return { model, asked };
}
const language = {
  stopIds: [0],
  promptText: (messages: { content: string }[]) => ({
    text: messages[0]!.content,
    addSpecialTokens: false,
  }),
  tokenizer: {
    encode: (text: string) => [...text].map((c) => c.codePointAt(0)!),
    encodeInSlices: (text: string) => Promise.resolve([...text].map((c) => c.codePointAt(0)!)),
    decode: (tokens: number[]) => String.fromCodePoint(...tokens),
  },
} as unknown as LanguageModel;
const completions = [0, 1].map((sample): CompletionRecord => ({
  prompt_id: 'p',
  sample,
  prompt: [{ role: 'user', content: 'Q' }],
  completion: `answer ${sample}`,
  prompt_token_ids: [1],
  token_ids: [2],
  logprob: -1,
  finish_reason: 'eos',
}));
const settings = {
  judgements: 2,
  reasons: true,
  temperature: 0.7,
  top_p: 0.9,
  max_new_tokens: 16,
  max_num_seqs: 8,
  seed: 1,
  iteration: 1,
};
const hooks = { signal: new AbortController().signal, progress: () => {} };

describe('judge', () => {
  it('asks both models with the same keys, one per completion', async () => {
    const current = fake((question, n) => `Score: ${question.includes('answer 1') ? 4 : 2 + n}`);
    const previous = fake(() => 'no idea');
    const made = await judge(
      completions,
      language,
      { current: current.model, previous: previous.model },
      settings,
      hooks,
    );
    expect(current.asked).toEqual(previous.asked);
    expect(new Set(current.asked[0]!.keys).size).toBe(2);
    expect(made.map((r) => [r.sample, r.judge, r.judgement, r.score])).toEqual([
      [0, 'current', 0, 2],
      [0, 'current', 1, 3],
      [0, 'previous', 0, null],
      [0, 'previous', 1, null],
      [1, 'current', 0, 4],
      [1, 'current', 1, 4],
      [1, 'previous', 0, null],
      [1, 'previous', 1, null],
    ]);
  });
  it('asks a model once where current and previous are the same', async () => {
    const { model, asked } = fake(() => 'Score: 1');
    const made = await judge(
      completions,
      language,
      { current: model, previous: model },
      settings,
      hooks,
    );
    expect([asked.length, made.length]).toEqual([1, 4]);
    expect(made.every(({ judge: role }) => role === 'current')).toBe(true);
    for (const { reward_current, reward_previous } of judgeRewards(made).rewards)
      expect(reward_previous).toBe(reward_current);
  });
  it('begins the line for a judge that gives no reasons', async () => {
    const questions: string[] = [];
    const { model } = fake((question) => (questions.push(question), ' 3'));
    const made = await judge(
      completions,
      language,
      { current: model, previous: model },
      { ...settings, reasons: false },
      hooks,
    );
    expect(made.every((r) => r.text === 'Score: 3' && r.score === 3)).toBe(true);
    expect(
      questions.every((question) =>
        question.endsWith('nothing else, n being the sum, a digit from 0 to 5:\nScore: nScore:'),
      ),
    ).toBe(true);
  });
  it('leaves out a completion that does not fit the context', async () => {
    const long = { ...completions[0]!, completion: 'x'.repeat(5000) };
    const { model, asked } = fake(() => 'Score: 1', 2000);
    const made = await judge(
      [long, completions[1]!],
      language,
      { current: model, previous: model },
      settings,
      hooks,
    );
    expect(asked[0]!.keys).toHaveLength(1);
    expect(made.filter((r) => r.judge === 'current').map((r) => r.score)).toEqual([
      null,
      null,
      1,
      1,
    ]);
  });
});
