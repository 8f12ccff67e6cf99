/**
 * The end of a turn and the place of a system message in every model family, with golden tokenizers
 * and templates on a tiny model.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const golden = new URL('../golden/', import.meta.url);
const { templates } = JSON.parse(readFileSync(new URL('templates.json', golden), 'utf8')) as {
  templates: { name: string; source: string }[];
};
const weights = tinyModel({ vocabSize: 1400 });

/**
 * A model folder with the tokenizer of `family`, the template `template` and its
 * generation_config.json.
 */
async function load(
  family: string,
  template: string | null,
  generation: object,
): Promise<LanguageModel> {
  const folder = temporaryFolder();
  copyFileSync(join(weights, 'model.safetensors'), join(folder, 'model.safetensors'));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    copyFileSync(new URL(`tokenizers/${family}/${name}`, golden), join(folder, name));
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({
      ...(JSON.parse(readFileSync(join(weights, 'config.json'), 'utf8')) as object),
      eos_token_id: undefined,
    }),
  );
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(generation));
  if (template !== null)
    writeFileSync(
      join(folder, 'chat_template.jinja'),
      templates.find(({ name }) => name === template)?.source ?? template,
    );
  return loadModel(folder, { dtype: 'float32' });
}

describe('a completion ends', () => {
  it.each([
    ['llama2', 'llama2', '</s>', []],
    ['llama3', 'llama3', '<|eot_id|>', ['<|end_of_text|>', '<|eom_id|>', '<|eot_id|>']],
    ['smollm2', 'qwen', '<|im_end|>', ['<|im_end|>']],
    ['smollm3', 'smollm3', '<|im_end|>', []],
    ['mistral', 'mistral', '</s>', ['</s>']],
    ['qwen', 'qwen', '<|im_end|>', ['<|im_end|>', '<|endoftext|>']],
    ['gemma', 'gemma', '<end_of_turn>', ['<eos>']],
    ['phi3', 'phi3', '<|end|>', ['<|endoftext|>']],
    ['phi4', 'phi3', '<|end|>', []],
    ['phi3', null, '<|endoftext|>', []],
  ])(
    'of %s with the template of %s with %s, which stops generation too',
    async (family, template, end, generationEnds) => {
      const bare = await load(family, template, {});
      const ids = generationEnds.map((token) => bare.tokenizer.tokenToId(token) as number);
      const endId = bare.tokenizer.tokenToId(end) as number;
      const lm = await load(family, template, { eos_token_id: ids });
      const completion = await lm.encodeCompletion('An answer.');
      expect(completion).toEqual([...lm.tokenizer.encode('An answer.'), endId]);
      expect(lm.stopIds).toEqual(expect.arrayContaining([...ids, endId]));
      expect(bare.stopIds).toContain(endId);
      if (template !== null && template !== 'qwen' && template !== 'llama2') {
        // Qwen3's template adds an empty thought, Llama 2's adds spaces around the completion.
        const question = [{ role: 'user', content: 'Why?' }];
        const whole = lm.tokenizer.encode(
          lm.chatTemplate!.render([...question, { role: 'assistant', content: 'An answer.' }], {
            addGenerationPrompt: false,
          }),
        );
        const apart = [...(await lm.encodePrompt(question)), ...completion];
        expect(whole.slice(0, apart.length)).toEqual(apart);
      }
      await bare.dispose();
      await lm.dispose();
    },
  );
});

it('a template that writes too much is refused before its text is tokenised', async () => {
  const text = 'word by word '.repeat(1000);
  const lm = await load('gemma', `{% for i in range(99) %}${text}{% endfor %}`, {});
  await expect(lm.generate('Why?', { maxNewTokens: 1 })).rejects.toThrow(
    /^The prompt has at least \d+ tokens and .* holds \d+; shorten it, or its chat template\.$/,
  );
  await lm.dispose();
});

describe('a system message', () => {
  const talk = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Why?' },
  ];

  it('goes in front of the user’s where the template refuses it', async () => {
    const gemma = await load('gemma', 'gemma', {});
    expect(() => gemma.chatTemplate!.render(talk, { addGenerationPrompt: true })).toThrow(
      'refuses these messages (roles: system, user): There is no system role',
    );
    expect(gemma.tokenizer.decode(await gemma.encodePrompt(talk))).toBe(
      '<bos><start_of_turn>user\nBe brief.\n\nWhy?<end_of_turn>\n<start_of_turn>model\n',
    );
    expect(await gemma.encodePrompt(talk.slice(1))).toEqual(
      gemma.tokenizer.encode('<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n'),
    );
    expect(await gemma.encodePrompt([{ role: 'system', content: '' }, ...talk.slice(1)])).toEqual(
      await gemma.encodePrompt(talk.slice(1)),
    );
    await expect(
      gemma.encodePrompt([
        { role: 'user', content: 'a' },
        { role: 'user', content: 'b' },
      ]),
    ).rejects.toThrow('Roles must alternate');
    await gemma.dispose();
  });

  it('stays where the template has a place for it', async () => {
    const qwen = await load('qwen', 'qwen', {});
    expect(qwen.tokenizer.decode(await qwen.encodePrompt(talk))).toBe(
      '<|im_start|>system\nBe ' +
        'brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n',
    );
    await qwen.dispose();
  });
});
