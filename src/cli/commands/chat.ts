/** `cream chat`: a conversation on the terminal, with one model or with two side by side. */
import { RunError } from '../../run/errors.js';
import type { Command } from 'commander';
import { CreamError } from '../../engine/errors.js';
import type { LanguageModel } from '../../lm/language-model.js';
import type { Recipe } from '../../run/recipe.js';
import type { Message } from '../../text/chat-template.js';
import { TextError } from '../../text/errors.js';
import { addSettings, ANSWER_KEYS, settingsFrom, type Cli } from '../cli.js';
import { baseOfRun, modelOrCheckpoint } from '../checkpoints.js';
import { withModels } from '../stage.js';
import { sideBySide } from '../columns.js';
import { completionRecord } from '../output.js';
import { printLine } from '../table.js';
import { openTerminal, pipedLines } from '../terminal.js';

const KEYS = ['model', ...ANSWER_KEYS];
const SAMPLING = [
  'sample.temperature',
  'sample.top_p',
  'sample.top_k',
  'sample.max_new_tokens',
] as const;

interface Flags extends Record<string, unknown> {
  compare?: string | true;
  seed?: string;
  json?: boolean;
}

/** A model with its own conversation. */
interface Speaker {
  label: string;
  lm: LanguageModel;
  messages: Message[];
}

export function addChat(program: Command, cli: Cli): void {
  const command = program
    .command('chat')
    .description('chat with a model, or with the model that a run has aligned')
    .argument('[model]', 'a model, or a run directory for its newest checkpoint')
    .option(
      '--compare [model]',
      'answer with this model too, side by side; of a run directory: its base model',
    )
    .option('--json', 'print each answer as one line of JSON');
  addSettings(command, [...KEYS, ...SAMPLING]).action(
    async (name: string | undefined, flags: Flags) => {
      if (name !== undefined && flags['model'] !== undefined)
        throw new RunError(
          'ERR_RECIPE',
          `The model is given twice, as ${name} and with --model: leave one of them out.`,
        );
      const settings = settingsFrom(flags, [...KEYS, ...SAMPLING]);
      const model = name ?? settings.model;
      const other = flags.compare === true ? baseOfRun(model) : (flags.compare ?? null);
      if (flags.compare === true && other === null)
        throw new RunError(
          'ERR_RECIPE',
          `--compare needs the name of a model, because ${model} is not a run.`,
        );
      // The base model comes first, then the aligned one.
      const names = other === null ? [model] : [other, model];
      const paths = names.map(modelOrCheckpoint);
      await withModels([...new Set(paths)], settings, cli, async (models) => {
        cli.progress.stop();
        const speakers = names.map((label, i) => ({
          label,
          lm: models.get(paths[i]!)!,
          messages: opening(settings),
        }));
        await converse(speakers, settings, flags, cli);
      });
    },
  );
}

const opening = ({ system_prompt: content }: Recipe): Message[] =>
  content === null ? [] : [{ role: 'system', content }];

async function converse(
  speakers: Speaker[],
  settings: Recipe,
  flags: Flags,
  cli: Cli,
): Promise<void> {
  const terminal = process.stdin.isTTY === true;
  // A reader that has gone, such as head, wants no more answers.
  const gone = new AbortController();
  process.stdout.once('error', () => gone.abort());
  const signal = AbortSignal.any([cli.signal, gone.signal]);
  if (terminal && !flags.json)
    printLine('Write a message. /reset starts again, /exit or Ctrl-D ends.');
  for await (const line of terminal ? typedLines(signal) : pipedLines(signal)) {
    const text = line.trim();
    if (signal.aborted || text === '/exit') break;
    if (text === '/reset') for (const one of speakers) one.messages = opening(settings);
    else if (text !== '')
      await turn(speakers, text, settings, flags, signal).catch((error: unknown) => {
        if (gone.signal.aborted) return;
        if (signal.aborted || !isRefusal(error)) throw error;
        for (const { messages } of speakers) if (messages.at(-1)?.role === 'user') messages.pop();
        if (flags.json) printLine(JSON.stringify({ message: text, error: refusalOf(error) }));
        cli.progress.warn(`${error.message} The message is left out; /reset starts again.`);
        if (!terminal) process.exitCode = 1;
      });
  }
}

/** A message that the model or its template cannot take, which is no end of the conversation. */
const isRefusal = (error: unknown): error is CreamError | TextError =>
  error instanceof TextError ||
  (error instanceof CreamError && error.code === 'ERR_INVALID_ARGUMENT');

const refusalOf = ({ code, message }: CreamError | TextError) => ({ code, message });

async function* typedLines(signal: AbortSignal): AsyncGenerator<string> {
  const input = openTerminal(signal);
  try {
    input.prompt();
    for await (const line of input) {
      yield line;
      input.prompt();
    }
  } finally {
    input.close();
  }
}

/**
 * One model's text is printed while it is generated; the texts of two are printed when both are
 * complete.
 */
async function turn(
  speakers: Speaker[],
  text: string,
  { sample, seed }: Recipe,
  flags: Flags,
  signal: AbortSignal,
): Promise<void> {
  const streams = speakers.map(({ lm, messages }) => {
    messages.push({ role: 'user', content: text });
    return lm.stream(messages, {
      temperature: sample.temperature,
      topP: sample.top_p,
      topK: sample.top_k,
      maxNewTokens: sample.max_new_tokens,
      ...(flags.seed !== undefined && { seed }),
      signal,
    });
  });
  if (streams.length === 1 && !flags.json) {
    for await (const chunk of streams[0]!) process.stdout.write(chunk);
    process.stdout.write('\n');
  }
  const written = await Promise.all(streams.map((stream) => stream.completion));
  speakers.forEach(({ messages }, i) =>
    messages.push({ role: 'assistant', content: written[i]!.text }),
  );
  if (flags.json)
    speakers.forEach(({ label }, i) =>
      printLine(
        JSON.stringify({
          model: label,
          message: text,
          ...completionRecord(written[i]!, false),
        }),
      ),
    );
  else if (streams.length > 1)
    printLine(
      sideBySide(
        speakers.map(({ label }, i) => ({ title: label, text: written[i]!.text })),
        process.stdout.isTTY ? process.stdout.columns : 0,
      ),
    );
}
