/** Ctrl-C where lines are typed on a terminal, which a pseudo-terminal of Python's stands for. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
/** Runs a command on a terminal; types `line` at the prompt, then Ctrl-C at the next text. */
const TERMINAL = `
import os, pty, sys
prompt, line, after = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3].encode()
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[4], sys.argv[4:])
text, typed, stopped = b'', False, False
while True:
    try:
        chunk = os.read(terminal, 4096)
    except OSError:
        chunk = b''
    if not chunk:
        break
    text += chunk
    if not typed and prompt in text:
        typed = True
        os.write(terminal, line)
    if typed and not stopped and after in text.split(prompt, 1)[1]:
        stopped = True
        os.write(terminal, b'\\x03')
status = os.waitpid(pid, 0)[1]
sys.stdout.buffer.write(text)
sys.exit(os.waitstatus_to_exitcode(status))
`;

/** `after`: the text behind the prompt at which Ctrl-C is pressed. */
function onTerminal(
  args: readonly string[],
  { prompt, line = '', after = '' }: { prompt: string; line?: string; after?: string },
): Promise<{ code: number | null; text: string }> {
  const command = [process.execPath, MAIN, ...args];
  const child = spawn('python3', ['-c', TERMINAL, prompt, line, after, ...command], {
    env: { ...process.env, NO_COLOR: '1' },
    cwd: temporaryFolder(),
  });
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, text })));
}

it('stops the answer of `cream chat`, not only the editor of its lines', async () => {
  // A million tokens: the answer ends by Ctrl-C or not at all.
  const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 1_000_000, vocabSize: 300 });
  const args = ['chat', model, '--max-new-tokens', '900000', '--seed', '1'];
  const { code, text } = await onTerminal(args, { prompt: '> ', line: 'Hi\r', after: 'Hi' });
  expect(text).toContain('Stopping');
  expect([0, 130]).toContain(code); // 0: this model happened to end its turn before
});

it('ends a question of `cream init` as a stop, not as a failure', async () => {
  const { code, text } = await onTerminal(['init'], { prompt: 'as in the recipe' });
  expect(text).not.toContain('Aborted with');
  expect(code).toBe(130);
});
