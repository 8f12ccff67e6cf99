/**
 * The number that a completion answers with. It may have signs, currencies, units, percent,
 * decimals, groups of thousands by commas, thin spaces or LaTeX, fractions, mixed numbers, or `2.5
 * million`.
 *
 * Powers count by their value (`2^5`, `2**5`, `5²`, `3 × 10^4`); an exponent after a letter belongs
 * to a unit (`45 m^2`).
 *
 * After a marker the answer is the first number, or the result of a calculation that begins there
 * (`Answer: 5 x 4 = 20`; the official code takes the 5). `####` counts only if a number follows
 * directly, because it also marks headings in Markdown. Without a marker it is the last number that
 * is neither an ordinal nor the number of a list item or step (`3. So …`, `Step 2`).
 *
 * A date (`5 March 2020`, `2020-03-05`), a time of day (`10:30`, `6 pm`) and a year that opens a
 * clause (`In 2020 he …`) count only if the text has no other number, and so does one that the text
 * rejects (`not 17 but 18`); a time counts by its hour.
 */
import {
  ANSWER_COLON,
  ANSWER_IS,
  ANSWER_TAG,
  BOXED,
  HASHES,
  linesAfter,
  plainText,
  REJECTS,
} from './marker.js';

// Sign, then digits grouped by commas or not, with decimals; a fraction or a mixed number. A minus
// after a digit or letter is a hyphen or a difference.
const DIGITS = String.raw`(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)`;
const FRACTION = String.raw`${DIGITS}(?:\.\d+)?\s?\/\s?${DIGITS}(?![\d./])`;
const NUMBER = new RegExp(
  String.raw`(?<![\p{L}\d_.^]|\^\{|\d:)(?:(?<![\p{L}\d)]\s?)-\s?)?(?:[$€£¥]\s?)?-?` +
    String.raw`(?:\d+\s+\d+\/\d+(?![\d./])|${FRACTION}|` +
    String.raw`${DIGITS}(?:\.\d+)?(?!\d*(?:st|nd|rd|th)\b)|\.\d+)` +
    String.raw`(?:\s?(?:thousand|million|billion)\b)?`,
  'giu',
);
/** The text after the first number of a calculation: an optional unit and an operator. */
const SUM = /^(?:\s?[\p{L}%]+){0,2}?\s*(?:[-+*/×÷·]|x(?=\s*[\d$]))/u;
const CLOCK = /^(?::\d{2}(?!\d)|\s?[ap]\.?m\b)/i;
const YEAR = /^(?:1[5-9]|20)\d\d$/;
const BEFORE_YEAR = /\b(?:in|since|until|during|after|before|year)\s$/i;
const AFTER_YEAR = /^(?:,|\s(?:he|she|it|they|we|you|there|the|his|her|their|was|were|had|has)\b)/i;

const REJECTED = new RegExp(`${REJECTS}$`, 'iu');

const MONTH =
  '(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|' +
  'Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\\.?';
const DAY = String.raw`\d{1,2}(?:st|nd|rd|th)?`;
const DATE = new RegExp(
  String.raw`\b(?:${DAY}\s+(?:of\s+)?${MONTH}(?:,?\s+\d{4})?` +
    String.raw`|${MONTH}\s+(?:${DAY}(?:,?\s+\d{4})?|\d{4})` +
    String.raw`|\d{4}-\d{2}-\d{2}|\d{1,2}\/\d{1,2}\/\d{4})\b`,
  'g',
);

/** The number or fraction that an answer gives, in canonical form; null if there is none. */
export function extractNumber(written: string): string | null {
  const text = plainNumbers(plainText(written));
  const markers = [HASHES, ANSWER_TAG, ANSWER_COLON, BOXED, ANSWER_IS];
  for (const { marker, line: written } of linesAfter(text, markers)) {
    const line = written.replace(SPACED, spaced);
    const found =
      marker === HASHES
        ? leading(line)
        : marker === BOXED
          ? numbers(line)[0]?.value
          : answered(line, marker === ANSWER_IS);
    if (found !== undefined) return found;
  }
  const unlisted = text
    .replace(/^[ \t]*\d{1,2}[.)][ \t]+(?=\S)/gm, '')
    .replace(/\bstep\s+\d+/gi, '');
  return (quantities(unlisted).at(-1) ?? quantities(text).at(-1))?.value ?? null;
}

