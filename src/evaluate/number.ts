/**
 * The number that a completion answers with. Signs, currencies, units, percent, decimals, groups of
 * thousands by commas, thin spaces or LaTeX, fractions and mixed numbers, `2.5 million`.
 *
 * Behind a marker: the first number, or what a sum that begins there comes to (`Answer: 5 x 4 =
 * 20`; the official code takes the 5). `####` counts only with the number right behind it, since it
 * also heads sections in Markdown. Without a marker: the last number that is not a list's or a
 * step's own (`3. So …`, `Step 2`) nor an ordinal.
 */
import { ANSWER_COLON, ANSWER_IS, BOXED, HASHES, linesAfter, plainText } from './marker.js';

// Sign, then digits grouped by commas or not, with decimals; a fraction or a mixed number. A minus
// after a digit or letter is a hyphen or a difference.
const DIGITS = String.raw`(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)`;
const FRACTION = String.raw`${DIGITS}(?:\.\d+)?\s?\/\s?${DIGITS}(?![\d./])`;
const NUMBER = new RegExp(
  String.raw`(?<![\p{L}\d_.])(?:(?<![\p{L}\d)]\s?)-\s?)?(?:[$€£¥]\s?)?-?(?:\d+\s+\d+\/\d+(?![\d./])|${FRACTION}|${DIGITS}(?:\.\d+)?(?!\d*(?:st|nd|rd|th)\b)|\.\d+)(?:\s?(?:thousand|million|billion)\b)?`,
  'giu',
);
/**
 * Behind a number, where a sum begins: perhaps its unit, and an operator. A division reads as a
 * fraction, and is one with `=` behind it.
 */
const SUM = /^(?:\s?[\p{L}%]+){0,2}?\s*(?:[-+*/×÷·]|x(?=\s*[\d$]))/u;

export function extractNumber(written: string): string | null {
  const text = plainNumbers(plainText(written));
  for (const marker of [HASHES, ANSWER_COLON, BOXED, ANSWER_IS]) {
    for (const line of linesAfter(text, marker)) {
      const found =
        marker === HASHES
          ? leading(line)
          : marker === BOXED
            ? numbers(line)[0]?.value
            : answered(line);
      if (found !== undefined) return found;
    }
  }
  const unlisted = text
    .replace(/^[ \t]*\d{1,2}[.)][ \t]+(?=\S)/gm, '')
    .replace(/\bstep\s+\d+/gi, '');
  return (numbers(unlisted).at(-1) ?? numbers(text).at(-1))?.value ?? null;
}

/** The value of a whole text that is one number or fraction, or null. */
export function numericValue(text: string): number | null {
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

/** The number that a line begins with, signs aside. */
function leading(line: string): string | undefined {
  const first = numbers(line)[0];
  return first && !/[\p{L}\p{N}]/u.test(line.slice(0, first.start)) ? first.value : undefined;
}

/**
 * The first number of a line, in its first sentence where that has one; what the sum comes to where
 * one begins there.
 */
function answered(line: string): string | undefined {
  const sentence = line.split(/[.!?;](?=\s|$)/, 1)[0]!;
  const text = numbers(sentence).length > 0 ? sentence : line;
  const found = numbers(text);
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

/** One way of writing minus, thousands, fractions and money. */
function plainNumbers(text: string): string {
  return text
    .replace(/[−–]/g, '-')
    .replace(/\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}/g, ' $1/$2')
    .replace(/[¼½¾⅓⅔⅛⅜⅝⅞]/g, (c) => ` ${VULGAR[c]}`)
    .replace(/\{,\}/g, ',')
    .replace(/(?<=\d)(?:\\,|\\!,|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))/g, ',')
    .replace(/\\(?=[$%])/g, '');
}

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
