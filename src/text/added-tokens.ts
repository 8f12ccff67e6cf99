/**
 * Added tokens (`<|im_end|>`, `<s>`, …) are found in a text before anything else happens to it,
 * those that are `normalized` after the normalizer. Leftmost and longest first; the flags lstrip,
 * rstrip and single_word act as in Rust's tokenizers.
 */
import type { AddedToken } from './tokenizer-json.js';

/**
 * A stretch of text: an added token if `id` is there, else what remains to be split. `start` counts
 * UTF-16 units.
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

/** Finds `tokens` as they are spelled by `spelling` (the normalizer, for normalized ones). */
export class AddedTokens {
  /** By first UTF-16 unit, longest first. */
  private readonly byFirst = new Map<string, { content: string; token: AddedToken }[]>();

  constructor(tokens: readonly AddedToken[], spelling: (content: string) => string) {
    for (const token of tokens) {
      const content = spelling(token.content);
      if (content === '') continue;
      const first = content[0] as string;
      this.byFirst.set(
        first,
        [...(this.byFirst.get(first) ?? []), { content, token }].sort(
          (a, b) => b.content.length - a.content.length,
        ),
      );
    }
  }

  split(text: string): Section[] {
    if (this.byFirst.size === 0) return text === '' ? [] : [{ text, start: 0 }];
    const sections: Section[] = [];
    let done = 0;
    const push = (from: number, to: number, id?: number): void => {
      sections.push({ text: text.slice(from, to), start: from, ...(id !== undefined && { id }) });
    };
    for (let at = 0; at < text.length;) {
      const found = this.byFirst
        .get(text[at] as string)
        ?.find(({ content }) => text.startsWith(content, at));
      if (!found) {
        at++;
        continue;
      }
      const { content, token } = found;
      let [start, stop] = [at, at + content.length];
      at = stop;
      if (
        token.single_word &&
        (ENDS_WITH_WORD.test(text.slice(Math.max(0, start - 2), start)) ||
          STARTS_WITH_WORD.test(text.slice(stop, stop + 2)))
      )
        continue;
      if (token.lstrip) while (start > done && SPACE.test(text[start - 1] as string)) start--;
      if (token.rstrip) while (stop < text.length && SPACE.test(text[stop] as string)) stop++;
      if (done < start) push(done, start);
      push(start, stop, token.id);
      done = stop;
    }
    if (done < text.length) push(done, text.length);
    return sections;
  }
}
