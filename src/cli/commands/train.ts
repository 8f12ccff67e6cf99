/** `cream train`: preference pairs → a trained model, by consistency-regularised DPO. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createHash } from 'node:crypto';
import type { Command } from 'commander';
import { PAIR_COLUMNS } from '../../data/columns.js';
import { readRecords } from '../../data/jsonl.js';
import { syncFolder } from '../../models/files.js';
import { saveCheckpoint } from '../../run/checkpoint.js';
import { RunError } from '../../run/errors.js';
import { stepsPerEpoch } from '../../run/stages/optimise.js';
import { train } from '../../run/stages/train.js';
import { onDisk, writeRecords } from '../../run/store.js';
import { trainingState } from '../../run/training-state.js';
import { addSettings, settingsFrom, type Cli } from '../cli.js';
import { showStage, withModel } from '../stage.js';
import { printLine } from '../table.js';

const KEYS = ['model', 'dtype', 'seed', 'threads'];

interface Flags extends Record<string, unknown> {
  pairs: string;
  out: string;
}

export function addTrain(program: Command, cli: Cli): void {
  const command = program.command('train')
    .description('train a model on preference pairs')
    .requiredOption('--pairs <file>', 'JSONL of `cream prefer`; their reference log-probs must be the model\'s')
    .requiredOption('-o, --out <dir>', 'the trained model: a Hugging Face folder, and steps.jsonl');
  addSettings(command, KEYS, 'train').action(async (flags: Flags) => {
    const settings = settingsFrom(flags, KEYS, 'train'), { train: training } = settings;
    if (taken(flags.out)) throw new RunError('ERR_DISK', `${flags.out} is there already and is not replaced: choose another --out.`);
    const pairs = await readRecords(flags.pairs, PAIR_COLUMNS);
    const plan = createHash('sha256').update(JSON.stringify([settings.model, settings.dtype, settings.seed, training, pairs])).digest('hex');
    const stateFolder = `${flags.out}.training`, unfinished = `${flags.out}.unfinished`, state = trainingState(stateFolder, plan);
    await withModel(settings.model, settings, cli, async (language) => {
      const total = stepsPerEpoch(pairs.length, training) * training.epochs;
      const steps = await showStage(cli, { stage: 'train', unit: 'steps', total, done: await state.steps() }, (hooks) =>
        train(pairs, { language, model: language.model }, {
          settings: training,
          startsAtReference: training.reference === 'current',
          key: [settings.seed, 'train'],
          onStep: () => {},
          onWarning: (message) => cli.progress.warn(message),
          save: (model) => saveCheckpoint(language, model, unfinished, training.checkpoint_dtype),
        }, state, hooks), (made) => `loss ${made[0]!.loss.toFixed(3)} → ${made.at(-1)!.loss.toFixed(3)}`);
      await writeRecords(join(unfinished, 'steps.jsonl'), steps);
      await onDisk(flags.out, async () => {
        await rename(unfinished, flags.out);
        await syncFolder(dirname(flags.out));
      });
      await rm(stateFolder, { recursive: true, force: true });
    });
    printLine(flags.out);
  });
}

/** The model appears under its name when it is complete; nothing that has the name already is touched. */
function taken(out: string): boolean {
  return existsSync(out) && !(statSync(out).isDirectory() && readdirSync(out).length === 0);
}
