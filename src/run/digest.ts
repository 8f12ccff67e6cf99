/** Size, SHA-256 and rows of a run's files, as they are recorded. */
import { createHash } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openRegular } from '../files/read.js';
import { asRunError, readOwnText } from './own-files.js';
import { METRICS } from './store.js';
import { untimed } from './timing.js';

/** The recorded description of a file's content. */
export interface Digest {
  bytes: number;
  sha256: string;
  /** Lines of a JSONL file; optimizer steps of a trainer state. */
  rows?: number;
}

/**
 * Digests of large files that this process has read or written, by path, each with the identity of
 * that file. Any later change of the file sets its ctime, so a file with the same identity has
 * not changed.
 */
const digests = new Map<string, { identity: string; digest: Digest }>();
const LARGE = 4 << 20;
/** A change this soon after another may leave the time stamp as it was, so reading waits for it. */
const CLOCK_TICK_MS = 50;

function identityOf(path: string): { identity: string; size: bigint; changed: number } {
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = lstatSync(path, { bigint: true });
  return { identity: [dev, ino, size, mtimeNs, ctimeNs].join(' '), size, changed: Number(ctimeMs) };
}

/**
 * Size, SHA-256 and, for JSONL, rows of a file, which is read as a stream; of metrics.jsonl without
 * its timing columns. A large file that has not changed since this process last read it is not read
 * again.
 */
export async function digestFile(path: string, signal?: AbortSignal): Promise<Digest> {
  if (basename(path) === METRICS) return digestMetrics(readOwnText(path));
  const { identity, size, changed } = identityOf(path);
  const known = digests.get(path);
  if (known?.identity === identity) return known.digest;
  if (size < LARGE) return readDigest(path, signal);
  const early = changed + CLOCK_TICK_MS - Date.now();
  if (early > 0) await sleep(Math.min(early, CLOCK_TICK_MS));
  const digest = await readDigest(path, signal);
  if (identityOf(path).identity === identity) digests.set(path, { identity, digest });
  return digest;
}

/** Notes the digest of a large file that this process has just written. */
export function noteDigest(path: string, digest: Digest): void {
  const { identity, size } = identityOf(path);
  if (size >= LARGE && Number(size) === digest.bytes) digests.set(path, { identity, digest });
}

async function readDigest(path: string, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash('sha256');
  const counts = hasRows(path);
  let bytes = 0;
  let rows = 0;
  const opened = await openRegular(path).catch((error: unknown) => {
    throw asRunError(error);
  });
  const stream = opened.createReadStream({ highWaterMark: 1 << 20, ...(signal && { signal }) });
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    if (counts) rows += countRows(chunk);
  }
  return { bytes, sha256: hash.digest('hex'), ...(counts && { rows }) };
}

const digestMetrics = (text: string): Digest =>
  digestOf(Buffer.from(text.split('\n').map(untimed).join('\n')), true);

/** Whether the rows of a file are counted. */
export const hasRows = (path: string): boolean => path.endsWith('.jsonl');

/** The digest of a file's content, with its lines if `counts`. */
export function digestOf(content: Buffer, counts: boolean): Digest {
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { bytes: content.length, sha256, ...(counts && { rows: countRows(content) }) };
}

function countRows(bytes: Buffer): number {
  let rows = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) rows++;
  return rows;
}
