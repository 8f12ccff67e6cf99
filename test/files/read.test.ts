/** Every reader accepts only regular files, and none larger than the limit of its kind. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readRecipe } from '../../src/cli/recipes.js';
import { readJsonl } from '../../src/data/jsonl.js';
import { readRows } from '../../src/data/rows.js';
import { sha256File } from '../../src/files/cache.js';
import { openRegular, readRegular, readRegularSync, readText } from '../../src/files/read.js';
import { checkLocalModel } from '../../src/models/local.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../support/folders.js';

const root = temporaryFolder('cream-read-');
const socket = createServer();
beforeAll(
  () =>
    new Promise<void>((resolve) => {
      spawnSync('mkfifo', [join(root, 'pipe')]);
      mkdirSync(join(root, 'folder'));
      symlinkSync('/dev/zero', join(root, 'device'));
      symlinkSync('circle', join(root, 'circle'));
      writeFileSync(join(root, 'text'), 'ü\n');
      socket.listen(join(root, 'socket'), resolve);
    }),
);
afterAll(() => {
  socket.close();
  rmSync(root, { recursive: true, force: true });
});

/** A file of `mib` MiB that takes no disk. */
function sparse(name: string, mib: number): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '');
  truncateSync(path, mib * 2 ** 20 + 1);
  return path;
}

const CASES = [
  ['pipe', /it is a pipe, and only regular files are read; save what it holds to a file/],
  ['device', /it is a device, and only regular files/],
  ['socket', /it is a socket, and only regular files/],
  ['folder', /it is a folder/],
  ['circle', /its links lead in a circle/],
  ['gone', /there is no such file/],
] as const;

describe.each(CASES)('a %s', (name, message) => {
  const path = join(root, name);
  it('is refused by each way of reading', async () => {
    await expect(readText(path, 'config')).rejects.toThrow(message);
    await expect(openRegular(path)).rejects.toThrow(message);
    await expect(sha256File(path)).rejects.toThrow(message);
    expect(() => readRegularSync(path, 'data')).toThrow(message);
  });
  it.each(['jsonl', 'json', 'csv', 'parquet', 'jsonl.gz'])('is refused as .%s', async (ending) => {
    const link = join(root, `${name}.${ending}`);
    symlinkSync(name, link);
    const error = { name: 'DataError', message: expect.stringMatching(message) };
    await expect(readRows(link)).rejects.toMatchObject(error);
    await expect(readJsonl(link)).rejects.toMatchObject(error);
  });
  it('is refused as a recipe', async () => {
    const other = name === 'folder' || name === 'gone'; // for which a recipe's name may be meant
    await expect(readRecipe(path)).rejects.toMatchObject({
      code: 'ERR_RECIPE',
      message: other ? expect.any(String) : expect.stringMatching(message),
    });
  });
});

describe.each(['pipe', 'device', 'socket', 'folder'])('a %s in a model folder', (name) => {
  it.each([
    'tokenizer.json',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'generation_config.json',
    'chat_template.jinja',
    'chat_template.json',
  ])('is refused as %s', async (part) => {
    const folder = mkdtempSync(join(root, 'model-'));
    if (part !== 'tokenizer.json')
      writeFileSync(join(folder, 'tokenizer.json'), '{"model": {"type": "BPE", "vocab": {}}}');
    symlinkSync(join(root, name), join(folder, part));
    await expect(loadTokenizer({ folder })).rejects.toMatchObject({
      code: 'ERR_TOKENIZER',
      message: expect.stringMatching(`cannot read .*${part}: it is a ${name}`),
    });
  });
  it.each(['config.json', 'model.safetensors', 'tokenizer.json', 'adapter_config.json'])(
    'is refused as %s',
    async (part) => {
      const folder = mkdtempSync(join(root, 'model-'));
      for (const other of ['config.json', 'tokenizer.json', 'model.safetensors'])
        if (part !== 'adapter_config.json') writeFileSync(join(folder, other), '{}');
      rmSync(join(folder, part), { force: true });
      symlinkSync(join(root, name), join(folder, part));
      await expect(checkLocalModel(folder)).rejects.toThrow(`${part} is not a regular file`);
    },
  );
});

