/**
 * Finds added tokens (`<|im_end|>`, `<s>`, …) in a text before any other step; `normalized` ones
 * are found after the normalizer. The leftmost and longest match comes first; the flags lstrip,
 * rstrip and single_word act as in Rust's tokenizers.
 */
import { forEach, type Steps } from '../files/steps.js';
import type { AddedToken } from './tokenizer-json.js';

/**
 * A section of a text: an added token if `id` is present, otherwise text that remains to be split.
 * `start` counts UTF-16 units.
 */
export interface Section {
  text: string;
  start: number;
  id?: number;
}

const WORD = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;
const STARTS_WITH_WORD = new RegExp(`^${WORD}`, 'u');
const ENDS_WITH_WORD = new RegExp(`${WORD}$`, 'u');
const SPACE = /\p{White_Space}/u; // JavaScript's \s has U+FEFF and lacks U+0085

/** A node of the tree of token contents, keyed by UTF-16 unit. */
interface Node {
  token?: AddedToken;
  next?: Map<string, Node>;
}

/**
 * Most nodes of the tree, some 240 bytes each; tokens that share no beginning have one for every
 * character.
 */
const MOST_NODES = 1_000_000;

/** Finds added tokens in a text. */
export class AddedTokens {
  /** Finds the next unit with which a token begins. */
  private readonly begins: RegExp | undefined;

  private constructor(private readonly root: Node) {
    const first = [...(root.next?.keys() ?? [])].map(
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    if (first.length > 0) this.begins = new RegExp(`[${first.join('')}]`, 'g');
  }

  /**
   * Each token with the text by which it is found: its content, normalized if the token is. @throws
   * Error, one clause, if they need too much memory
   */
  static *of(tokens: Iterable<readonly [text: string, token: AddedToken]>): Steps<AddedTokens> {
    const root: Node = {};
    let nodes = 0;
    yield* forEach(tokens, ([text, token]) => {
      let node = root;
      for (const unit of text.split('')) {
        node.next ??= new Map();
        let child = node.next.get(unit);
        if (child === undefined) {
          if (++nodes > MOST_NODES)
            throw new Error('its added tokens are too many and too long to be searched for');
          node.next.set(unit, (child = {}));
        }
        node = child;
      }
      if (node !== root) node.token ??= token;
    });
    return new AddedTokens(root);
  }

  *split(text: string): Generator<Section> {
    let done = 0;
    for (let at = this.nextStart(text, 0); at < text.length;) {
      const found = this.longest(text, at);
      if (!found) {
        at = this.nextStart(text, at + 1);
        continue;
      }
      const { length, token } = found;
      let [start, stop] = [at, at + length];
      at = this.nextStart(text, stop);
      if (
        token.single_word &&
        (ENDS_WITH_WORD.test(text.slice(Math.max(0, start - 2), start)) ||
          STARTS_WITH_WORD.test(text.slice(stop, stop + 2)))
      )
        continue;
      if (token.lstrip) while (start > done && SPACE.test(text[start - 1] as string)) start--;
      if (token.rstrip) while (stop < text.length && SPACE.test(text[stop] as string)) stop++;
      if (done < start) yield { text: text.slice(done, start), start: done };
      yield { text: text.slice(start, stop), start, id: token.id };
      done = stop;
    }
    if (done < text.length) yield { text: text.slice(done), start: done };
  }

  private nextStart(text: string, from: number): number {
    if (this.begins === undefined) return text.length;
    this.begins.lastIndex = from;
    return this.begins.exec(text)?.index ?? text.length;
  }

  private longest(text: string, at: number): { length: number; token: AddedToken } | undefined {
    let node: Node | undefined = this.root;
    let found: { length: number; token: AddedToken } | undefined;
    for (let end = at; node !== undefined; end++) {
      if (node.token) found = { length: end - at, token: node.token };
      node = end < text.length ? node.next?.get(text[end] as string) : undefined;
    }
    return found;
  }
}
