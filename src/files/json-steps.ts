/**
 * JSON.parse in steps, for files of tens of MB (a tokenizer has a vocabulary and merges of half a
 * million entries). Brackets, quotes and commas show where a long list or object can be cut; the
 * parts are parsed by JSON.parse.
 */
import { parseConfig, RefusedJson, TooManyParts } from './json.js';
import type { Steps } from './steps.js';

/** Bytes of one step: some milliseconds, also of short entries. */
export const STEP_BYTES = 1 << 16;
/** Bytes of one step where they are only counted. */
const COUNTED_BYTES = 1 << 22;

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Most commas and opening brackets: Gemma's tokenizer has two million, and of many more the values
 * would fill the memory.
 */
const MOST_PARTS = 10_000_000;

/** Deeper texts are parsed whole: each step looks at all that is open. */
const MOST_OPEN = 1000;

/** What has been read of a long list or object. */
type Made = unknown[] | Map<string, unknown> | Record<string, unknown>;

/** A list or object whose end has not been reached. */
interface Open {
  isList: boolean;
  /** The position after its bracket. */
  start: number;
  /** The position after its last comma, else `start`. */
  comma: number;
  /** Undefined as long as it is parsed together with what is around it. */
  made?: Made;
  /** The key of `made` in an object. */
  key: string;
  /** If it is begun: the first byte that has not been parsed. */
  from: number;
  /** Whether its last entry has been made, and a comma or its end must follow. */
  ended: boolean;
}

/**
 * The value of the JSON text in UTF-8 `bytes`. An object under the key `mapped` that is longer than
 * a step is a Map, which is faster at half a million entries and can be listed in parts. @throws
 * SyntaxError like JSON.parse, TooManyParts
 */
export function* parseJsonInSteps(bytes: Uint8Array, mapped?: string): Steps<unknown> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  yield* refuseManyParts(text);
  const found = text.length > STEP_BYTES ? yield* new Parser(text, mapped).parse() : undefined;
  // A short text; or one that is no JSON, of which JSON.parse says why.
  return found ?? (JSON.parse(text.toString()) as unknown);
}

/** `parseJsonInSteps` for a config that Python may have written, with NaN and Infinity. */
export function* parseConfigInSteps(bytes: Uint8Array, mapped?: string): Steps<unknown> {
  try {
    return yield* parseJsonInSteps(bytes, mapped);
  } catch (error) {
    if (error instanceof RefusedJson) throw error;
    return parseConfig(Buffer.from(bytes).toString());
  }
}

/** Commas in strings count too: there are few. @throws TooManyParts */
function* refuseManyParts(text: Buffer): Steps<void> {
  if (text.length <= MOST_PARTS) return;
  let parts = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at];
    if (byte === COMMA || byte === OPEN_LIST || byte === OPEN_OBJECT) parts++;
    if (at % COUNTED_BYTES === 0) yield;
  }
  if (parts > MOST_PARTS)
    throw new TooManyParts(`it has ${parts} entries, and at most ${MOST_PARTS} are read`);
}

class Parser {
  private readonly open: Open[] = [];

  constructor(
    private readonly bytes: Buffer,
    private readonly mapped: string | undefined,
  ) {}

  /** The list or object of the text; undefined if it has none that can be read in steps. */
  *parse(): Steps<Made | undefined> {
    const { bytes, open } = this;
    let rested = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (byte === QUOTE) at = this.endOfString(at);
      else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        if (open.length === MOST_OPEN) return undefined;
        const [start, isList] = [at + 1, byte === OPEN_LIST];
        open.push({ isList, start, comma: start, key: '', from: start, ended: false });
      } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
        const closed = open.pop();
        if (closed?.isList !== (byte === CLOSE_LIST) || !this.close(closed, at)) return undefined;
        if (open.length === 0) return this.isBlank(at + 1, bytes.length) ? closed.made : undefined;
      } else if (byte === COMMA) {
        if (!this.cut(at)) return undefined;
        if (at - rested < STEP_BYTES) continue;
        if (!this.flush(at)) return undefined;
        rested = at;
        yield;
      }
    }
    return undefined;
  }

  /** The position of the quote that ends the string which begins at `at`. */
  private endOfString(at: number): number {
    const { bytes } = this;
    for (at++; at < bytes.length && bytes[at] !== QUOTE; at++) if (bytes[at] === BACKSLASH) at++;
    return at;
  }

  /** Notes a comma; false where none may be. */
  private cut(at: number): boolean {
    const entry = this.open.at(-1);
    if (entry === undefined || (entry.ended && !this.isBlank(entry.from, at))) return false;
    entry.comma = at + 1;
    if (entry.ended) entry.from = at + 1;
    entry.ended = false;
    return true;
  }

  /** Parses the complete entries of all that is open, up to the comma at `at`. */
  private flush(at: number): boolean {
    let around: Open | undefined;
    for (const entry of this.open) {
      if (entry.made === undefined && !this.begin(entry, around)) return false;
      around = entry;
    }
    return this.add(around!, at + 1);
  }

  /** Parses the entries before `entry` in the one around it, and begins `entry`. */
  private begin(entry: Open, around: Open | undefined): boolean {
    if (around !== undefined && !this.add(around, around.comma)) return false;
    const before = this.text(around?.from ?? 0, entry.start - 1);
    if (around?.isList === false) {
      const [key, ...others] = Object.keys(tryParse(`{${before}null}`) ?? {});
      if (key === undefined || others.length > 0) return false;
      entry.key = key;
    } else if (!isBlankText(before)) return false;
    const asMap = !entry.isList && around !== undefined && entry.key === this.mapped;
    entry.made = entry.isList ? [] : asMap ? new Map<string, unknown>() : {};
    return true;
  }

  /** Parses the rest of `entry`, whose bracket closes at `at`, and adds it to the one around it. */
  private close(entry: Open, at: number): boolean {
    if (entry.made === undefined) return true;
    if (!(entry.ended ? this.isBlank(entry.from, at) : this.add(entry, at + 1))) return false;
    const around = this.open.at(-1);
    if (around === undefined) return true;
    put(around.made!, entry.key, entry.made);
    around.from = at + 1;
    around.ended = true;
    return true;
  }

  /** Adds the entries from `entry.from` to the comma or bracket before `end`. */
  private add(entry: Open, end: number): boolean {
    if (end === entry.from) return true;
    const text = this.text(entry.from, end - 1);
    const part = tryParse(entry.isList ? `[${text}]` : `{${text}}`);
    const entries = Object.entries(part ?? {});
    for (const [key, value] of entries) put(entry.made!, key, value);
    entry.from = end;
    return entries.length > 0;
  }

  private text(from: number, to: number): string {
    return this.bytes.toString('utf8', from, to);
  }

  private isBlank(from: number, to: number): boolean {
    return isBlankText(this.text(from, to));
  }
}

const isBlankText = (text: string): boolean => /^[ \t\r\n]*$/.test(text);

function tryParse(text: string): object | undefined {
  try {
    return JSON.parse(text) as object;
  } catch {
    return undefined;
  }
}

function put(made: Made, key: string, value: unknown): void {
  if (Array.isArray(made)) made.push(value);
  else if (made instanceof Map) made.set(key, value);
  else if (key !== '__proto__') made[key] = value;
  else
    Object.defineProperty(made, key, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
}
