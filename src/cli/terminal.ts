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
