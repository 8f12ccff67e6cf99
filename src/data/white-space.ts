/** Python's white space, which differs from JavaScript's. */

/**
 * The characters for which str.isspace() is true: unlike JavaScript's they include U+001C…U+001F
 * and U+0085, and not U+FEFF.
 */
export const PYTHON_SPACE =
  '\t\n\v\f\r\x1c\x1d\x1e\x1f ' +
  '\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a' +
  '\u2028\u2029\u202f\u205f\u3000';

/**
 * str.strip, lstrip, rstrip: removes characters of the set `characters` (white space if absent or
 * None) from the ends.
 */
export function strip(
  text: string,
  side: 'both' | 'left' | 'right' = 'both',
  characters?: unknown,
): string {
  if (characters != null && typeof characters !== 'string')
    throw new Error('strip with an argument that is not a string');
  const set = new Set(characters ?? PYTHON_SPACE);
  const letters = Array.from(text);
  let from = 0;
  let to = letters.length;
  if (side !== 'right') while (from < to && set.has(letters[from] as string)) from++;
  if (side !== 'left') while (to > from && set.has(letters[to - 1] as string)) to--;
  return letters.slice(from, to).join('');
}
