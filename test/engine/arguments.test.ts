/** Errors of bad arguments: one sentence with the place, the expected and the received value. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CreamError } from '../../src/engine/errors.js';
import { Model } from '../../src/engine/model.js';
import type { Trainer } from '../../src/engine/trainer.js';
import { tinyModel } from '../support/tiny-model.js';

let model: Model;
let trainer: Trainer;
beforeAll(async () => {
  model = await Model.load(tinyModel(), { dtype: 'float32' });
  trainer = await model.trainer({ learningRate: 0, totalSteps: 1 });
});
afterAll(() => model.dispose());

const prompts = [{ tokens: [1, 2, 3] }];
const pair = {
  prompt: [1],
  chosen: [2],
  rejected: [3],
  referenceChosen: -1,
  referenceRejected: -1,
  weight: 1,
};
/* Deliberately ill-typed calls. */
const generate = (request: object) => () => model.generate(request as never).all();
const score = (request: object) => () => model.score(request as never);
const step = (change: object) => () => trainer.preferenceStep([pair, { ...pair, ...change }]);

const table: [() => unknown, string][] = [
  [generate({}), '[generate] prompts must be an array, got undefined.'],
  [generate({ prompts, temprature: 1 }), '[generate] the request has no option "temprature"'],
  [generate({ prompts, topp: 1 }), 'has no option "topp"; did you mean "topP"?'],
  [
    generate({ prompts: [{ tokens: [] }] }),
    '[generate] prompt 0 is empty; give at least one token.',
  ],
  [
    generate({ prompts: [{ tokens: 'hello' }] }),
    '[generate] prompt 0 must be an array of token ids or an Int32Array, got "hello".',
  ],
  [
    generate({ prompts: [prompts[0], { tokens: [1, 97] }] }),
    "[generate] prompt 1 holds 97 at position 1; this model's token ids are integers from 0 to 96.",
  ],
  [generate({ prompts: [{ tokens: [1.5] }] }), 'prompt 0 holds 1.5 at position 0'],
  [
    generate({ prompts: [{ tokens: [1], samples: 0 }] }),
    '[generate] prompt 0: samples must be an integer from 1 to',
  ],
  [
    generate({ prompts: [{ tokens: [1], key: -1n }] }),
    '[generate] prompt 0: key must be an integer from 0 to 2^64 − 1',
  ],
  [
    generate({ prompts: [{ tokens: [1], firstSample: 2 ** 32 }] }),
    '[generate] prompt 0: firstSample must be an integer',
  ],
  [
    generate({ prompts, temperature: -1 }),
    '[generate] temperature must be a finite number at least 0, got -1.',
  ],
  [
    generate({ prompts, temperature: NaN }),
    '[generate] temperature must be a finite number at least 0, got NaN.',
  ],
  [
    generate({ prompts, topP: 0 }),
    '[generate] topP must be a finite number above 0 and at most 1, got 0.',
  ],
  [generate({ prompts, topK: -1 }), '[generate] topK must be an integer from 0 to'],
  [generate({ prompts, maxNewTokens: 0 }), '[generate] maxNewTokens must be an integer from 1 to'],
  [
    generate({ prompts, minNewTokens: 9, maxNewTokens: 8 }),
    '[generate] minNewTokens must be an integer from 0 to 8, got 9.',
  ],
  [generate({ prompts, stopIds: [97] }), '[generate] stopIds holds 97 at position 0'],
  [generate({ prompts, stopStrings: ['x'] }), '[generate] stopStrings need tokenBytes'],
  [
    generate({ prompts, stopStrings: [''] }),
    '[generate] stop string 0 must be a non-empty string, got "".',
  ],
  [generate({ prompts, seed: 0.5 }), '[generate] seed must be an integer from 0 to 2^64 − 1'],
  [generate({ prompts: [{ tokens: new Array(300).fill(1) }] }), 'prompt 0'],
  [
    score({ groups: [{ prompt: [1], completions: [[1], []] }] }),
    '[score] completion 1 of group 0 is empty; give at least one token.',
  ],
  [score({ groups: [{ prompt: [], completions: [] }] }), '[score] the prompt of group 0 is empty'],
  [
    score({ groups: [{ prompt: [1] }] }),
    '[score] the completions of group 0 must be an array, got undefined.',
  ],
  [score({ groups: [], maxNumBatchedTokens: 0 }), '[score] maxNumBatchedTokens must be an integer'],
  [score({ groups: [{ prompt: [1], completions: [new Array(300).fill(1)] }] }), '[score]'],
  [() => model.logits([]), '[logits] tokens is empty'],
  [() => model.save(''), '[save] the directory must be a non-empty string, got "".'],
  [
    () => model.save('/tmp/x', { dtype: 'float16' as never }),
    "[save] dtype must be 'float32' or 'bfloat16', got \"float16\".",
  ],
  [
    () => Model.load(tinyModel(), { dtype: 'int8' as never }),
    "[load] dtype must be 'float32' or 'bfloat16', got \"int8\".",
  ],
  [
    () => Model.load(tinyModel(), { device: '' }),
    '[load] device must be a non-empty string, got "".',
  ],
  [
    () => model.trainer({ totalSteps: 1 } as never),
    '[trainer] learningRate must be a finite number at least 0, got undefined.',
  ],
  [
    () => model.trainer({ learningRate: 1, totalSteps: 1, beta2: 1 }),
    '[trainer] beta2 must be a finite number at least 0 and below 1, got 1.',
  ],
  [
    () => model.trainer({ learningRate: 1, totalSteps: 1, schedule: 'step' as never }),
    "[trainer] schedule must be 'constant' or 'linear' or 'cosine', got \"step\".",
  ],
  [
    () => model.trainer({ learningRate: 1, totalSteps: 1 }),
    '[trainer] this model has a trainer already; dispose of it before asking for another.',
  ],
  [() => trainer.preferenceStep([]), '[train] pairs is empty; give at least one.'],
  [
    step({ weight: 1.1 }),
    '[train] pair 1: weight must be a finite number at least 0 and at most 1, got 1.1.',
  ],
  [step({ chosen: [] }), '[train] pair 1: chosen is empty'],
  [
    step({ referenceChosen: -Infinity }),
    '[train] pair 1: referenceChosen must be a finite number, got -Infinity.',
  ],
  [
    () => trainer.sftStep([{ prompt: [1], completion: [] }]),
    '[train] example 0: completion is empty',
  ],
];

describe('bad arguments', () => {
  it.each(table)('%#: %p says %p', async (call, sentence) => {
    const error = await (async () => call())().then(
      () => undefined,
      (failure: unknown) => failure as CreamError,
    );
    expect(error).toBeInstanceOf(CreamError);
    expect(error!.message).toContain(sentence);
    expect(error!.code).toBe('ERR_INVALID_ARGUMENT');
  });

  it('leave the model usable', async () => {
    expect(
      (await model.score({ groups: [{ prompt: [1], completions: [[2]] }] })).sums[0],
    ).toBeLessThan(0);
  });

  it('name the caller in the stack, natively refused ones too', async () => {
    async function myOwnFunction(): Promise<void> {
      await model.score({ groups: [{ prompt: [1], completions: [new Array(300).fill(1)] }] });
    }
    await expect(myOwnFunction()).rejects.toMatchObject({
      name: 'CreamError',
      stack: expect.stringContaining('myOwnFunction'),
    });
  });
});
