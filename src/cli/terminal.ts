/** Lines that the user types. */
import { createInterface, type Interface } from 'node:readline/promises';

/**
 * Reads lines from standard input, with a prompt on standard error. It is closed when `signal` is
 * aborted. While lines are edited on a terminal, Ctrl-C is a character for the editor, which would
 * only close it; here it stays the signal that every command knows.
 */
export function openTerminal(signal: AbortSignal): Interface {
  const terminal = createInterface({
    input: process.stdin,
    output: process.stderr,
    terminal: process.stdin.isTTY === true,
    prompt: '> ',
  });
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  signal.addEventListener('abort', () => terminal.close(), { once: true });
  return terminal;
}

/** Longest line of standard input, in characters; no model's context holds as much. */
const LONGEST_LINE = 2 ** 26;

/**
 * The lines of a standard input that is no terminal, until `signal` is aborted. @throws Error for a
 * line without an end, or an input that cannot be read
 */
export async function* pipedLines(signal: AbortSignal): AsyncGenerator<string> {
  const input = process.stdin.setEncoding('utf8');
  const stop = (): void => void input.destroy();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  let parts: string[] = [];
  let length = 0;
  try {
    for await (const chunk of input as AsyncIterable<string>) {
      const [first = '', ...others] = chunk.split(/\r\n|[\n\r]/);
      parts.push(first);
      length += first.length;
      if (length > LONGEST_LINE)
        throw new Error(`it has a line of more than ${LONGEST_LINE} characters; send shorter ones`);
      for (const next of others) {
        yield parts.join('');
        parts = [next];
        length = next.length;
      }
    }
    if (length > 0) yield parts.join('');
  } catch (error) {
    if (signal.aborted) return;
    throw new Error(`Cannot read standard input: ${(error as Error).message}.`, { cause: error });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
