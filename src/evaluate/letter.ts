/**
 * The choice that a completion names. The labels are the question's own: ARC has A–E, 1–4, and
 * questions with three choices (the official code knows only A–D).
 *
 * The line after a marker names a choice, in this order, if it is a label; if it is a choice's text
 * (`Answer: a clock`: the article is not the label A); by its first stand-alone label, in either
 * case; or if it contains the text of exactly one choice. In a row labelled 1–4, a line that
 * *begins* with a letter is taken by position (B is the second), because the letter cannot mean
 * anything else. The reverse, `Answer: 2` with labels A–D, is not a label: it is as likely a
 * quantity. A line that consists of another letter (E of A–D) is an answer that no choice has:
 * null.
 *
 * Without a marker the last stand-alone label counts, in its own case. Labels that the text rejects
 * (`not A`, `it cannot be A`, `B is wrong`), articles, units (`25 °C`), vitamins, and digits that
 * count things or are part of a sum are not labels.
 */
import type { Choice } from '../data/records.js';
import {
  ANSWER_COLON,
  ANSWER_IS,
  ANSWER_TAG,
  BOXED,
  clean,
  linesAfter,
  plainText,
  REJECTS,
} from './marker.js';

/** The label of the choice that an answer names; null if it names none. */
export function extractLetter(written: string, choices: readonly Choice[]): string | null {
  const text = plainText(written);
  for (const { marker, line } of linesAfter(text, [ANSWER_TAG, ANSWER_COLON, BOXED, ANSWER_IS])) {
    const label = labelOfLine(marker === BOXED ? /^[{\s(]*[^{}]*/.exec(line)![0] : line, choices);
    if (label !== undefined) return label;
  }
  return (
    standAlone(
      text,
      choices.map(({ label }) => label),
      false,
    ).at(-1) ?? null
  );
}

/**
 * The label that a line after a marker names; null if it names something that is not a choice,
 * undefined if it names nothing.
 */
function labelOfLine(line: string, choices: readonly Choice[]): string | null | undefined {
  const labels = choices.map(({ label }) => label);
  const said = clean(line);
  const bare = line.replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, '');
  const same =
    labels.find((label) => label === bare) ??
    labels.find((label) => label.toLowerCase() === bare.toLowerCase());
  if (same !== undefined) return same;
  const named = choices.filter((choice) => clean(choice.text) === said);
  if (named.length === 1) return named[0]!.label;
  const numbered = labels.every((l) => /^\d$/.test(l));
  const enclosed = /^[A-Z](?=[).:\]])/.exec(bare)?.[0];
  const leading = /^[A-Z](?![\p{L}\p{N}'’-])(?!\s+\p{Ll}+\s+\p{Ll})/u.exec(bare)?.[0];
  const placed = (letter: string | undefined) =>
    numbered && letter !== undefined ? labels[letter.charCodeAt(0) - 65] : undefined;
  const label = placed(enclosed) ?? standAlone(line, labels, true)[0] ?? placed(leading);
  if (label !== undefined) return label;
  return choiceWithin(line, choices) ?? (/^[A-Z]$/.test(bare) ? null : undefined);
}

/**
 * The only choice whose words occur in `line`, apart from what it rejects (`blue, not red`); a
 * choice within another one's words does not count.
 */
function choiceWithin(line: string, choices: readonly Choice[]): string | undefined {
  const said = clean(line.replace(REJECTED, ' '));
  if (/\b(?:not|except|never)\b/.test(said)) return undefined;
  const found = choices
    .map(({ label, text }) => ({ label, words: ` ${clean(text)} ` }))
    .filter(({ words }) => words.trim() !== '' && ` ${said} `.includes(words));
  const whole = found.filter(
    ({ words }) => !found.some((other) => other.words !== words && other.words.includes(words)),
  );
  return whole.length === 1 ? whole[0]!.label : undefined;
}

const SET_ASIDE = new RegExp(String.raw`${REJECTS}(?:(?:option|choice|answer)\s+)?[("'*[]*$`, 'iu');
/** A rejection with what it rejects, up to a sign or to the word that goes on. */
const REJECTED = new RegExp(
  String.raw`${REJECTS}[^,.;:()]*?(?=[,.;:()]|\s(?:but|so|and)\s|$)`,
  'giu',
);
const CALLED_WRONG = /^[)"'*\].]*\s+(?:is|are|was)\s+(?:not|wrong|incorrect|false)\b/i;
const NOT_A_CHOICE = /(?:\d\s?|\b(?:vitamin|hepatitis|influenza|type|appendix|figure|table)\s+)$/i;
const CONNECTED = /^\s+(?:because|is|was|since|as|and|or|for|would|fits|seems)\b/;
const IN_A_SUM_BEFORE = /[-+*/=×÷<>]\s?$/;
const IN_A_SUM_AFTER = /^\s?[-+*/=×÷<>%°]/;
const NAMED = /(?:option|choice|answer|number|no\.|#|\()\s*$/i;

/** Labels that stand alone in `text`, in order. `anyCase` also takes `b` for B. */
function standAlone(text: string, labels: readonly string[], anyCase: boolean): string[] {
  const before = String.raw`(?<![\p{L}\p{N}_'’.°-])`;
  const after = String.raw`(?![\p{L}\p{N}_'’]|[.,-][\p{L}\p{N}])`;
  const pattern = new RegExp(
    `${before}(?:${labels.map(escapePattern).join('|')})${after}`,
    anyCase ? 'giu' : 'gu',
  );
  return [...text.matchAll(pattern)].flatMap((match) => {
    const before = text.slice(Math.max(0, match.index - 32), match.index);
    const behind = text.slice(match.index + match[0].length, match.index + match[0].length + 32);
    const label =
      labels.find((l) => l === match[0]) ??
      labels.find((l) => l.toLowerCase() === match[0].toLowerCase());
    const isDigit = /^\d/.test(match[0]);
    const connected = CONNECTED.test(behind);
    const isArticle = /^a$/i.test(match[0]) && /^\s+\p{Ll}/u.test(behind) && !connected;
    const isQuantity =
      isDigit &&
      !NAMED.test(before) &&
      (IN_A_SUM_BEFORE.test(before) ||
        IN_A_SUM_AFTER.test(behind) ||
        (!anyCase && /^\s+\p{Ll}/u.test(behind) && !connected));
    const setAside =
      SET_ASIDE.test(before) ||
      CALLED_WRONG.test(behind) ||
      (!isDigit && NOT_A_CHOICE.test(before));
    return isArticle || isQuantity || setAside || label === undefined ? [] : [label];
  });
}

const escapePattern = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
