/** A hub on localhost with switches for the failures of a real one. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export const COMMIT = 'a'.repeat(40);
/** Commit of the converted revision. */
export const CONVERTED_COMMIT = 'c'.repeat(40);

export interface StandIn {
  endpoint: string;
  /** Requests so far: `GET /path range authorization`. */
  log: string[];
  files: Map<string, Buffer>;
  /** Switches. */
  status: number;
  /**
   * Cut the connection of each of the next answers after so many bytes of body, once the client has
   * them in its `home`.
   */
  cuts: number[];
  /** The client's HF_HOME. */
  home: string;
  /** Answers ranges with the whole file. */
  ignoreRanges: boolean;
  /** Serves these bytes in place of the listed ones. */
  swapped: Map<string, Buffer>;
  /** Sends file requests there (another origin, as the real hub does). */
  storage: string | null;
  extraNames: string[];
  token: string | null;
  /** Answers in place of the hub where it returns true. */
  intercept: ((url: URL, request: IncomingMessage, response: ServerResponse) => boolean) | null;
  /** The data set's revision refs/convert/parquet; null where the hub has converted nothing. */
  converted: Map<string, Buffer> | null;
  close(): Promise<void>;
}

export async function standInHub(files: Record<string, string | Buffer>): Promise<StandIn> {
  const hub: Omit<StandIn, 'endpoint' | 'close'> = {
    log: [],
    files: new Map(Object.entries(files).map(([name, data]) => [name, Buffer.from(data)])),
    status: 200,
    cuts: [],
    home: '',
    ignoreRanges: false,
    swapped: new Map(),
    storage: null,
    extraNames: [],
    token: null,
    intercept: null,
    converted: null,
  };
  const server: Server = createServer((request, response) => answer(hub, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(hub, {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}

function answer(
  hub: Omit<StandIn, 'endpoint' | 'close'>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const url = new URL(request.url ?? '/', 'http://stand-in');
  hub.log.push(
    [
      request.method,
      url.pathname,
      request.headers.range ?? '-',
      request.headers.authorization ?? '-',
    ].join(' '),
  );
  if (hub.intercept?.(url, request, response)) return;
  if (
    hub.status !== 200 ||
    (hub.token !== null &&
      !url.pathname.startsWith('/storage/') &&
      request.headers.authorization !== `Bearer ${hub.token}`)
  ) {
    response.writeHead(hub.status === 200 ? 401 : hub.status).end('no');
    return;
  }
  if (url.pathname.startsWith('/moved/')) {
    response.writeHead(307, { location: url.pathname.slice('/moved'.length) }).end();
    return;
  }
  if (url.pathname.startsWith('/api/models/old/')) {
    response
      .writeHead(307, {
        location: `/api/models/org/${url.pathname.slice('/api/models/old/'.length)}${url.search}`,
      })
      .end();
    return;
  }
  if (/^\/api\/(models|datasets)\//.test(url.pathname)) {
    const converted = url.pathname.endsWith(
      `/revision/${encodeURIComponent('refs/convert/parquet')}`,
    );
    const files = converted ? hub.converted : hub.files;
    if (files === null) {
      response.writeHead(404).end();
      return;
    }
    const siblings = [...files].map(([rfilename, data]) =>
      /\.(safetensors|parquet)$/.test(rfilename)
        ? {
            rfilename,
            size: data.length,
            blobId: '0'.repeat(40),
            lfs: { sha256: createHash('sha256').update(data).digest('hex'), size: data.length },
          }
        : {
            rfilename,
            size: data.length,
            blobId: createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex'),
          },
    );
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        sha: converted ? CONVERTED_COMMIT : COMMIT,
        cardData: { license: 'apache-2.0' },
        siblings: [
          ...siblings,
          ...hub.extraNames.map((rfilename) => ({ rfilename, size: 1, blobId: '1'.repeat(40) })),
        ],
      }),
    );
    return;
  }
  sendFile(hub, url, request, response);
}

function sendFile(
  hub: Omit<StandIn, 'endpoint' | 'close'>,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const commit = url.pathname.includes(`/${CONVERTED_COMMIT}/`) ? CONVERTED_COMMIT : COMMIT;
  const name = decodeURIComponent(url.pathname.split(`/${commit}/`)[1] ?? '');
  if (hub.storage !== null) {
    response.writeHead(302, { location: `${hub.storage}/storage/${commit}/${name}` }).end();
    return;
  }
  const data = hub.swapped.get(name) ?? (commit === COMMIT ? hub.files : hub.converted)?.get(name);
  if (data === undefined) {
    response.writeHead(404).end();
    return;
  }
  const range = hub.ignoreRanges ? null : /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
  const start = Number(range?.[1] ?? 0);
  if (range && start >= data.length) {
    response.writeHead(416).end();
    return;
  }
  response.writeHead(range ? 206 : 200, {
    'content-length': data.length - start,
    ...(range && { 'content-range': `bytes ${start}-${data.length - 1}/${data.length}` }),
  });
  const cut = /\.(safetensors|parquet)$/.test(name) ? hub.cuts.shift() : undefined;
  if (cut === undefined) response.end(data.subarray(start));
  else cutAfter(response, data.subarray(start, start + cut), hub.home, start + cut);
}

/**
 * Sends `body` and cuts the connection once a partial file below `home` has `bytes`: a client that
 * is told of a cut drops what it has not read yet, and on a busy machine that is any part.
 */
export function cutAfter(
  response: ServerResponse,
  body: Uint8Array,
  home: string,
  bytes: number,
): void {
  const look = (): void => {
    if (response.destroyed) return;
    if (bytes === 0 || partialBytes(home) >= bytes) response.destroy();
    else setTimeout(look, 5);
  };
  response.write(body, look);
}

/** Length of the longest partial file. */
function partialBytes(home: string): number {
  const folder = join(home, 'hub');
  const names = existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: 'utf8' })
    : [];
  return Math.max(
    0,
    ...names
      .filter((name) => name.endsWith('.incomplete'))
      .map((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0),
  );
}