describe('a file that is too long for its kind', () => {
  it.each([
    ['recipe', 1, 'a recipe has at most 1; check that it is the right file'],
    ['template', 1, 'a chat template has at most 1'],
    ['config', 64, 'a JSON file of a model has at most 64'],
    ['tokenizer', 256, 'a tokenizer has at most 256'],
    ['card', 4, 'a README of the hub has at most 4'],
    ['data', 1024, 'a data file has at most 1024; split it into several files'],
  ] as const)('%s: %d MiB', async (kind, mib, message) => {
    const path = sparse(`long-${kind}`, mib);
    await expect(readRegular(path, kind)).rejects.toThrow(
      `cannot read ${path}: it is ${mib + 1} MiB long, and ${message}`,
    );
    expect(() => readRegularSync(path, kind)).toThrow(message);
  });
  it('is refused by the readers', async () => {
    await expect(readRows(sparse('long.jsonl', 1024))).rejects.toThrow('split it into several');
    await expect(readRecipe(sparse('long.yaml', 1))).rejects.toThrow('a recipe has at most 1');
    const folder = dirname(sparse('model/tokenizer.json', 256));
    await expect(loadTokenizer({ folder })).rejects.toThrow('a tokenizer has at most 256');
  });
});

it('a regular file is read, links followed', async () => {
  symlinkSync('text', join(root, 'link'));
  expect(await readText(join(root, 'link'), 'config')).toBe('ü\n');
  expect(readRegularSync(join(root, 'link'), 'config')).toEqual(Buffer.from('ü\n'));
});

it.each([
  ['-', /standard input is not read/],
  ['https://example.org/rows.jsonl', /looks like an address, so fetch it/],
  ['~/rows.jsonl', /only a shell replaces ~/],
  ['rows-*.jsonl', /\* and \? stand for themselves, so list the files/],
  ['n'.repeat(300), /its name is too long/],
])('the name %j gets advice', async (name, advice) => {
  await expect(readRows(name)).rejects.toThrow(advice);
});

describe('a file that may be missing', () => {
  const folder = (): string => {
    const made = mkdtempSync(join(root, 'model-'));
    const model = { type: 'BPE', vocab: { a: 0 }, merges: [] };
    writeFileSync(join(made, 'tokenizer.json'), JSON.stringify({ model }));
    return made;
  };
  const parts = ['tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json'];

  it.each([...parts, 'chat_template.jinja'])('is no link without a file: %s', async (part) => {
    const made = folder();
    await expect(loadTokenizer({ folder: made })).resolves.toBeDefined();
    symlinkSync(join(made, 'blob'), join(made, part));
    await expect(loadTokenizer({ folder: made })).rejects.toThrow(
      `cannot read ${join(made, part)}: there is no such file, only a link to it`,
    );
  });

  it.each(parts)('holds an object: %s', async (part) => {
    for (const [text, what] of [
      ['null', 'null'],
      ['42', '42'],
      ['[]', 'a list'],
    ] as const) {
      const made = folder();
      writeFileSync(join(made, part), text);
      await expect(loadTokenizer({ folder: made })).rejects.toMatchObject({
        code: 'ERR_TOKENIZER',
        message: expect.stringContaining(`${part} is not valid JSON (it holds ${what} and not`),
      });
    }
  });
});

it('text that is not UTF-8 is told, and not read with other characters', async () => {
  const latin = (name: string, text: string): string => {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, 'latin1');
    return path;
  };
  const recipe = latin('latin.yaml', 'system_prompt: Soyez g\xe9n\xe9reux\n');
  await expect(readText(recipe, 'recipe')).rejects.toThrow(/it is not valid UTF-8; convert it/);
  await expect(readRecipe(recipe)).rejects.toMatchObject({ code: 'ERR_RECIPE' });
  latin('latin/tokenizer.json', '{"model": "\xe9"}');
  await expect(loadTokenizer({ folder: join(root, 'latin') })).rejects.toThrow(
    /tokenizer\.json is not valid UTF-8; it is damaged/,
  );
});
