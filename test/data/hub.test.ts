import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { datasetFiles, parseDatasetSource } from '../../src/data/hub.js';
import { loadPrompts } from '../../src/data/prompts.js';
import { readRows } from '../../src/data/rows.js';
import { chooseSplit, convertedSplits, globMatches, splitsOf } from '../../src/data/splits.js';
import { COMMIT, CONVERTED_COMMIT, standInHub, type StandIn } from '../hub/stand-in.js';
import { temporaryFolder } from '../support/folders.js';

const root = temporaryFolder('cream-datasets-');
const parquet = readFileSync(new URL('../golden/parquet/snappy-1.parquet', import.meta.url));
const other = readFileSync(new URL('../golden/parquet/zstd-2.parquet', import.meta.url));
const lines = (...rows: object[]) => rows.map((row) => JSON.stringify(row)).join('\n');

let hub: StandIn | undefined;
let env: Record<string, string>;
beforeEach(() => {
  const home = mkdtempSync(join(root, 'home-'));
  env = {
    HF_HOME: home,
    HOME: home,
    CREAM_CACHE: join(home, 'cream'),
    PATH: process.env['PATH'] ?? '',
  };
});
afterEach(async () => {
  await hub?.close();
  hub = undefined;
});
async function serve(
  files: Record<string, string | Buffer>,
  converted?: Record<string, Buffer>,
): Promise<StandIn> {
  hub = await standInHub(files);
  hub.converted = converted ? new Map(Object.entries(converted)) : null;
  env['HF_ENDPOINT'] = hub.endpoint;
  hub.home = env['HF_HOME']!;
  return hub;
}
const names = async (source: string) =>
  (await datasetFiles(source, { env })).map(({ name }) => name);

