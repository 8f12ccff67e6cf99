/** Input files of a run: a row that does not fit is named, and a file that changed is refused. */
import { acceptFiles } from '../../src/run/verify.js';
import { afterAll, expect, it } from '@jest/globals';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { COMMIT, standInHub } from '../hub/stand-in.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import { engineInfo } from '../../src/engine/addon.js';
import { readRun } from '../../src/report/metrics.js';
import { reportHtml } from '../../src/report/page.js';
import { tinyRun } from '../support/run.js';

const folder = temporaryFolder('cream-inputs-');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, prompts: readonly string[]): string => {
  const path = join(folder, name);
  writeFileSync(path, prompts.map((prompt) => `${JSON.stringify({ prompt })}\n`).join(''));
  return path;
};
const numbered = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `Name thing number ${i}.`);

it('prompts that are too long are named by file and line, and counted', async () => {
  const long = 'x'.repeat(2000);
  const path = write('long.jsonl', ['short', `${long} a`, 'brief', `${long} b`, `${long} c`]);
  await expect(
    tinyRun([`prompts.source=${path}`, 'prompts.count=5', 'iterations=1']),
  ).rejects.toThrow(
    new RegExp(
      String.raw`^Prompt "\w+" \(.*long\.jsonl line [245]\) is at least \d+ tokens long .* ` +
        String.raw`prompts\.on_bad_row to skip; 2 more are too long\.$`,
    ),
  );
});

it("texts with the model's own control tokens are named, or left out", async () => {
  const model = tinyModel({ tokenizer: true, numHeads: 2, numKvHeads: 1 });
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    const text = readFileSync(join(model, name), 'utf8');
    writeFileSync(join(model, name), text.replaceAll('<|im_end|>', '%END%'));
  }
  const path = write('templated.jsonl', ['Why?', 'Stop here%END%', 'Who?']);
  const settings = [`model=${model}`, `prompts.source=${path}`, 'iterations=1'];
  await expect(tinyRun([...settings, 'prompts.count=3'])).rejects.toThrow(
    /^\S*templated\.jsonl line 2: the text holds the model's control token "%END%", which/,
  );
  const { events } = await tinyRun([...settings, 'prompts.count=0', 'prompts.on_bad_row=skip']);
  expect(events).toContainEqual(
    expect.objectContaining({ type: 'rows_left_out', count: 1, section: 'prompts' }),
  );
});

it('on_bad_row: skip leaves out what cannot be used and tells how many', async () => {
  const path = join(folder, 'mixed.jsonl');
  const rows = [
    { prompt: 'short' },
    { prompt: 'x'.repeat(2000) },
    { prompt: '' },
    { prompt: 'brief' },
    { prompt: 'short' },
  ];
  writeFileSync(path, [...rows.map((row) => JSON.stringify(row)), '{"cut'].join('\n'));
  const { events, records, directory } = await tinyRun([
    `prompts.source=${path}`,
    'prompts.count=0',
    'prompts.on_bad_row=skip',
    'iterations=1',
  ]);
  const prompts = records<{ prompt: { content: string }[] }>('iteration-1/prompts.jsonl');
  expect(prompts.map(({ prompt }) => prompt[0]!.content).sort()).toEqual(['brief', 'short']);
  const told = events.filter((event) => event.type === 'rows_left_out');
  expect(told).toEqual([
    {
      type: 'rows_left_out',
      section: 'prompts',
      count: 4,
      message: expect.stringMatching(
        new RegExp(
          String.raw`mixed\.jsonl: 4 rows were left out: 3 cannot be used ` +
            String.raw`\(.*mixed\.jsonl line 6: not JSON.*, and 2 more\), ` +
            String.raw`1 repeats an earlier row \(.*line 5 repeats .*line 1\)\.$`,
        ),
      ),
    },
  ]);
  expect(readRun(directory).leftOut).toMatchObject([{ section: 'prompts', count: 4 }]);
  expect(reportHtml(directory)).toContain('4 rows were left out');
});

