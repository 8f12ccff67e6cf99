/** `cream push` against a hub on this machine that speaks the hub's upload protocol. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startCream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const TOKEN = 'hf_writingtoken';

interface Hub {
  endpoint: string;
  /** Repositories by name, with their files. */
  repositories: Map<string, { private: boolean; files: Map<string, Buffer> }>;
  messages: string[];
  requests: string[];
  close: () => void;
}

const bodyOf = async (request: IncomingMessage): Promise<Buffer> => {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
};

/** Large files go to a storage by their SHA-256, small ones into the commit, as on the hub. */
async function hubToWrite(): Promise<Hub> {
  const repositories: Hub['repositories'] = new Map();
  const stored = new Map<string, Buffer>();
  const hub: Omit<Hub, 'endpoint' | 'close'> = { repositories, messages: [], requests: [] };
  const respond = async (request: IncomingMessage): Promise<[number, object]> => {
    const path = new URL(request.url!, 'http://hub').pathname;
    hub.requests.push(`${request.method} ${path}`);
    const body = await bodyOf(request);
    if (path.startsWith('/storage/')) {
      stored.set(path.slice('/storage/'.length), body);
      return [200, {}];
    }
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return [401, { error: 'no token' }];
    if (path === '/api/repos/create') {
      const { name, organization, visibility } = JSON.parse(body.toString()) as Record<
        string,
        string
      >;
      const id = `${organization}/${name}`;
      repositories.set(id, { private: visibility === 'private', files: new Map() });
      return [200, { url: id, id }];
    }
    const [, repository, action] =
      /^\/(?:api\/models\/)?([\w.-]+\/[\w-]+)(?:\.git)?(?:\/(preupload|commit|info))?/.exec(path)!;
    const found = repositories.get(repository!);
    if (!found) return [404, { error: 'Repository not found' }];
    if (action === 'preupload') {
      const { files } = JSON.parse(body.toString()) as { files: { path: string }[] };
      const modeOf = (name: string) => (name.endsWith('.safetensors') ? 'lfs' : 'regular');
      return [200, { files: files.map((f) => ({ path: f.path, uploadMode: modeOf(f.path) })) }];
    }
    if (action === 'info') {
      const { objects } = JSON.parse(body.toString()) as {
        objects: { oid: string; size: number }[];
      };
      const href = (oid: string) => `http://${request.headers.host}/storage/${oid}`;
      return [
        200,
        {
          transfer: 'basic',
          objects: objects.map((o) => ({ ...o, actions: { upload: { href: href(o.oid) } } })),
        },
      ];
    }
    if (action === 'commit') {
      for (const line of body.toString().trim().split('\n')) {
        const { key, value } = JSON.parse(line) as { key: string; value: Record<string, string> };
        if (key === 'header') hub.messages.push(value['summary']!);
        if (key === 'file')
          found.files.set(value['path']!, Buffer.from(value['content']!, 'base64'));
        if (key === 'lfsFile') found.files.set(value['path']!, stored.get(value['oid']!)!);
      }
      return [200, { commitOid: 'c'.repeat(40), commitUrl: 'x' }];
    }
    return [200, { id: repository }];
  };
  const server = createServer((request, response) => {
    void respond(request).then(([status, body]) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return Object.assign(hub, {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => void (server.close(), server.closeAllConnections()),
  });
}

let hub: Hub;
beforeEach(async () => {
  hub = await hubToWrite();
});
afterEach(() => hub.close());

const push = (args: string[], env: NodeJS.ProcessEnv = {}) =>
  startCream(['push', ...args], {
    HF_ENDPOINT: hub.endpoint,
    HF_TOKEN: TOKEN,
    HF_HUB_OFFLINE: '',
    HF_HOME: temporaryFolder(),
    ...env,
  }).finished;
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('cream push', () => {
  it("uploads a run's newest checkpoint with its card, bytes as they are", async () => {
    const { directory } = await tinyRun(['iterations=1']);
    const done = await push([directory, '--to', 'me/aligned', '--private']);
    expect({ ...done, stderr: '' }).toMatchObject({ code: 0 });
    expect(done.stdout).toMatch(
      /me\/aligned has \d+ files of .*iteration-1\/checkpoint, commit ccc/,
    );
    const folder = join(directory, 'iteration-1/checkpoint');
    const repository = hub.repositories.get('me/aligned')!;
    expect(repository.private).toBe(true);
    expect([...repository.files.keys()].sort()).toEqual(readdirSync(folder).sort());
    expect([...repository.files.keys()]).toEqual(expect.arrayContaining(['README.md']));
    for (const [name, bytes] of repository.files)
      expect([name, sha256(bytes)]).toEqual([name, sha256(readFileSync(join(folder, name)))]);
    expect(hub.messages).toEqual(['Upload run with cream-lm']);

    const again = await push([folder, '--to', 'me/aligned', '--message', 'again', '--json']);
    expect(JSON.parse(again.stdout)).toMatchObject({
      repository: 'me/aligned',
      commit: 'c'.repeat(40),
      created: false,
      url: `${hub.endpoint}/me/aligned`,
    });
    expect(hub.messages).toEqual(['Upload run with cream-lm', 'again']);

    // What is not as the run wrote it is not published.
    writeFileSync(join(folder, 'config.json'), '{}');
    const damaged = await push([directory, '--to', 'me/aligned']);
    expect(damaged).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/config\.json is damaged/),
    });
  });

  it('sends nothing in a dry run, and refuses bad input in one sentence', async () => {
    const model = tinyModel({ tokenizer: true });
    const dry = await push([model, '--to', 'me/x', '--dry-run']);
    expect(dry.stdout).toMatch(/^config\.json\n[^]*files, \d\.\d MB, would go to me\/x\.\n$/);
    expect(dry.stderr).toContain('has no README.md');
    expect(hub.requests).toEqual([]);
    const cases: [string[], NodeJS.ProcessEnv, RegExp][] = [
      [[model, '--to', 'x'], {}, /'x' is not of the form org\/name:/],
      [[model, '--to', 'me/x'], { HF_TOKEN: '' }, /There is no token of the hub: set HF_TOKEN/],
      [
        [model, '--to', 'me/x'],
        { HF_TOKEN: 'hf_other' },
        /Cannot upload to me\/x: the token is not/,
      ],
      [[model, '--to', 'me/x'], { HF_HUB_OFFLINE: '1' }, /HF_HUB_OFFLINE is set: unset it/],
      [[model, '--to', 'me/x'], { HF_ENDPOINT: 'http://127.0.0.1:9' }, /Cannot upload to me\/x: /],
      [[temporaryFolder(), '--to', 'me/x'], {}, /is not a checkpoint: it has no config\.json/],
    ];
    for (const [args, env, message] of cases) {
      const { code, stderr } = await push(args, env);
      const wrongUse = args.includes('x');
      expect([code, stderr]).toEqual([wrongUse ? 2 : 1, expect.stringMatching(message)]);
      expect(stderr).not.toContain('hf_other');
    }
    expect(hub.repositories.size).toBe(0);
  });

  it.each([
    ['<html>', 200, /: the answer is not that of a Hugging Face hub; check HF_ENDPOINT and/],
    ['null', 200, /: the answer is not that of a Hugging Face hub; check HF_ENDPOINT and/],
    ['{"files": 5}', 200, /: the answer is not that of a Hugging Face hub; check HF_ENDPOINT/],
    ['', 503, /: the hub answered 503; try again later\.\n$/],
  ])('refuses the answer %j with %d in one sentence', async (text, status, message) => {
    const server = createServer((_, response) => response.writeHead(status).end(text));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const model = tinyModel({ tokenizer: true });
    const { port } = server.address() as AddressInfo;
    const env = { HF_ENDPOINT: `http://127.0.0.1:${port}` };
    expect(await push([model, '--to', 'me/x'], env)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(message),
    });
    server.closeAllConnections();
    server.close();
  });
});
