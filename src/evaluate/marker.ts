/** The markers with which a completion announces its answer, and the lines after them. */

export const ANSWER_TAG = /<answer>/gi;
export const HASHES = /####/g;
export const ANSWER_COLON = /\banswer\s{0,4}(?:\*\*|__)?\s{0,4}(?:[:=\uff1a]|\s[-–—]\s)/gi;
export const BOXED = /\\boxed\s*\{/g;
export const ANSWER_IS = new RegExp(
  String.raw`\b(?:answer|(?:correct|right|best)\s{1,4}(?:option|choice|letter|one))` +
    String.raw`\s{1,4}(?:is|was|would\s{1,4}be|must\s{1,4}be|should\s{1,4}be)\b` +
    String.raw`(?!\s{1,4}(?:found|obtained|calculated|computed|determined|given)\b)` +
    String.raw`(?:\s{0,4}[:\uff1a])?`,
  'gi',
);

/** Words that reject what follows: `not A`, `it cannot be 5`, `D instead of C`. */
export const REJECTS =
  String.raw`(?<![\p{L}\p{N}])(?:not|cannot|never|\p{L}{1,8}n['’]t|neither|nor|rather\s{1,4}than|` +
  String.raw`instead\s{1,4}of|except|eliminate|rule\s{1,4}out)\s{1,4}(?:be\s{1,4})?`;

/** Limits for hostile text: occurrences of each marker, and characters of the line after one. */
const MOST_MARKERS = 32;
const LONGEST_LINE = 500;
const SAYS = /[\p{L}\p{N}]/gu;

/**
 * The occurrences of all `markers` in the order of the text, each with the first line after it that
 * has a letter or a digit; this may be the rest of the marker's own line.
 */
export function* linesAfter(
  text: string,
  markers: readonly RegExp[],
): Generator<{ marker: RegExp; line: string }> {
  const found = markers
    .flatMap((marker) => occurrences(text, marker).map((end) => ({ marker, end })))
    .sort((a, b) => a.end - b.end);
  const says = new RegExp(SAYS.source, SAYS.flags);
  for (const { marker, end: after } of found) {
    says.lastIndex = after;
    const said = says.exec(text);
    if (said === null) return;
    const start = Math.max(after, text.lastIndexOf('\n', said.index) + 1);
    const end = text.indexOf('\n', said.index);
    const line = text.slice(start, Math.min(end === -1 ? text.length : end, start + LONGEST_LINE));
    yield { marker, line: marker === ANSWER_TAG ? line.replace(/<\/answer>.*/i, '') : line };
  }
}

/** The ends of the first occurrences of `marker`. */
function occurrences(text: string, marker: RegExp): number[] {
  const find = new RegExp(marker.source, marker.flags);
  const ends: number[] = [];
  while (ends.length < MOST_MARKERS && find.exec(text) !== null) ends.push(find.lastIndex);
  return ends;
}

const THOUGHT = new RegExp(
  String.raw`<(\/?)(?:think(?:ing)?|thought|reason(?:ing)?|reflection)>|\[(\/?)THINK\]|` +
    String.raw`◁(\/?)think▷|<\|(?:begin|(end))_of_thought\|>`,
  'gi',
);

/**
 * A completion without its thoughts: `<think>…</think>`, `[THINK]…[/THINK]` and similar tags, also
 * nested ones, a thought that the prompt has opened, and one that is never closed. If a tag is
 * opened once too often, the text after the last closing tag is the answer.
 */
export function withoutThoughts(text: string): string {
  let kept = '';
  let depth = 0;
  let from = 0;
  let lastClose = -1;
  for (const tag of text.matchAll(THOUGHT)) {
    const end = tag.index + tag[0].length;
    if (!tag.slice(1).some(Boolean)) {
      if (depth++ === 0) kept += text.slice(from, tag.index);
    } else {
      if (depth > 0) depth--;
      else kept = '';
      from = lastClose = end;
    }
  }
  if (depth === 0) return kept + text.slice(from);
  return lastClose < 0 || kept.trim() !== '' ? kept : text.slice(lastClose).replace(THOUGHT, '');
}

/** Full-width letters, digits and signs become ASCII; LaTeX's text commands become plain braces. */
export function plainText(text: string): string {
  return text
    .replace(/[\uff01-\uff5e]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 0xfee0))
    .replace(/\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox)\s*\{/g, '{');
}

/** Signs that are words of their own: `C++`, `x^2`, `R&D`. Others are punctuation or markup. */
const SYMBOL = /[+=<>%#&@/^×÷√±°−]/g;
/** A minus before a variable or a number, and a product; elsewhere these are hyphens and markup. */
const MINUS = /(?<![\p{L}\p{N})\]-]\s?)-(?=\p{L}(?!\p{L})|\p{N})/gu;
const PRODUCT = /(?<=[\p{L}\p{N})])\s?\*\s?(?=[\p{L}\p{N}(])/gu;
/** A symbol at the end of words to which the next word belongs: `-x`, `1 + x`, `and/or`. */
export const BINDS = /[-+*/^×÷√±−&@#]$/;

/**
 * Lower case, only letters, digits, inner hyphens and, as words of their own, symbols; without a
 * leading article, quotation marks at the front of a line, and tags.
 */
export function clean(text: string): string {
  return text
    .toLowerCase()
    .replace(/<\/?[a-z]+>/g, ' ')
    .replace(/(?:^|\n)[^\S\n]*(?:[>#]+\s+)+/g, ' ')
    .replace(MINUS, ' − ')
    .replace(PRODUCT, ' × ')
    .replace(SYMBOL, ' $& ')
    .replace(/[^\p{L}\p{N}'’+=<>%#&@/^×÷√±°−-]+/gu, ' ')
    .replace(/(?<![\p{L}\p{N}])['’-]+|['’-]+(?![\p{L}\p{N}])/gu, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/^(?:the|an|a) (?=[\p{L}\p{N}])/u, '');
}
