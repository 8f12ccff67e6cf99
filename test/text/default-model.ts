/**
 * The default model's GGUF metadata for tests of the text room, read by a few lines of its own: the
 * room gets it as a parameter.
 */
import { openSync, readSync, closeSync, statSync } from 'node:fs';
import { DEFAULT_MODEL, resolveModel } from '../../src/models/resolve.js';
import { loadTokenizer, type TokenizerSource } from '../../src/text/tokenizer.js';

/** Where the default model's tokenizer is, or the sentence that says why it could not be had. */
async function defaultTokenizerSource(): Promise<TokenizerSource | string> {
  try {
    const { path } = await resolveModel(DEFAULT_MODEL);
    return statSync(path).isDirectory() ? { folder: path } : { gguf: readMetadata(path) };
  } catch (error) {
    return `skipped, the default model could not be had: ${(error as Error).message}`;
  }
}

export async function defaultTokenizer(): Promise<
  Awaited<ReturnType<typeof loadTokenizer>> | string
> {
  const source = await defaultTokenizerSource();
  return typeof source === 'string' ? source : loadTokenizer(source);
}

const SIZES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

function readMetadata(path: string): Record<string, unknown> {
  const file = openSync(path, 'r');
  const bytes = Buffer.alloc(Math.min(statSync(path).size, 32 << 20));
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  let at = 8;
  const skip = (n: number): number => (at += n) - n;
  const u32 = (): number => bytes.readUInt32LE(skip(4));
  const u64 = (): number => Number(bytes.readBigUInt64LE(skip(8)));
  const text = (): string => {
    const n = u64();
    return bytes.toString('utf8', skip(n), at);
  };
  const value = (type: number): unknown => {
    if (type === 8) return text();
    if (type === 9) {
      const inner = u32();
      return Array.from({ length: u64() }, () => value(inner));
    }
    const start = skip(SIZES[type] as number);
    if (type === 7) return bytes[start] === 1;
    if (type === 6) return bytes.readFloatLE(start);
    if (type === 12) return bytes.readDoubleLE(start);
    if (type >= 10) return Number(bytes.readBigInt64LE(start));
    return type % 2 === 0
      ? bytes.readUIntLE(start, SIZES[type] as number)
      : bytes.readIntLE(start, SIZES[type] as number);
  };
  skip(8);
  const count = u64();
  return Object.fromEntries(Array.from({ length: count }, () => [text(), value(u32())]));
}
