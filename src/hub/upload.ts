/**
 * Uploads a folder to a repository of the hub by the hub's own library, through the proxies that
 * the rest of the client uses. It is called only if the user asks for an upload.
 */
import { openAsBlob } from 'node:fs';
import { basename } from 'node:path';
import type { Environment } from '../files/cache.js';
import { ModelError } from '../files/errors.js';
import { withoutSecrets } from '../files/secrets.js';
import { endpointOf, isOffline, readToken } from './environment.js';
import { dispatcherFor } from './http.js';

/** `org/name`. */
export const REPOSITORY = /^[\w.-]+\/[\w.-]+$/;

export interface Upload {
  /** `org/name` of a model repository. */
  repository: string;
  files: readonly string[];
  /** Message of the commit. */
  message: string;
  /** Visibility of a repository that does not exist yet. */
  isPrivate: boolean;
  branch: string;
  env?: Environment;
  signal?: AbortSignal;
  /** Share of the upload of a file, 0 to 1. */
  onProgress?: (file: string, share: number) => void;
}

export interface Uploaded {
  url: string;
  /** Hash of the commit. */
  commit: string;
  created: boolean;
}

/** @throws ModelError without a token, offline, or for what the hub refuses */
export async function upload({
  repository: name,
  files,
  message,
  isPrivate,
  branch,
  env = process.env,
  signal,
  onProgress,
}: Upload): Promise<Uploaded> {
  if (!REPOSITORY.test(name))
    throw new ModelError('ERR_NOT_FOUND', `'${name}' is not of the form org/name.`);
  if (isOffline(env))
    throw new ModelError('ERR_NETWORK', 'HF_HUB_OFFLINE is set: unset it to upload to the hub.');
  const accessToken = await readToken(env);
  if (accessToken === null)
    throw new ModelError(
      'ERR_GATED',
      'There is no token of the hub: set HF_TOKEN to one that may write, or log in with ' +
        '`hf auth login`.',
    );
  const hubUrl = endpointOf(env);
  const repo = { type: 'model', name } as const;
  // The library and its data take time to load, and no other command needs them.
  const { commitIter, createRepo, repoExists } = await import('@huggingface/hub');
  const common = { repo, accessToken, hubUrl, fetch: await proxiedFetch(env, signal) };
  try {
    const created = !(await repoExists(common));
    if (created) await createRepo({ ...common, visibility: isPrivate ? 'private' : 'public' });
    const operations = await Promise.all(
      files.map(async (file) => ({
        operation: 'addOrUpdate' as const,
        path: basename(file),
        content: await openAsBlob(file),
      })),
    );
    const commit = commitIter({
      ...common,
      title: message,
      branch,
      operations,
      ...(signal && { abortSignal: signal }),
    });
    for (;;) {
      const { done, value } = await commit.next();
      if (done) return { url: `${hubUrl}/${name}`, commit: value?.commit.oid ?? '', created };
      if (value.event === 'fileProgress' && value.state === 'uploading')
        onProgress?.(value.path, value.progress);
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw explained(error, name);
  }
}

/** undici's fetch, which can use proxies; the global fetch, a copy of it, cannot. */
async function proxiedFetch(env: Environment, signal?: AbortSignal): Promise<typeof fetch> {
  const { fetch: send } = await import('undici');
  const dispatcher = await dispatcherFor(env);
  return ((input: string, init: object = {}) =>
    send(input, { ...(signal && { signal }), ...init, dispatcher })) as unknown as typeof fetch;
}

function explained(error: unknown, name: string): ModelError {
  const { name: kind, statusCode, message, cause } = error as Error & { statusCode?: number };
  const reasons: Record<number, string> = {
    401: 'the token is not valid; make one that may write in the settings of the hub',
    403: 'the token may not write there; make one that may, or choose another --to',
    404: 'there is no such repository or branch',
  };
  // The library reads an answer without checking it.
  const isForeign = ['TypeError', 'SyntaxError'].includes(kind) && cause === undefined;
  const detail = isForeign
    ? 'the answer is not that of a Hugging Face hub; check HF_ENDPOINT and the proxy in between'
    : (statusCode ?? 0) >= 500
      ? `the hub answered ${statusCode}; try again later`
      : (cause instanceof Error && cause.message) || message;
  const reason = reasons[statusCode ?? 0] ?? withoutSecrets(detail).replace(/\.$/, '');
  return new ModelError(
    statusCode === 401 || statusCode === 403 ? 'ERR_GATED' : 'ERR_NETWORK',
    `Cannot upload to ${name}: ${reason}.`,
    { cause: error },
  );
}
