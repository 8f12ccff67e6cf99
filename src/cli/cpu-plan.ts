/** `cream plan` on the CPU: memory by stage, tokens, time and disk of one recipe. */
import { statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { engineInfo } from '../engine/addon.js';
import { planMemory, type MemoryPlan, type PlanRequest } from '../engine/plan.js';
import { CPU_AUTO } from '../engine/requests.js';
import { readPrompts } from '../run/data.js';
import type { Recipe } from '../run/recipe.js';
import type { Cli } from './cli.js';
import { diskBytes, keptMasterBytes } from '../run/disk.js';
import { estimateStages, probe, type StageEstimate } from './estimate.js';
import { duration, thousands } from './progress.js';
import { withModel } from './stage.js';
import { formatTable, printJson, printLine } from './table.js';

const GIB = 2 ** 30;
const TYPICAL_PROMPT_TOKENS = 64;

/** Node with libtorch and this program (BENCHMARKS.md, "an iteration: half the memory"). */
const PROCESS_BYTES = GIB / 4;
/** The memory of freed tensors that is kept for later ones (docs/memory.md, "Freed memory"). */
const KEPT_SHARE = 1 / 16;

/**
 * Bytes of a stage on the CPU, as the process holds them: the parts of the plan, `beside` them, and
 * with `packs` the copy of each model's weights in the layout of the CPU's kernels.
 */
export function cpuBytes(parts: MemoryPlan['parts'], packs: boolean, beside: number): number {
  const own = parts.filter(({ gpuOnly }) => !gpuOnly);
  const sum = (some: MemoryPlan['parts']) => some.reduce((total, { bytes }) => total + bytes, 0);
  const models = own.filter(({ name }) => name === 'weights' || name === 'other models');
  const tensors = sum(own) + (packs ? sum(models) : 0) + beside;
  return tensors * (1 + KEPT_SHARE) + PROCESS_BYTES;
}

export interface CpuPlan {
  model: string;
  /** GiB of each stage, and of the machine. */
  memory: Record<PlanRequest['stage'] | 'machine', number>;
  /** Upper bounds over all iterations. */
  stages: StageEstimate[];
  seconds: number;
  disk: { needed: number; free: number };
}

/** `cream plan` of a recipe for this machine's CPU, whose speed it measures for a few seconds. */
export async function planCpu(
  recipe: Recipe,
  stageRequest: (stage: PlanRequest['stage'], configJson: string) => PlanRequest,
  json: boolean,
  cli: Cli,
): Promise<void> {
  const plan = await withModel(recipe.model, recipe, cli, async (lm): Promise<CpuPlan> => {
    cli.progress.say('Measuring this machine for a few seconds …');
    const rates = await probe(lm, cli.signal);
    const packs = engineInfo().cpu.level !== 'plain ATen';
    const memory = (stage: PlanRequest['stage']) => {
      const asked = stageRequest(stage, lm.model.configJson);
      const { parts } = planMemory({
        ...CPU_AUTO,
        activationCheckpointing: false,
        ...Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined)),
        deviceBytes: 2 ** 45,
      } as PlanRequest);
      const kept = stage === 'train' ? 0 : keptMasterBytes(recipe, lm.model.config.parameters);
      return cpuBytes(parts, packs, kept) / GIB;
    };
    const { iterations, prompts } = recipe;
    const source = prompts.count === 0 ? await readPrompts(recipe, lm) : null;
    const rows = source?.records.length ?? 0;
    const stages = estimateStages(recipe, rates, {
      prompts:
        prompts.count ||
        (prompts.split === 'subsets' ? Math.floor(rows / Math.max(1, iterations)) : rows),
      promptTokens: TYPICAL_PROMPT_TOKENS,
    });
    const { bavail, bsize } = statfsSync('.');
    return {
      model: recipe.model,
      memory: {
        sample: memory('sample'),
        score: memory('score'),
        train: memory('train'),
        machine: totalmem() / GIB,
      },
      stages,
      seconds: stages.reduce((sum, one) => sum + one.seconds, 0),
      disk: { needed: diskBytes(recipe, lm.model.config), free: bavail * bsize },
    };
  });
  if (json) printJson(plan);
  else print(plan);
}

function print({ model, memory, stages, seconds, disk }: CpuPlan): void {
  const { machine, ...needed } = memory;
  const most = Math.max(...Object.values(needed));
  const gib = (value: number) => `${value.toFixed(1)} GiB`;
  printLine(`${model} on this CPU:\n`);
  printLine(
    formatTable(
      ['stage', 'memory, about', 'tokens, at most', 'time, at most'],
      stages.map(({ stage, tokens, seconds: own }) => {
        const kind = stage === 'sft' ? 'train' : stage === 'evaluate' ? 'sample' : stage;
        return [
          stage,
          gib(needed[kind as keyof typeof needed]),
          thousands(Math.round(tokens)),
          duration(own),
        ];
      }),
    ),
  );
  printLine(
    `\ntime    ${duration(seconds)} at most; less where completions end before max_new_tokens`,
  );
  printLine(
    `memory  ${gib(most)} of ${gib(machine)}` +
      (most > machine ? ': does not fit; see docs/memory.md or try lora.enabled' : ''),
  );
  printLine(
    `disk    ${(disk.needed / 1e9).toFixed(1)} GB of ${(disk.free / 1e9).toFixed(1)} GB free` +
      (disk.needed > disk.free ? ': too little' : ''),
  );
}
