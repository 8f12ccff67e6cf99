/** `cream serve`: OpenAI's endpoints for one or several models, on this machine. */
import type { Command } from 'commander';
import { RunError } from '../../run/errors.js';
import { addSettings, ENGINE_KEYS, settingsFrom, portNumber, type Cli } from '../cli.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import { listen } from '../listen.js';
import { withModels } from '../stage.js';
import { printLine } from '../table.js';

interface Flags extends Record<string, unknown> {
  host: string;
  port: number;
  apiKey?: string;
  json?: boolean;
}

export function addServe(program: Command, cli: Cli): void {
  const command = program
    .command('serve')
    .description("serve models with OpenAI's chat/completions and completions endpoints")
    .argument('<models...>', 'models or run directories; requests name them as they are given here')
    .option('--host <address>', 'the address to listen on', '127.0.0.1')
    .option('--port <number>', 'the port to listen on; 0 takes a free one', portNumber, 8000)
    .option('--api-key <key>', 'the bearer token that requests must carry [CREAM_API_KEY]')
    .option('--json', 'print the address as one line of JSON');
  addSettings(command, ENGINE_KEYS).action(async (names: string[], flags: Flags) => {
    const settings = settingsFrom(flags, ENGINE_KEYS);
    if (flags.apiKey === '')
      throw new RunError('ERR_RECIPE', '--api-key is empty: give a key, or leave it out for none.');
    const { createApp } = await import('../../serve/app.js');
    const paths = names.map(modelOrCheckpoint);
    await withModels([...new Set(paths)], settings, cli, async (models) => {
      const app = createApp({
        models: new Map(names.map((name, i) => [name, models.get(paths[i]!)!])),
        apiKey: flags.apiKey ?? (process.env['CREAM_API_KEY'] || undefined),
        signal: cli.signal,
      });
      cli.progress.stop();
      await listen(app, flags, cli.signal, (url) =>
        flags.json
          ? printLine(JSON.stringify({ url: `${url}/v1`, models: names }))
          : printLine(`Serving ${names.join(', ')} at ${url}/v1`),
      );
    });
  });
}