/** The value of a whole text that is one number or fraction, or null. */
export function numericValue(text: string): number | null {
  const plain = plainNumbers(plainText(text))
    .replace(/\s?%\s*$/, '')
    .trim();
  const [only, ...others] = numbers(plain);
  if (only && others.length === 0 && only.start === 0 && only.end === plain.length)
    return valueOf(only.value);
  return grouped(text);
}

/** The number at the beginning of a text that continues with a unit: `5 apples`. */
export function numberWithUnit(text: string): string | undefined {
  const plain = plainNumbers(plainText(text)).trim();
  const [first] = numbers(plain);
  return first?.start === 0 && /^\s+\p{L}/u.test(plain.slice(first.end)) ? first.value : undefined;
}

/** The value of a canonical number or fraction. */
function valueOf(written: string): number | null {
  const [top, bottom = 1] = written.split('/').map(Number);
  const quotient = top! / bottom;
  return Number.isFinite(quotient) ? quotient : null;
}

/** A number with white space between its digits. */
function grouped(text: string): number | null {
  if (/\d[\s,]+(?!\d{3}(?!\d))\d/.test(text)) return null; // several numbers
  const match = /^(-?)[$€£¥]?(-?)([\d,]*\.?\d+)(?:\/([\d,]*\.?\d+))?%?$/.exec(
    text.trim().replace(/\s+/g, ''),
  );
  if (!match) return null;
  const part = (digits: string) => Number(digits.replaceAll(',', ''));
  const value = part(match[3]!) / (match[4] === undefined ? 1 : part(match[4]));
  return Number.isFinite(value) ? (match[1] || match[2] ? -value : value) : null;
}

interface Found {
  value: string;
  start: number;
  end: number;
}

const numbers = (text: string): Found[] =>
  [...text.matchAll(NUMBER)].map((match) => ({
    value: canonical(match[0]),
    start: match.index,
    end: match.index + match[0].length,
  }));

/** The numbers without dates, times, years and rejected ones, unless there are only these. */
function quantities(text: string): Found[] {
  const all = numbers(text);
  const dates = [...text.matchAll(DATE)].map(({ 0: date, index }) => [index, index + date.length]);
  const rest = all.filter(({ value, start, end }) => {
    if (dates.some(([from, to]) => start >= from! && end <= to!)) return false;
    const behind = text.slice(end, end + 16);
    const year =
      YEAR.test(value) &&
      BEFORE_YEAR.test(text.slice(Math.max(0, start - 16), start)) &&
      AFTER_YEAR.test(behind);
    return (
      !year && !CLOCK.test(behind) && !REJECTED.test(text.slice(Math.max(0, start - 24), start))
    );
  });
  return rest.length > 0 ? rest : all;
}

/** The number at the beginning of a line, ignoring signs. */
function leading(line: string): string | undefined {
  const first = numbers(line)[0];
  return first && !/[\p{L}\p{N}]/u.test(line.slice(0, first.start)) ? first.value : undefined;
}

/**
 * The first number of a line (of its first sentence, if that has one), or the result of a
 * calculation that begins there. With `sentenceOnly`, a number of a later sentence is not taken:
 * `The answer is not obvious. We get 5.`
 */
function answered(line: string, sentenceOnly: boolean): string | undefined {
  const sentence = line.split(/[.!?;](?=\s|$)/, 1)[0]!;
  const text = sentenceOnly || numbers(sentence).length > 0 ? sentence : line;
  const found = quantities(text);
  let at = 0;
  while (found[at] && beginsSum(found[at]!, text)) {
    const equals = text.indexOf('=', found[at]!.end);
    const next = equals === -1 ? -1 : found.findIndex(({ start }) => start >= equals);
    if (next === -1) break;
    at = next;
  }
  return found[at]?.value;
}

const beginsSum = ({ value, end }: Found, text: string): boolean =>
  SUM.test(text.slice(end, end + 64)) ||
  (value.includes('/') && /^\s{0,4}=/.test(text.slice(end, end + 8)));

const VULGAR: Record<string, string> = {
  '¼': '1/4',
  '½': '1/2',
  '¾': '3/4',
  '⅓': '1/3',
  '⅔': '2/3',
  '⅛': '1/8',
  '⅜': '3/8',
  '⅝': '5/8',
  '⅞': '7/8',
};

