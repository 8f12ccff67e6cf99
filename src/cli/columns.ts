/** Texts in columns on a terminal. */

export interface Column {
  title: string;
  text: string;
}

/** Below this width a column is too narrow to read. */
const NARROWEST = 36;
const GAP = ' │ ';

/** With `width` 0 or too small, the texts follow each other, each under its title. */
export function sideBySide(columns: readonly Column[], width: number): string {
  const each = Math.floor((width - GAP.length * (columns.length - 1)) / columns.length);
  if (each < NARROWEST) return columns.map(({ title, text }) => `[${title}]\n${text}`).join('\n\n');
  const cells = columns.map(({ title, text }) => [
    ...wrap(title, each),
    '─'.repeat(each),
    ...wrap(text, each),
  ]);
  const height = Math.max(...cells.map((lines) => lines.length));
  return Array.from({ length: height }, (_, row) =>
    cells
      .map((lines) => (lines[row] ?? '').padEnd(each))
      .join(GAP)
      .trimEnd(),
  ).join('\n');
}

/** Breaks lines at spaces; a longer word is cut. */
function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => {
    const lines: string[] = [];
    let rest = line;
    while (rest.length > width) {
      const space = rest.lastIndexOf(' ', width);
      const at = space > 0 ? space : width;
      lines.push(rest.slice(0, at));
      rest = rest.slice(space > 0 ? at + 1 : at);
    }
    return [...lines, rest];
  });
}
