/**
 * Text for HTML. Model output, prompts and file names reach the page through `escapeHtml` alone.
 */

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * Safe as element content and within quoted attributes. Control characters that HTML forbids, lone
 * surrogates, and characters that change the text direction (U+202A–202E, U+2066–2069) become
 * U+FFFD.
 */
export function escapeHtml(text: string): string {
  return text
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replace(
      /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
      '\ufffd',
    )
    .replace(/[&<>"']/g, (c: string) => ENTITIES[c]!);
}

/** A sentence of ours for HTML, with the subscript of π_ref. */
export const withSubscripts = (text: string): string =>
  escapeHtml(text).replaceAll('π_ref', 'π<sub>ref</sub>');
