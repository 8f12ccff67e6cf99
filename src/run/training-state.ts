/**
 * A stage of training on disk: `training/state-00040.safetensors` and `training/progress.json`,
 * which names it. The one file is renamed into place after the other is complete, so whatever is
 * killed when, progress.json names a whole state.
 */
import { existsSync } from 'node:fs';
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory } from '../files/files.js';
import { onDisk, writeAtomic } from './store.js';
import type { StepRecord, TrainingState } from './stages/optimise.js';

interface Progress {
  plan: string;
  state: string;
  steps: readonly StepRecord[];
}

/**
 * State kept in `folder`; one saved under another `plan` (other settings, other data) is not used.
 */
export function trainingState(
  folder: string,
  plan: string,
): TrainingState & { steps(): Promise<number> } {
  const progressFile = join(folder, 'progress.json');
  const read = async (): Promise<Progress | undefined> => {
    if (!existsSync(progressFile)) return undefined;
    const progress = JSON.parse(await readFile(progressFile, 'utf8')) as Progress;
    return progress.plan === plan ? progress : undefined;
  };
  return {
    async steps() {
      return (await read())?.steps.length ?? 0;
    },
    async restore(trainer) {
      const progress = await read();
      if (!progress) return [];
      await trainer.loadState(join(folder, progress.state));
      return [...progress.steps];
    },
    async save(trainer, steps) {
      const state = `state-${String(steps.length).padStart(5, '0')}.safetensors`;
      await onDisk(folder, async () => {
        await makeDirectory(folder);
        await trainer.saveState(join(folder, state));
        await writeAtomic(progressFile, JSON.stringify({ plan, state, steps } satisfies Progress));
        for (const name of await readdir(folder))
          if (name !== state && name !== 'progress.json')
            await rm(join(folder, name), { force: true });
      });
    },
  };
}