const NUMERAL = String.raw`(?<![\p{L}\d_.,^])(\d{1,9}(?:\.\d{1,9})?)`;
const SCIENTIFIC = new RegExp(
  String.raw`${NUMERAL}\s?(?:[×·x*]|\\times|\\cdot)\s?10\s?\^\s?\{?(-?\d{1,2})(?!\d)\}?`,
  'gu',
);
const EXPONENT = new RegExp(
  String.raw`(?<![\p{L}\d_.,^])(\d{1,9}(?:\.\d{1,9})?)[eE]([-+]?\d{1,2})(?![\p{L}\d.])`,
  'gu',
);
const POWER = new RegExp(String.raw`${NUMERAL}\s?(?:\^|\*\*)\s?\{?(-?\d{1,3})(?![\d.])\}?`, 'gu');

/** A number in decimal digits, or the original text if that would not be exact. */
function value(written: string, number: number): string {
  const digits = String(Number(number.toPrecision(15)));
  return number < 1e15 && !digits.includes('e') ? digits : written;
}

/** Normalises minus signs, thousands, fractions, powers and money. */
function plainNumbers(text: string): string {
  return text
    .replace(/[−–]/g, '-')
    .replace(/\\[dt]?frac\s*(?:\{(\d+)\}\s*\{(\d+)\}|(\d)(\d))/g, ' $1$3/$2$4')
    .replace(/\u2044/g, '/')
    .replace(
      /(?<=\d)[⁰¹²³⁴-⁹]{1,3}(?![⁰¹²³⁴-⁹])/g,
      (digits) => `^${Array.from(digits, (digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(digit)).join('')}`,
    )
    .replace(/(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d{1,2}(?!\d)/g, (european) =>
      european.replaceAll('.', '').replace(',', '.'),
    )
    .replace(/(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.,]\d)/g, (european) =>
      european.replaceAll('.', ''),
    )
    .replace(/(?<![\d.,])\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])/g, (indian) =>
      indian.replaceAll(',', ''),
    )
    .replace(EXPONENT, (written, factor: string, exponent: string) =>
      value(written, Number(`${factor}e${exponent}`)),
    )
    .replace(SCIENTIFIC, (written, factor: string, exponent: string) =>
      value(written, Number(factor) * 10 ** Number(exponent)),
    )
    .replace(POWER, (written, base: string, exponent: string) =>
      value(written, Number(base) ** Number(exponent)),
    )
    .replace(/[¼½¾⅓⅔⅛⅜⅝⅞]/g, (c) => ` ${VULGAR[c]}`)
    .replace(/\{,\}/g, ',')
    .replace(/(?<=\d)(?:\\,|\\!,|[\u00a0\u2009\u202f'’_])(?=\d{3}(?!\d))/g, ',')
    .replace(/\\(?=[$%])/g, '')
    .replace(CERTAIN, spaced);
}

/** `1 234` after a marker, unless more numbers or a compound (`2 100-gram bags`) follow. */
const SPACED = /(?<![\d.,/^]\s?)\d{1,2}(?: \d{3})+(?![\d/]| \d|-\p{L})/gu;
/** The same anywhere where a group begins with 0, so that it is no number of its own: `12 050`. */
const CERTAIN =
  /(?<![\d.,/^]\s?)\d{1,3}(?: \d{3})*? 0\d{2}(?: \d{3})*(?!\d|[.,]\d{3})(?:,\d{1,2}(?!\d))?/g;

const spaced = (run: string): string => run.replace(',', '.').replaceAll(' ', ',');

const SCALE: Record<string, number> = { thousand: 1e3, million: 1e6, billion: 1e9 };

/** `-$1,234.50` → `-1234.5`, `3 / 4` → `3/4`, `2 1/2` → `5/2`, `1.5 million` → `1500000`. */
function canonical(written: string): string {
  const negative = written.includes('-') ? '-' : '';
  const scale = SCALE[/[a-z]+$/i.exec(written)?.[0].toLowerCase() ?? ''];
  const mixed = /^\D*(\d+)\s+(\d+)\/(\d+)/.exec(written);
  if (mixed) {
    const [whole, top, bottom] = mixed.slice(1).map(Number) as [number, number, number];
    return `${negative}${whole * bottom + top}/${bottom}`;
  }
  const parts = written
    .replace(/[^\d./]/g, '')
    .split('/')
    .map((part) =>
      part
        .replace(/^0+(?=\d)/, '')
        .replace(/(\.\d*?)0+$/, '$1')
        .replace(/\.$/, '')
        .replace(/^\./, '0.'),
    );
  if (scale !== undefined && parts.length === 1)
    return negative + String(Number((Number(parts[0]) * scale).toPrecision(15)));
  return negative + parts.join('/');
}