describe('a data set of the hub', () => {
  const card =
    '---\nlicense: mit\nconfigs:\n- config_name: main\n  data_files:\n  - split: ' +
    'train\n    path: main/train-*\n  - split: test\n    path: main/test-*\n- config_name: ' +
    'other\n  data_files:\n  - split: train\n    path: "other/*.jsonl"\n---\n# Words\n';
  const files = {
    'README.md': card,
    'main/train-00000-of-00002.parquet': parquet,
    'main/train-00001-of-00002.parquet': other,
    'main/test-00000-of-00001.parquet': other,
    'other/b.jsonl': lines({ prompt: 'b' }),
    'other/a.jsonl': lines({ prompt: 'a' }),
    'pytorch_model.bin': 'x',
  };

  it(
    "comes as its split's shards in order, in the layout that huggingface_hub shares, and " +
      'again without the network',
    async () => {
      const { log } = await serve(files);
      const rows = await readRows('hub:org/words/main', { env });
      expect(rows).toHaveLength(80);
      expect(rows[40]).toMatchObject({
        value: { id: 'row-0' },
        where: 'hub:org/words/main/train-00001-of-00002.parquet row 1',
      });
      const snapshot = join(env['HF_HOME']!, 'hub/datasets--org--words/snapshots', COMMIT);
      expect(lstatSync(join(snapshot, 'main/train-00000-of-00002.parquet')).isSymbolicLink()).toBe(
        true,
      );
      expect(
        log.filter((line) => line.includes('.parquet')).map((line) => line.split(' ')[1]),
      ).toEqual(
        [0, 1].map(
          (n) => `/datasets/org/words/resolve/${COMMIT}/main/train-0000${n}-of-00002.parquet`,
        ),
      );
      expect(
        readFileSync(join(env['HF_HOME']!, 'hub/datasets--org--words/refs/main'), 'utf8'),
      ).toBe(COMMIT);
      const before = log.length;
      expect(
        await readRows('hub:org/words/main', { env: { ...env, HF_HUB_OFFLINE: '1' } }),
      ).toEqual(rows);
      expect(log.length).toBe(before);
      await expect(
        readRows('hub:org/words/main:test', { env, offline: true }),
      ).rejects.toMatchObject({
        code: 'ERR_OFFLINE',
        message: expect.stringContaining('hub:org/words/main:test is not in the cache'),
      });
    },
  );

  it('splits, configs and revisions by name', async () => {
    await serve(files);
    expect(await names('hub:org/words/main:test@v1')).toEqual([
      'hub:org/words/main/test-00000-of-00001.parquet',
    ]);
    expect(
      (await loadPrompts(['hub:org/words/other:train'], { env })).records.map(
        ({ prompt }) => prompt[0]!.content,
      ),
    ).toEqual(['a', 'b']);
    await expect(names('hub:org/words')).rejects.toThrow(
      'hub:org/words: the data set has several configs and no default one; known are main, ' +
        'other (hub:org/name/config)',
    );
    await expect(names('hub:org/words/man')).rejects.toThrow(
      'hub:org/words/man: there is no config "man"; known are main, other',
    );
    await expect(names('hub:org/words/main:dev')).rejects.toThrow(
      'hub:org/words/main:dev: there is no split "dev" in the config "main"; known are test, train',
    );
  });

  it("that is a script, or in another format, is taken from the hub's conversion", async () => {
    const converted = {
      'default/train/0000.parquet': parquet,
      'default/train/0001.parquet': other,
      'default/validation/0000.parquet': other,
    };
    await serve(
      { 'README.md': '# no yaml', 'words.py': 'import datasets', 'train.jsonl': '{}' },
      converted,
    );
    expect(await names('hub:org/words')).toEqual([
      'hub:org/words/default/train/0000.parquet',
      'hub:org/words/default/train/0001.parquet',
    ]);
    expect((await datasetFiles('hub:org/words:validation', { env }))[0]!.path).toContain(
      `/snapshots/${CONVERTED_COMMIT}/`,
    );
    await expect(names('hub:org/words:test')).rejects.toThrow(
      'there is no split "test" in the config "default"; known are train, validation',
    );
    await hub!.close();
    await serve({ 'data.csv': 'a,b' });
    await expect(names('hub:org/table')).rejects.toThrow(
      'hub:org/table: the repository has no Parquet or JSON files, and the hub has no ' +
        'Parquet conversion of it',
    );
  });

  it('goes on after a cut, and is not believed with a wrong digest', async () => {
    const { cuts, swapped, log } = await serve(files);
    cuts.push(1000);
    expect(await readRows('hub:org/words/main:test', { env })).toHaveLength(40);
    expect(
      log.filter((line) => line.includes('.parquet')).map((line) => line.split(' ')[2]),
    ).toEqual(['-', 'bytes=1000-']);
    swapped.set('main/train-00000-of-00002.parquet', Buffer.from(parquet.map((byte) => byte ^ 1)));
    await expect(readRows('hub:org/words/main', { env })).rejects.toMatchObject({
      code: 'ERR_CHECKSUM',
    });
  });

  it('that is gated, missing or out of reach is refused with the reason', async () => {
    const served = await serve(files);
    served.token = 'secret';
    await expect(names('hub:org/words/main')).rejects.toMatchObject({
      code: 'ERR_GATED',
      message: expect.stringMatching(
        /^The hub wants a token for the data set org\/words@main \(401\)/,
      ),
    });
    expect(
      await readRows('hub:org/words/main:test', { env: { ...env, HF_TOKEN: 'secret' } }),
    ).toHaveLength(40);
    served.status = 404;
    await expect(names('hub:org/words/main@v9')).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringContaining('the data set org/words@v9 was not found'),
    });
    served.status = 200;
    served.token = null;
    served.extraNames.push('../../escape.parquet');
    await expect(names('hub:org/words/main')).rejects.toMatchObject({ code: 'ERR_UNSAFE_PATH' });
    await expect(
      datasetFiles('hub:org/words/main', { env: { ...env, HF_ENDPOINT: 'http://127.0.0.1:9' } }),
    ).rejects.toMatchObject({ code: 'ERR_NETWORK' });
  });

  it('keeps its commit where files of the cache are damaged or gone', async () => {
    const { log } = await serve(files);
    const [first] = await datasetFiles('hub:org/words/main:test', { env });
    writeFileSync(first!.path, 'damage');
    await expect(readRows('hub:org/words/main:test', { env, offline: true })).rejects.toMatchObject(
      {
        code: 'ERR_CHECKSUM',
        message: expect.stringMatching(
          /is damaged: its content is not what the hub lists for hub:/,
        ),
      },
    );
    log.length = 0;
    expect(await readRows('hub:org/words/main:test', { env })).toHaveLength(40);
    rmSync(join(env['HF_HOME']!, 'hub'), { recursive: true });
    expect(await readRows('hub:org/words/main:test', { env })).toHaveLength(40);
    const listings = log.filter((line) => line.includes('/api/'));
    expect(listings).toHaveLength(2);
    for (const line of listings) expect(line).toContain(`/revision/${COMMIT} `);
  });

  it('offline is found where Python has put it, if it is whole', async () => {
    const folder = join(env['HF_HOME']!, 'hub/datasets--org--words');
    const snapshot = join(folder, 'snapshots', COMMIT);
    mkdirSync(join(folder, 'refs'), { recursive: true });
    mkdirSync(join(snapshot, 'data'), { recursive: true });
    writeFileSync(join(folder, 'refs/main'), COMMIT);
    writeFileSync(join(snapshot, 'data/train-00000-of-00002.parquet'), parquet);
    await expect(readRows('hub:org/words', { env, offline: true })).rejects.toMatchObject({
      code: 'ERR_OFFLINE',
    });
    writeFileSync(join(snapshot, 'data/train-00001-of-00002.parquet'), other);
    expect(await readRows('hub:org/words', { env, offline: true })).toHaveLength(80);
    mkdirSync(join(snapshot, 'test'));
    // part-2 may be missing: nothing says how many there are
    writeFileSync(join(snapshot, 'test/part-1.parquet'), parquet);
    await expect(readRows('hub:org/words:test', { env, offline: true })).rejects.toMatchObject({
      code: 'ERR_OFFLINE',
    });
  });
});

