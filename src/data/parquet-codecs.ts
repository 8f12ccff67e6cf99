/**
 * Decompressors of Parquet pages that stop at the declared length, so that a small page cannot fill
 * the memory or run for ever.
 */
import zlib, { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { Compressors } from 'hyparquet';

type Decompress = (input: Uint8Array, length: number) => Uint8Array;

let loaded: Compressors = {};

/**
 * Loads the decompressors that COMPRESSORS needs for `codecs`. Those of SNAPPY and ZSTD are
 * WebAssembly, which takes 10 GB of address space, so that a process loads them only to read a file
 * that has such pages.
 */
export async function loadCompressors(codecs: ReadonlySet<string>): Promise<void> {
  if (!codecs.has('SNAPPY') && (nativeZstd || !codecs.has('ZSTD'))) return;
  loaded = (await import('hyparquet-compressors')).compressors;
}

/** Node has its own decompressor from 22.15 on. */
const nativeZstd = (
  zlib as {
    zstdDecompressSync?: (input: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
  }
).zstdDecompressSync;

/** An empty page is packed as one or two bytes, which some decoders cannot read. */
const bounded =
  (work: Decompress): Decompress =>
  (input, length) =>
    length === 0 ? new Uint8Array(0) : work(input, length);

export const COMPRESSORS: Compressors = {
  SNAPPY: bounded((input, length) => {
    if (snappyLength(input) !== length)
      throw new Error('a snappy page has another length than its header says');
    return loaded.SNAPPY!(input, length);
  }),
  GZIP: bounded((input, length) => gunzipSync(input, { maxOutputLength: length })),
  BROTLI: bounded((input, length) => brotliDecompressSync(input, { maxOutputLength: length })),
  ZSTD: bounded((input, length) => {
    if (nativeZstd) return nativeZstd(input, { maxOutputLength: length });
    if (zstdBlocks(input) > 4 * Math.ceil(length / ZSTD_BLOCK) + 64)
      throw new Error('a zstd page unpacks to more than its header says');
    return loaded.ZSTD!(input, length);
  }),
  LZ4_RAW: bounded(lz4),
};

/** A snappy stream begins with its unpacked length, a varint. */
function snappyLength(input: Uint8Array): number {
  let length = 0;
  for (let i = 0; i < 5; i++) {
    const byte = input[i] ?? 0;
    length += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return length;
  }
  return -1;
}

/** Most bytes that one zstd block unpacks to (RFC 8878, 3.1.1.2). */
const ZSTD_BLOCK = 128 * 1024;

/** The number of blocks of all frames, counted by their headers without unpacking. */
function zstdBlocks(input: Uint8Array): number {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  let at = 0;
  let blocks = 0;
  while (at + 4 <= input.length) {
    const magic = view.getUint32(at, true);
    if ((magic & 0xfffffff0) >>> 0 === 0x184d2a50) {
      // skippable
      at += 8 + view.getUint32(at + 4, true);
      continue;
    }
    const descriptor = view.getUint8(at + 4);
    const single = (descriptor >> 5) & 1;
    const sizeFlag = descriptor >> 6;
    at +=
      5 +
      (single ? 0 : 1) +
      [0, 1, 2, 4][descriptor & 3]! +
      (sizeFlag === 0 ? single : [0, 2, 4, 8][sizeFlag]!);
    for (let last = false; !last; blocks++) {
      const header =
        view.getUint8(at) | (view.getUint8(at + 1) << 8) | (view.getUint8(at + 2) << 16);
      last = (header & 1) === 1;
      at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3); // a run-length block holds one byte
    }
    at += descriptor & 4; // checksum
  }
  return blocks;
}

/** One LZ4 block (lz4_Block_format.md of the LZ4 project). */
function lz4(input: Uint8Array, length: number): Uint8Array {
  const output = new Uint8Array(length);
  let from = 0;
  let to = 0;
  const count = (nibble: number): number => {
    let total = nibble;
    for (let byte = nibble === 15 ? 255 : 0; byte === 255; total += byte) byte = input[from++] ?? 0;
    return total;
  };
  while (from < input.length) {
    const token = input[from++]!;
    const literals = count(token >> 4);
    if (literals > input.length - from || literals > length - to)
      throw new Error('an LZ4 page is damaged');
    output.set(input.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from >= input.length) break;
    const distance = input[from]! | ((input[from + 1] ?? 0) << 8);
    from += 2;
    const copied = count(token & 15) + 4;
    if (distance === 0 || distance > to || copied > length - to)
      throw new Error('an LZ4 page is damaged');
    for (const end = to + copied; to < end; to++) output[to] = output[to - distance]!;
  }
  if (to !== length) throw new Error('an LZ4 page is shorter than its header says');
  return output;
}
