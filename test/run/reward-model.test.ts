/**
 * An external reward model in whole runs: its input, the choice of a label, and its check before
 * the work begins.
 */
import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  CompletionRecord,
  ExternalRewardRecord,
  PairRecord,
  RankingRecord,
} from '../../src/data/records.js';
import { loadModel } from '../../src/lm/language-model.js';
import { artefacts } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

/** With a chat template of its own, which the policy does not have. */
function rewardModel(labels: number): string {
  const folder = tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, labels, seed: 5 });
  const file = join(folder, 'tokenizer_config.json');
  const chat_template =
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}";
  writeFileSync(
    file,
    JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), chat_template }),
  );
  return folder;
}
const settings = (folder: string, ...more: string[]) => [
  'reward.source=model',
  `reward.model=${folder}`,
  'rank.weighting=fixed',
  ...more,
];

describe('a run with a reward model', () => {
  it('ranks by its logit of the conversation in its own chat template, and trains', async () => {
    const folder = rewardModel(1);
    const ran = await tinyRun(settings(folder));
    const completions = ran.records<CompletionRecord>('iteration-1/completions.jsonl');
    const rewards = ran.records<ExternalRewardRecord>('iteration-1/rewards.jsonl');
    const judge = await loadModel(folder);
    const sequences = completions.map(({ prompt, completion }) =>
      judge.tokenizer.encode(`[user] ${prompt[0]!.content}\n[assistant] ${completion}\n`),
    );
    const logits = await judge.model.classify({ sequences });
    await judge.dispose();
    rewards.forEach(({ reward }, i) => expect(Math.abs(reward - logits[i]!)).toBeLessThan(0.05));
    for (const { prompt_id, reward_current, reward_previous } of ran.records<RankingRecord>(
      'iteration-1/rankings.jsonl',
    )) {
      expect(reward_current).toEqual(
        rewards.filter((r) => r.prompt_id === prompt_id).map((r) => r.reward),
      );
      expect(reward_previous).toEqual(reward_current);
    }
    const pairs = ran.records<PairRecord>('iteration-1/pairs.jsonl');
    expect(
      pairs.every((pair) => pair.reward_chosen > pair.reward_rejected && pair.weight === 1),
    ).toBe(true);
  });

  it(
    'of two labels ranks by the log-probability of the one that is named, measured against ' +
      'the previous model',
    async () => {
      const folder = rewardModel(2);
      const [no, yes] = await Promise.all(
        [0, 1].map((label) =>
          tinyRun([
            'reward.source=model',
            `reward.model=${folder}`,
            `reward.label=${label}`,
            'reward.against=implicit',
            'sft.enabled=true',
            'sft.count=2',
          ]),
        ),
      );
      const of = (ran: typeof no) =>
        ran!.records<ExternalRewardRecord>('iteration-1/rewards.jsonl');
      of(no).forEach(({ reward }, i) =>
        expect(Math.exp(reward) + Math.exp(of(yes)[i]!.reward)).toBeCloseTo(1, 5),
      );
      expect(
        yes!.records<RankingRecord>('iteration-1/rankings.jsonl').some((r) => r.consistency !== 1),
      ).toBe(true);
    },
  );

  it.each<[string, string[], RegExp]>([
    [
      'labels without a choice',
      settings(rewardModel(2)),
      /reward\.model: .* cannot judge: it has 2 labels; set reward\.label/,
    ],
    [
      'no head',
      settings(tinyModel({ tokenizer: true })),
      /cannot judge: it has no classification head/,
    ],
    ['nothing there', settings('./nowhere-rm'), /nowhere-rm/],
  ])('refuses %s before anything is sampled', async (_, refused, message) => {
    const directory = join(temporaryFolder(), 'run');
    await expect(tinyRun(refused, { directory })).rejects.toThrow(message);
    expect(existsSync(join(directory, 'iteration-1'))).toBe(false);
  });

  it('stopped while it scores ends with the same bytes', async () => {
    const folder = rewardModel(1);
    const whole = await tinyRun(settings(folder));
    const directory = join(temporaryFolder(), 'run');
    const stop = new AbortController();
    await expect(
      tinyRun(settings(folder), {
        directory,
        signal: stop.signal,
        onEvent: (event) =>
          event.type === 'stage_progress' && event.stage === 'reward' && stop.abort(),
      }),
    ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    await tinyRun(settings(folder), { directory });
    expect(artefacts(directory)).toEqual(artefacts(whole.directory));
  });
});
