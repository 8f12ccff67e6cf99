/** Where a completion says that its answer comes, and the line that follows. */

export const HASHES = /####/g;
export const ANSWER_COLON = /\banswer\s{0,4}(?:\*\*|__)?\s{0,4}(?:[:=\uff1a]|\s[-–—]\s)/gi;
export const BOXED = /\\boxed\s*\{/g;
export const ANSWER_IS =
  /\b(?:answer|(?:correct|right|best)\s{1,4}(?:option|choice|letter|one))\s{1,4}(?:is|was|would\s{1,4}be|must\s{1,4}be|should\s{1,4}be)\b(?:\s{0,4}[:\uff1a])?/gi;

/**
 * Markers looked at, and characters of the line behind each: text is a model's, and may be
 * anything.
 */
const MOST_MARKERS = 32;
const LONGEST_LINE = 500;
const SAYS = /[\p{L}\p{N}]/gu;

/**
 * The first line that says something, behind each occurrence of `marker` in turn; its beginning may
 * be the rest of the marker's line.
 */
export function* linesAfter(text: string, marker: RegExp): Generator<string> {
  const find = new RegExp(marker.source, marker.flags);
  const says = new RegExp(SAYS.source, SAYS.flags);
  for (let n = 0; n < MOST_MARKERS && find.exec(text) !== null; n++) {
    says.lastIndex = find.lastIndex;
    const said = says.exec(text);
    if (said === null) return;
    const start = Math.max(find.lastIndex, text.lastIndexOf('\n', said.index) + 1);
    const end = text.indexOf('\n', said.index);
    yield text.slice(start, Math.min(end === -1 ? text.length : end, start + LONGEST_LINE));
  }
}

/** Full-width letters, digits and signs as ASCII; LaTeX's text commands as plain braces. */
export function plainText(text: string): string {
  return text
    .replace(/[\uff01-\uff5e]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 0xfee0))
    .replace(/\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox)\s*\{/g, '{');
}

/** Lower case, letters and digits and inner hyphens alone, no leading article. */
export function clean(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}'’-]+/gu, ' ')
    .replace(/(?<![\p{L}\p{N}])['’-]+|['’-]+(?![\p{L}\p{N}])/gu, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/^(?:the|an|a) (?=\S)/, '');
}
