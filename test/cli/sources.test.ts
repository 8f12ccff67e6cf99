/** The sources of a run's rows: several sources, other columns, compressed files. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { cream } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const work = temporaryFolder('cream-sources-');
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
const file = (name: string, data: string | Uint8Array): string => {
  writeFileSync(join(work, name), data);
  return join(work, name);
};
const recipe = (prompts: string, more = '') =>
  file(
    'recipe.yaml',
    `model: ${model}\nthreads: 1\niterations: 1\nprompts: ${prompts}\nsample: {samples: 2, ` +
      `max_new_tokens: 4}\nevaluate: {tasks: []}\n${more}`,
  );

describe('a run', () => {
  it('reads several sources, counts repeated rows, and reads gzipped demonstrations', async () => {
    const one = file('one.jsonl', '{"query": "Hi?"}\n{"query": "Why?"}\n');
    const two = file('two.json', JSON.stringify([{ query: 'Hi?' }, { query: 'How?' }]));
    const answers = file(
      'answers.jsonl.gz',
      gzipSync('{"instruction": "Add.", "input": "2, 3", "output": "5"}\n'),
    );
    const out = join(work, 'run');
    const result = await cream(
      'run',
      recipe(
        `{source: ["${one}", "${two}"], columns: [prompt=query], count: 0}`,
        `sft: {enabled: true, source: "${answers}", count: 0}\n`,
      ),
      '--out',
      out,
    );
    expect([result.code, result.stderr]).toEqual([
      0,
      expect.stringContaining(
        `${one}, ${two}: 1 row was left out: 1 repeats an earlier row (${two} row 1 repeats ` +
          `${one} line 1).`,
      ),
    ]);
    const rows = (name: string) =>
      readFileSync(join(out, name), 'utf8')
        .trim()
        .split('\n')
        .map(
          (line) =>
            JSON.parse(line) as {
              prompt: { content: string }[];
              completion?: { content: string }[];
            },
        );
    expect(
      rows('iteration-1/prompts.jsonl')
        .map(({ prompt }) => prompt[0]!.content)
        .sort(),
    ).toEqual(['Hi?', 'How?', 'Why?']);
    expect(rows('sft/demonstrations.jsonl')).toMatchObject([
      { prompt: [{ content: 'Add.\n\n2, 3' }], completion: [{ content: '5' }] },
    ]);
  });

  it.each<[string, string, number, RegExp]>([
    [
      'a source that is a number',
      '{source: 5}',
      2,
      /recipe\.yaml:4:19 prompts\.source: must be text or a list of texts, got 5\n$/,
    ],
    ['an empty list', '{source: []}', 2, /prompts\.source: must not be empty\n$/],
    [
      'a mapping that maps nothing',
      '{columns: [prompt]}',
      2,
      /columns\.0: must be of the form ours=theirs, such as prompt=query, got the text 'prompt'\n$/,
    ],
    [
      'a source of no hub',
      '{source: "hub:nothing at all"}',
      1,
      /"hub:nothing at all" is not a data set of the hub; give hub:org\/name/,
    ],
    [
      'a cut Parquet file',
      `{source: "${file('cut.parquet', 'PAR1 and so on')}"}`,
      1,
      /cut\.parquet is cut off: a Parquet file ends with "PAR1"; fetch it again\n$/,
    ],
  ])('%s is refused in one sentence', async (_, prompts, code, message) => {
    const result = await cream('run', recipe(prompts), '--out', join(work, `run-${Math.random()}`));
    expect({ code: result.code, stdout: result.stdout, stderr: result.stderr }).toEqual({
      code,
      stdout: '',
      stderr: expect.stringMatching(message),
    });
  });
});