describe('sources', () => {
  it.each([
    [
      'hub:openai/gsm8k',
      { id: 'openai/gsm8k', revision: 'main', config: undefined, split: undefined },
    ],
    [
      'hub:allenai/ai2_arc/ARC-Easy:test',
      { id: 'allenai/ai2_arc', config: 'ARC-Easy', split: 'test', revision: 'main' },
    ],
    [
      'hub:org/name:train@refs/pr/1',
      { id: 'org/name', config: undefined, split: 'train', revision: 'refs/pr/1' },
    ],
    ['hub:squad:train', { id: 'squad', config: undefined, split: 'train', revision: 'main' }],
  ])('%s', (source, expected) =>
    expect(parseDatasetSource(source)).toEqual({ ...expected, source }),
  );
  it.each([
    'hub:',
    'hub:../x',
    'hub:org/name/',
    'hub:org/name:',
    'hub:a b',
    'hub:org/name/c/d',
    'hub:org/name@../../x',
  ])('%j is none', (source) =>
    expect(() => parseDatasetSource(source)).toThrow(
      /is not a data set of the hub; give hub:org\/name/,
    ),
  );
});

describe('files of splits', () => {
  const splits = (files: string[], card = '') =>
    Object.fromEntries(
      [...splitsOf(files, card, { source: 'hub:org/words' })].map(([config, of]) => [
        config,
        Object.fromEntries(of),
      ]),
    );
  it.each([
    [
      'shards',
      [
        'data/train-00000-of-00002-ab12.parquet',
        'data/train-00001-of-00002-cd34.parquet',
        'data/test_sft-00000-of-00001.parquet',
      ],
      {
        default: {
          train: [
            'data/train-00000-of-00002-ab12.parquet',
            'data/train-00001-of-00002-cd34.parquet',
          ],
          test_sft: ['data/test_sft-00000-of-00001.parquet'],
        },
      },
    ],
    [
      'shards of configs',
      ['en/train-00000-of-00001.parquet', 'de/train-00000-of-00001.parquet'],
      {
        en: { train: ['en/train-00000-of-00001.parquet'] },
        de: { train: ['de/train-00000-of-00001.parquet'] },
      },
    ],
    [
      'names',
      [
        'train.jsonl',
        'dev.jsonl',
        'my-eval.jsonl',
        'notes.jsonl',
        'dataset_infos.json',
        '.hidden.json',
      ],
      { default: { train: ['train.jsonl'], validation: ['dev.jsonl'], test: ['my-eval.jsonl'] } },
    ],
    [
      'folders',
      ['train/part-10.json', 'train/part-2.json', 'test/part-1.json'],
      {
        default: { train: ['train/part-10.json', 'train/part-2.json'], test: ['test/part-1.json'] },
      },
    ],
    [
      'no names',
      ['a.jsonl', 'latest.jsonl.gz'],
      { default: { train: ['a.jsonl', 'latest.jsonl.gz'] } },
    ],
    [
      'Parquet beside the same as JSON',
      ['train.jsonl', 'train.parquet'],
      { default: { train: ['train.parquet'] } },
    ],
    ['nothing', ['a.csv', 'README.md'], {}],
  ])('%s', (_, files, expected) => expect(splits(files)).toEqual(expected));

  it.each([
    ['data_files: data/*.jsonl', { x: { train: ['data/a.jsonl', 'data/b.jsonl'] } }],
    [
      'data_files: ["data/b.jsonl", "data/a.jsonl"]',
      { x: { train: ['data/b.jsonl', 'data/a.jsonl'] } },
    ],
    [
      'data_files: [{split: dev, path: ["**/b.jsonl", "data/a.*"]}]',
      { x: { dev: ['data/b.jsonl', 'data/a.jsonl'] } },
    ],
    ['data_files: {dev: "data/[!b].jsonl"}', { x: { dev: ['data/a.jsonl'] } }],
    ['data_dir: ./data/', { x: { train: ['data/a.jsonl', 'data/b.jsonl'] } }],
    [
      'data_files: data/*.jsonl\n  default: true',
      {
        default: { train: ['data/a.jsonl', 'data/b.jsonl'] },
        x: { train: ['data/a.jsonl', 'data/b.jsonl'] },
      },
    ],
    ['data_files: gone/*', { default: { train: ['data/a.jsonl', 'data/b.jsonl', 'else.jsonl'] } }],
  ])('a card with %s', (declared, expected) =>
    expect(
      splits(
        ['data/a.jsonl', 'data/b.jsonl', 'else.jsonl'],
        `---\nconfigs:\n- config_name: x\n  ${declared}\n---\n`,
      ),
    ).toEqual(expected),
  );

  it('cards that are no YAML, or a bomb, declare nothing', () => {
    const nineTimes = [...'bcdefghij'].map(
      (to, i) => `${to}: &${to} [${Array<string>(9).fill(`*${'abcdefghij'[i]}`).join()}]`,
    );
    for (const bad of [
      '---\n: [\n---\n',
      '---\nconfigs: 5\n---\n',
      `---\na: &a [x]\n${nineTimes.join('\n')}\nconfigs: *j\n---\n`,
    ])
      expect(splits(['a.jsonl'], bad)).toEqual({ default: { train: ['a.jsonl'] } });
  });
  it('the conversion', () => {
    expect(
      chooseSplit(
        convertedSplits(['en/train/0000.parquet', 'en/train/0001.parquet', 'README.md']),
        { source: 's' },
      ),
    ).toEqual({ files: ['en/train/0000.parquet', 'en/train/0001.parquet'] });
    expect(
      chooseSplit(convertedSplits(['en/test/0000.parquet', 'en/dev/0000.parquet']), {
        source: 's',
      }),
    ).toEqual({
      problem: 's: the config "en" has no split "train"; known are dev, test (…:split)',
    });
  });
  it.each([
    ['**', 'a/b/c', true],
    ['**/*.json', 'a.json', true],
    ['**/*.json', 'x/y/a.json', true],
    ['*/a', 'x/y/a', false],
    ['x/**/a', 'x/a', true],
    ['x/**/a', 'xa', false],
    ['?[a-c]', 'xb', true],
    ['?[a-c]', 'xd', false],
    ['[!a]', 'a', false],
    ['a+(b).json', 'a+(b).json', true],
    ['*'.repeat(60).split('').join('a') + 'b', 'a'.repeat(200), false],
  ])('glob %s on %s: %s', (pattern, name, expected) =>
    expect(globMatches(pattern, name)).toBe(expected),
  );
});
