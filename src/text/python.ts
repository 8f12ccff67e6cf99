/** Python's strings where chat templates rely on them and JavaScript's namesakes do something else. */

/** A value inside the template interpreter, as far as printing it goes. */
export interface TemplateValue {
  type: string;
  value: unknown;
  toString(): string;
}

/** str(value): `True`, `None` and `['a']`, where the interpreter itself would print JSON. An undefined value prints nothing. */
export function str(it: TemplateValue): string {
  return it.type === 'StringValue' ? (it.value as string) : it.type === 'UndefinedValue' ? '' : repr(it);
}

function repr(it: TemplateValue): string {
  switch (it.type) {
    case 'StringValue': return quote(it.value as string);
    case 'BooleanValue': return it.value === true ? 'True' : 'False';
    case 'NullValue': return 'None';
    case 'IntegerValue': case 'FloatValue': return it.toString();
    case 'ArrayValue': return `[${(it.value as TemplateValue[]).map(repr).join(', ')}]`;
    case 'TupleValue': return `(${(it.value as TemplateValue[]).map(repr).join(', ')}${(it.value as unknown[]).length === 1 ? ',' : ''})`;
    case 'ObjectValue': return `{${[...(it.value as Map<string, TemplateValue>)].map(([key, value]) => `${quote(key)}: ${repr(value)}`).join(', ')}}`;
    default: throw new Error(`printing a ${it.type}, which Python prints otherwise`);
  }
}

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\', [mark]: `\\${mark}` };
  return mark + text.replace(/[\\'"\x00-\x1f\x7f]/g, (c) => named[c] ?? (c === '"' || c === "'" ? c : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)) + mark;
}

/** What str.isspace() is true for: unlike JS it has U+001C…U+001F and U+0085, and not U+FEFF. */
const PYTHON_SPACE = '\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000';

/** str.strip, lstrip, rstrip: takes characters of the set `characters` (white space if absent or None) off the ends. */
export function strip(text: unknown, side: 'both' | 'left' | 'right', characters?: string | null): string {
  if (typeof text !== 'string') throw new Error(`strip of ${text === undefined ? 'an undefined value' : String(text)}, which is not a string`);
  if (characters != null && typeof characters !== 'string') throw new Error('strip with an argument that is not a string');
  const set = new Set(characters ?? PYTHON_SPACE);
  const letters = Array.from(text);
  let from = 0;
  let to = letters.length;
  if (side !== 'right') while (from < to && set.has(letters[from] as string)) from++;
  if (side !== 'left') while (to > from && set.has(letters[to - 1] as string)) to--;
  return letters.slice(from, to).join('');
}

/** str.capitalize: unlike the template library's, the rest becomes lower case. */
export function capitalize(text: unknown): string {
  if (typeof text !== 'string') throw new Error(`capitalize of ${String(text)}, which is not a string`);
  const [first = '', ...rest] = Array.from(text);
  return first.toUpperCase() + rest.join('').toLowerCase();
}

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

/** strftime in the C locale, UTC. An unknown directive throws: a wrong date in a prompt would go unseen. */
export function strftime(date: Date, format: string): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const hour12 = date.getUTCHours() % 12 || 12;
  const dayOfYear = Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000) + 1;
  const day = DAYS[date.getUTCDay()] as string;
  const month = MONTHS[date.getUTCMonth()] as string;
  const directives: Record<string, string> = {
    Y: String(date.getUTCFullYear()), y: two(date.getUTCFullYear() % 100), m: two(date.getUTCMonth() + 1), d: two(date.getUTCDate()), e: String(date.getUTCDate()).padStart(2, ' '),
    B: month, b: month.slice(0, 3), A: day, a: day.slice(0, 3), j: String(dayOfYear).padStart(3, '0'),
    H: two(date.getUTCHours()), I: two(hour12), M: two(date.getUTCMinutes()), S: two(date.getUTCSeconds()), p: date.getUTCHours() < 12 ? 'AM' : 'PM', '-d': String(date.getUTCDate()), '-m': String(date.getUTCMonth() + 1), '%': '%',
  };
  return format.replace(/%(-?.)/gs, (whole, key: string) => {
    const value = directives[key];
    if (value === undefined) throw new Error(`strftime_now uses ${whole}, which is not supported`);
    return value;
  });
}
