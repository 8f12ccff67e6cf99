/** `cream merge`: an adapter and its base model → a full model. */
import type { Command } from 'commander';
import { adapterBase } from '../../models/local.js';
import { resolveModel } from '../../models/resolve.js';
import { RunError } from '../../run/errors.js';
import { requireRecorded } from '../../run/recorded.js';
import { makeFolder } from '../../run/store.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ENGINE_KEYS, settingsFrom, type Cli } from '../cli.js';
import { newFolder } from '../output.js';
import { withModel } from '../stage.js';
import { printJson, printLine } from '../table.js';

interface Flags extends Record<string, unknown> {
  adapter: string;
  base?: string;
  out: string;
  json?: boolean;
}

export function addMerge(program: Command, cli: Cli): void {
  const command = program
    .command('merge')
    .description('merge a LoRA adapter into its base model and save a Hugging Face folder')
    .requiredOption(
      '--adapter <dir>',
      'a PEFT folder, such as a checkpoint of a run with lora.enabled',
    )
    .option('--base <name>', 'the model that it was trained on [the one that the folder names]')
    .requiredOption('-o, --out <dir>', 'the merged model')
    .option('--json', 'print the result as JSON');
  addSettings(command, ENGINE_KEYS).action(async (flags: Flags) => {
    const settings = settingsFrom(flags, ENGINE_KEYS);
    const out = await newFolder(flags.out);
    const { signal } = cli;
    const { path: adapter } = await resolveModel(modelOrCheckpoint(flags.adapter), { signal });
    const found = await adapterBase(adapter);
    if (found === null)
      throw new RunError(
        'ERR_RUN_DATA',
        `${flags.adapter} is no adapter: it has no adapter_config.json; give a PEFT folder.`,
      );
    const base = flags.base === undefined ? found.name : modelOrCheckpoint(flags.base);
    if (base === null)
      throw new RunError(
        'ERR_RUN_DATA',
        `${flags.adapter} names no base model (base_model_name_or_path of adapter_config.json): ` +
          'give --base.',
      );
    await withModel(base, settings, cli, async (language) => {
      await requireRecorded(adapter, signal);
      await language.model.loadAdapter(adapter);
      await language.model.merge({ signal });
      // A killed merge leaves its temporary folder, which the next call replaces.
      await makeFolder(out, (folder) => language.save(folder, { dtype: settings.dtype, signal }));
    });
    if (flags.json) printJson({ directory: out, dtype: settings.dtype });
    else printLine(out);
  });
}