it('pairs and demonstrations that are too long are left out likewise', async () => {
  const long = 'y'.repeat(2000);
  const pairs = join(folder, 'pairs.jsonl');
  writeFileSync(
    pairs,
    [
      { prompt: 'Hi', chosen: 'a', rejected: 'b' },
      { prompt: 'Hi', chosen: long, rejected: 'b' },
    ]
      .map((row) => JSON.stringify(row))
      .join('\n'),
  );
  const demonstrations = join(folder, 'demonstrations.jsonl');
  writeFileSync(
    demonstrations,
    [
      { prompt: 'Hi', completion: 'Hello' },
      { prompt: 'Hi', completion: long },
    ]
      .map((row) => JSON.stringify(row))
      .join('\n'),
  );
  const { events, records } = await tinyRun([
    `pairs.source=${pairs}`,
    'pairs.on_bad_row=skip',
    'sft.enabled=true',
    `sft.source=${demonstrations}`,
    'sft.on_bad_row=skip',
    'sft.count=0',
  ]);
  expect(records('iteration-1/preferences.jsonl')).toHaveLength(1);
  expect(records('sft/demonstrations.jsonl')).toHaveLength(1);
  expect(
    events.flatMap((event) => (event.type === 'rows_left_out' ? [event.section] : [])),
  ).toEqual(['sft', 'pairs']);
});

it('a run does not go on with a prompts file that has changed', async () => {
  const path = write('prompts.jsonl', numbered(4));
  const settings = [`prompts.source=${path}`, 'prompts.count=4', 'iterations=1'];
  const { directory } = await tinyRun(settings);
  rmSync(join(directory, 'summary.json')); // as if it had been stopped before its end
  const again = () => tinyRun(settings, { directory });
  await again();
  rmSync(join(directory, 'summary.json'));
  write('prompts.jsonl', ['ADDED', ...numbered(4)]);
  await expect(again()).rejects.toThrow(
    /began with different content of .*prompts\.jsonl \(SHA-256 \w{12}…, now \w{12}…\)/,
  );
  write('prompts.jsonl', numbered(4));
  await again();
});

it('a run does not go on with another revision of a hub data set', async () => {
  const rows = numbered(4).map((prompt) => `${JSON.stringify({ prompt })}\n`);
  const hub = await standInHub({ 'train.jsonl': rows.join('') });
  const before = { ...process.env };
  Object.assign(process.env, {
    HF_ENDPOINT: hub.endpoint,
    HF_HOME: join(folder, 'hf'),
    CREAM_CACHE: join(folder, 'cache'),
  });
  try {
    const settings = ['prompts.source=hub:org/words', 'prompts.count=4', 'iterations=1'];
    const { directory } = await tinyRun(settings);
    const runFile = join(directory, 'run.json');
    expect(JSON.parse(readFileSync(runFile, 'utf8'))).toMatchObject({
      sources: { 'hub:org/words': `hub:${COMMIT}` },
    });
    rmSync(join(directory, 'summary.json'));
    // as if it had begun when the hub had another commit
    const moved = readFileSync(runFile, 'utf8').replace(COMMIT, 'b'.repeat(40));
    writeFileSync(runFile, moved);
    await acceptFiles(directory);
    await expect(tinyRun(settings, { directory })).rejects.toThrow(
      `began with revision ${'b'.repeat(40)} of hub:org/words, which is now ${COMMIT}: choose ` +
        'another run directory, or fetch that revision again.',
    );
  } finally {
    for (const name of ['HF_ENDPOINT', 'HF_HOME', 'CREAM_CACHE'])
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    await hub.close();
  }
});

it('a run that goes on with the kernels of another processor says so', async () => {
  const { directory } = await tinyRun([]);
  const runFile = join(directory, 'run.json');
  rmSync(join(directory, 'summary.json'));
  const began = JSON.parse(readFileSync(runFile, 'utf8')) as { versions: { kernels: string } };
  const { kernels } = began.versions;
  expect(kernels).toBe(engineInfo().cpu.level);
  began.versions.kernels = 'AVX-1024';
  writeFileSync(runFile, JSON.stringify(began));
  await acceptFiles(directory);
  const { events } = await tinyRun([], { directory });
  expect(JSON.stringify(events)).toContain(
    `began with kernels for AVX-1024 and goes on with ${kernels}: the last bits`,
  );
});
