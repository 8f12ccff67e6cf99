/** Python's string functions, for chat templates that rely on them where JavaScript's differ. */
import { MONTHS, WEEK } from '../data/calendar.js';
import { PYTHON_SPACE } from '../data/white-space.js';

/** A value inside the template interpreter, with the parts that printing needs. */
export interface TemplateValue {
  type: string;
  value: unknown;
  toString(): string;
  __bool__(): { value: boolean };
}

const NUMBERS = new Set(['IntegerValue', 'FloatValue', 'BooleanValue']);

/**
 * `a == b`: values of different types are unequal, except numbers and booleans; lists and mappings
 * are compared by content.
 */
export function equal(a: TemplateValue, b: TemplateValue): boolean {
  if (NUMBERS.has(a.type) && NUMBERS.has(b.type)) return Number(a.value) === Number(b.value);
  if (a.type !== b.type) return false;
  if (a.type === 'ArrayValue' || a.type === 'TupleValue') {
    const [left, right] = [a.value as TemplateValue[], b.value as TemplateValue[]];
    return (
      left.length === right.length &&
      left.every((item, i) => equal(item, right[i] as TemplateValue))
    );
  }
  if (a.type === 'ObjectValue') {
    const [left, right] = [
      a.value as Map<string, TemplateValue>,
      b.value as Map<string, TemplateValue>,
    ];
    return (
      left.size === right.size &&
      [...left].every(
        ([key, value]) => right.has(key) && equal(value, right.get(key) as TemplateValue),
      )
    );
  }
  return a.value === b.value;
}

/** `a % b` has the sign of b. */
export function modulo(a: number, b: number): number {
  if (b === 0) throw new Error('division by zero');
  return ((a % b) + b) % b;
}

/**
 * str(value): `True`, `None` and `['a']`, where the interpreter itself would print JSON. An
 * undefined value prints nothing.
 */
export function str(it: TemplateValue): string {
  return it.type === 'StringValue'
    ? (it.value as string)
    : it.type === 'UndefinedValue'
      ? ''
      : repr(it);
}

function repr(it: TemplateValue): string {
  switch (it.type) {
    case 'StringValue':
      return quote(it.value as string);
    case 'BooleanValue':
      return it.value === true ? 'True' : 'False';
    case 'NullValue':
      return 'None';
    case 'IntegerValue':
    case 'FloatValue':
      return it.toString();
    case 'ArrayValue':
      return `[${(it.value as TemplateValue[]).map(repr).join(', ')}]`;
    case 'TupleValue':
      return tupleRepr(it.value as TemplateValue[]);
    case 'ObjectValue':
      return dictRepr(it.value as Map<string, TemplateValue>);
    default:
      throw new Error(`printing a ${it.type}, which Python prints differently`);
  }
}

/** repr(text): unprintable characters, and white space other than the plain space, are escaped. */
function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named: Record<string, string> = {
    '\n': '\\n',
    '\r': '\\r',
    '\t': '\\t',
    '\\': '\\\\',
    [mark]: `\\${mark}`,
    ' ': ' ',
  };
  const escape = (code: number): string =>
    code < 0x100
      ? `x${code.toString(16).padStart(2, '0')}`
      : code < 0x10000
        ? `u${code.toString(16).padStart(4, '0')}`
        : `U${code.toString(16).padStart(8, '0')}`;
  return (
    mark +
    text.replace(
      /[\\'"\p{C}\p{Z}]/gu,
      (c) => named[c] ?? (c === '"' || c === "'" ? c : `\\${escape(c.codePointAt(0) as number)}`),
    ) +
    mark
  );
}

const WORD = new RegExp(`[^${PYTHON_SPACE}]+`, 'gu');
const WORD_BREAK = new RegExp(`([-({\\[<${PYTHON_SPACE}]+)`, 'u');

/** str.capitalize: unlike the template library's, the rest becomes lower case. */
export function capitalize(text: string): string {
  const [first = '', ...rest] = Array.from(text);
  return first.toUpperCase() + rest.join('').toLowerCase();
}

/** str.title: a letter after a non-letter becomes upper case, every other letter lower case. */
export function title(text: string): string {
  return text.replace(/\p{L}+/gu, (word) => capitalize(word));
}

/**
 * jinja2's title filter, which differs from str.title: words begin only after white space, hyphens
 * and opening brackets.
 */
export function titleWords(text: string): string {
  return text.split(WORD_BREAK).map(capitalize).join('');
}

/** str.split(separator, maximum number of splits); without a separator, at runs of white space. */
export function split(
  text: string,
  separator?: unknown,
  most?: unknown,
  maxParts = Infinity,
): string[] {
  if (separator != null && (typeof separator !== 'string' || separator === ''))
    throw new Error('split by something that is not a text');
  const limit = typeof most === 'number' && most >= 0 ? most : Infinity;
  if (separator != null) {
    const parts = text.split(separator, Math.min(maxParts + 1, 2 ** 32 - 1));
    if (parts.length > maxParts) throw new Error(`split into more than ${maxParts} parts`);
    return parts.length > limit + 1
      ? [...parts.slice(0, limit), parts.slice(limit).join(separator)]
      : parts;
  }
  const parts: string[] = [];
  for (const word of text.matchAll(WORD)) {
    if (parts.length === limit) return [...parts, text.slice(word.index)];
    parts.push(word[0]);
    if (parts.length > maxParts) throw new Error(`split into more than ${maxParts} parts`);
  }
  return parts;
}

const LONGEST_FORMAT = 1000;

/**
 * strftime in the C locale, UTC. An unknown directive throws, because a wrong date in a prompt
 * would go unnoticed.
 */
export function strftime(date: Date, format: string): string {
  if (format.length > LONGEST_FORMAT)
    throw new Error(`strftime_now of a format of ${format.length} characters`);
  const two = (n: number): string => String(n).padStart(2, '0');
  const hour12 = date.getUTCHours() % 12 || 12;
  const dayOfYear =
    Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000) + 1;
  const day = WEEK[(date.getUTCDay() + 6) % 7] as string;
  const month = MONTHS[date.getUTCMonth()] as string;
  const directives: Record<string, string> = {
    Y: String(date.getUTCFullYear()),
    y: two(date.getUTCFullYear() % 100),
    m: two(date.getUTCMonth() + 1),
    d: two(date.getUTCDate()),
    e: String(date.getUTCDate()).padStart(2, ' '),
    B: month,
    b: month.slice(0, 3),
    A: day,
    a: day.slice(0, 3),
    j: String(dayOfYear).padStart(3, '0'),
    H: two(date.getUTCHours()),
    I: two(hour12),
    M: two(date.getUTCMinutes()),
    S: two(date.getUTCSeconds()),
    p: date.getUTCHours() < 12 ? 'AM' : 'PM',
    '-d': String(date.getUTCDate()),
    '-m': String(date.getUTCMonth() + 1),
    '%': '%',
  };
  return format.replace(/%(-?.)/gs, (whole, key: string) => {
    const value = directives[key];
    if (value === undefined) throw new Error(`strftime_now uses ${whole}, which is not supported`);
    return value;
  });
}

function tupleRepr(values: TemplateValue[]): string {
  return `(${values.map(repr).join(', ')}${values.length === 1 ? ',' : ''})`;
}

function dictRepr(entries: Map<string, TemplateValue>): string {
  const shown = [...entries].map(([key, value]) => `${quote(key)}: ${repr(value)}`);
  return `{${shown.join(', ')}}`;
}
