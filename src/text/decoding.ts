/**
 * Tokens back to text, one at a time, exactly as Rust's tokenizers does: the results of `push` and
 * `end`, concatenated, are the text of the whole list. Other kinds of decoders are refused.
 */
import { byteOfCharacter, textOf, type Component } from './tokenizer-json.js';

export interface ChunkStream {
  push(token: string): string;
  end(): string;
}

export interface Decoding {
  stream(): ChunkStream;
  /**
   * The bytes that a token adds to a text, independent of its position: its `▁` is a space even if
   * decoding drops the first space of a text.
   */
  bytes(token: string): Uint8Array;
  /** Most bytes that it makes of one byte of a token. */
  growth: number;
}

/** Most bytes that a decoder may make of one; `▁` and the like shrink or grow by a few. */
const MOST_GROWTH = 32;
/** Most characters that a decoder may drop at the beginning of a text; real ones drop one. */
const MOST_STRIPPED = 1000;
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;
const utf8 = new TextEncoder();

/** The decoder of a tokenizer.json. @throws Error for one that is not supported */
export function createDecoding(step: Component | null): Decoding {
  if (step === null) return spaceBetween;
  const steps = step.type === 'Sequence' ? (step['decoders'] as Component[]) : [step];
  const kinds = steps.map(({ type }) => type).join(' ');
  if (/^ByteLevel( Fuse)?$/.test(kinds)) return byteLevel;
  if (kinds === 'Metaspace') return metaspace(step);
  if (/^(Replace )*ByteFallback Fuse( Strip)?$|^(Replace )+Fuse( Strip)?$/.test(kinds))
    return sentencePiece(steps);
  throw new Error(`its decoder ${JSON.stringify(kinds)} is not supported`);
}

/** Without a decoder, tokens are words. */
const spaceBetween: Decoding = {
  stream() {
    let first = true;
    return {
      push: (token) => {
        const text = first ? token : ` ${token}`;
        first = false;
        return text;
      },
      end: () => '',
    };
  },
  bytes: (token) => utf8.encode(` ${token}`),
  growth: 2,
};

/** GPT-2's decoder: characters stand for bytes, and a stateful UTF-8 decoder is exact. */
const byteLevel: Decoding = {
  stream() {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: (token) => decoder.decode(byteLevel.bytes(token), { stream: true }),
      end: () => decoder.decode(),
    };
  },
  bytes(token) {
    const table = byteOfCharacter();
    const bytes = Array.from(token, (character) => table.get(character) ?? -1);
    // A character outside the table stands for itself.
    return bytes.includes(-1) ? utf8.encode(token) : Uint8Array.from(bytes);
  },
  growth: 1,
};

function metaspace(step: Component): Decoding {
  const mark = textOf(step, 'replacement', '▁');
  const dropped = step['prepend_scheme'] !== 'never' && step['add_prefix_space'] !== false;
  return {
    stream() {
      let first = true;
      return {
        push: (token) => {
          const text = token.replaceAll(mark, first && dropped ? '' : ' ');
          first = false;
          return text;
        },
        end: () => '',
      };
    },
    bytes: (token) => utf8.encode(token.replaceAll(mark, ' ')),
    growth: mark === '' ? 3 : 1,
  };
}

/** Replace, then ByteFallback, Fuse and perhaps Strip: the decoder of Llama 2 and Gemma. */
function sentencePiece(steps: Component[]): Decoding {
  const replacements = steps
    .filter(({ type }) => type === 'Replace')
    .map((step) => ({ pattern: plainPattern(step), content: textOf(step, 'content', '') }));
  const fallback = steps.some(({ type }) => type === 'ByteFallback');
  const strip = steps.find(({ type }) => type === 'Strip');
  if (strip && Number(strip['stop'] ?? 0) !== 0)
    throw new Error('its decoder strips the end of a text, which is not supported');
  const dropped = strip
    ? { content: textOf(strip, 'content', ' '), count: Number(strip['start'] ?? 0) }
    : { content: '', count: 0 };
  if (strip && (dropped.content === '' || !(dropped.count >= 0 && dropped.count <= MOST_STRIPPED)))
    throw new Error(`its decoder strips ${dropped.count} times ${JSON.stringify(dropped.content)}`);
  const growth = replacements.reduce(
    (product, { pattern, content }) =>
      product * Math.max(1, Buffer.byteLength(content) / Buffer.byteLength(pattern)),
    1,
  );
  if (growth > MOST_GROWTH)
    throw new Error(`its decoder makes up to ${Math.round(growth)} bytes of one byte`);
  const plain = (token: string): string =>
    replacements.reduce(
      (text, { pattern, content }) => text.replaceAll(pattern, () => content),
      token,
    );
  const byteOf = (token: string): number | null =>
    fallback && BYTE_TOKEN.test(token) ? parseInt(token.slice(3, 5), 16) : null;
  return {
    stream: () => new FallbackStream(plain, byteOf, { ...dropped }),
    bytes: (token) => {
      const byte = byteOf(token);
      return byte === null ? utf8.encode(plain(token)) : Uint8Array.of(byte);
    },
    growth,
  };
}

/** The text that a decoder's Replace looks for. @throws Error for a pattern, which may backtrack */
function plainPattern(step: Component): string {
  const { String: plain } = (step['pattern'] ?? {}) as { String?: unknown };
  if (typeof plain !== 'string' || plain === '')
    throw new Error('its decoder replaces something other than a text, which is not supported');
  return plain;
}

/** One invalid byte makes its whole run of byte tokens invalid, so a run is held until it ends. */
class FallbackStream implements ChunkStream {
  private run: number[] = [];
  private readonly utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

  /** `strip`: the number of characters to drop at the beginning of a text, if they match. */
  constructor(
    private readonly plain: (token: string) => string,
    private readonly byteOf: (token: string) => number | null,
    private readonly strip: { content: string; count: number },
  ) {}

  push(token: string): string {
    const byte = this.byteOf(token);
    if (byte === null) return this.stripped(this.endRun() + this.plain(token));
    this.run.push(byte);
    return '';
  }

  end(): string {
    return this.stripped(this.endRun());
  }

  private endRun(): string {
    const { run } = this;
    this.run = [];
    try {
      return this.utf8.decode(Uint8Array.from(run));
    } catch {
      return '\uFFFD'.repeat(run.length);
    }
  }

  private stripped(text: string): string {
    let rest = text;
    while (this.strip.count > 0 && rest !== '') {
      if (!rest.startsWith(this.strip.content)) this.strip.count = 0;
      else {
        rest = rest.slice(this.strip.content.length);
        this.strip.count--;
      }
    }
    return rest;
  }
}
