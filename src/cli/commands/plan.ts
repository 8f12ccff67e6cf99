/**
 * `cream plan`: the memory that each stage of a run needs on a GPU, and the settings that make it
 * fit. Reads a config, but no weights.
 */
import { join } from 'node:path';
import type { Command } from 'commander';
import { Model } from '../../engine/model.js';
import { readText } from '../../files/read.js';
import { planMemory, type MemoryPlan, type PlanRequest } from '../../engine/plan.js';
import { planCpu } from '../cpu-plan.js';
import { resolveModel } from '../../models/resolve.js';
import { RunError } from '../../run/errors.js';
import { keptMasterBytes } from '../../run/disk.js';
import { parseRecipe } from '../../run/recipe-file.js';
import { recipeSchema, type Recipe } from '../../run/recipe.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import type { Cli } from '../cli.js';
import { clusterOf, trafficLine, trainingTraffic, type Cluster, type Traffic } from '../cluster.js';
import { readRecipe } from '../recipes.js';
import { SHAPES, shapeJson } from '../shapes.js';
import { formatTable, printJson, printLine } from '../table.js';

const GIB = 2 ** 30;
const MOST_GIB = 100_000;
/** The usable part of a card's nominal memory: 79.2 GiB of an H100's 80. */
const USABLE = 0.985;
const STAGES = ['sample', 'score', 'train'] as const;

interface Subject {
  name: string;
  configJson: string;
  recipe: Recipe;
  /** Use the recipe's settings; otherwise choose the best that fit. */
  given: boolean;
  /** The GPUs that share the run; undefined for one. */
  cluster?: Cluster | undefined;
}

interface Flags {
  model?: string;
  shape?: string;
  lora?: boolean;
  deviceMemory?: string;
  gpus?: string;
  nodes?: string;
  json?: boolean;
}

export function addPlan(program: Command, cli: Cli): void {
  program
    .command('plan')
    .description(
      'estimate a run: memory, tokens, time and disk on this CPU; with --device-memory or a ' +
        'recipe for a GPU, its memory and the settings that make it fit; without a recipe or ' +
        'model, Llama shapes on common cards',
    )
    .argument('[recipe]', 'a recipe.yaml, or the name of a recipe')
    .option('--model <name>', 'a model instead: a folder, a known name or a hub id')
    .option('--shape <name>', `a shape instead: ${Object.keys(SHAPES).join(', ')}`)
    .option('--lora', "train adapters, with the recipe's defaults")
    .option(
      '--device-memory <GiB>',
      'plan for a GPU of this nominal size, 98.5 % of it usable [24, 40, 80 and 141]',
    )
    .option('--gpus <count>', 'GPUs per machine that share the run [1]')
    .option('--nodes <count>', 'machines that share the run [1]')
    .option('--json', 'print the plans as JSON')
    .action((path: string | undefined, flags: Flags) => plan(path, flags, cli));
}

async function plan(path: string | undefined, flags: Flags, cli: Cli): Promise<void> {
  const { deviceMemory } = flags;
  const cards = deviceMemory === undefined ? [24, 40, 80, 141] : [Number(deviceMemory)];
  if (
    (deviceMemory !== undefined && !/^\d+(\.\d+)?$/.test(deviceMemory)) ||
    !cards.every((card) => card >= 1 && card <= MOST_GIB)
  )
    throw new RunError(
      'ERR_RECIPE',
      `--device-memory must be a number of GiB from 1 to ${MOST_GIB}, got '${deviceMemory}'.`,
    );
  if (flags.model !== undefined && flags.shape !== undefined)
    throw new RunError(
      'ERR_RECIPE',
      '--model and --shape each name what is planned for: leave one of them out.',
    );
  const cluster = clusterOf(flags);
  const recipe = await recipeOf(path, flags);
  const named = flags.shape === undefined && (path ?? flags.model) !== undefined;
  if (named && recipe.device === 'cpu' && flags.deviceMemory === undefined && !cluster)
    return planCpu(
      recipe,
      (stage, configJson) =>
        requestOf({ name: recipe.model, configJson, recipe, given: true }, stage, 0),
      flags.json === true,
      cli,
    );
  const plans = (await subjects(recipe, path, flags, cli.signal)).flatMap((subject) =>
    cards.map((card) => ({
      subject,
      card,
      stages: STAGES.map((stage) => planOf({ ...subject, cluster }, stage, card)),
    })),
  );
  if (flags.json) printJson(plans.map((one) => planJson(one, cluster)));
  else printPlans(plans, cluster);
}

/** The plan of each stage for one subject on one card. */
interface CardPlan {
  subject: Subject;
  /** Nominal GiB. */
  card: number;
  stages: MemoryPlan[];
}

const planJson = ({ subject, card, stages }: CardPlan, cluster: Cluster | undefined): object => ({
  model: subject.name,
  deviceMemory: card,
  stages,
  ...(!cluster && { hostBytes: hostBytes(subject, stages) }),
  ...(cluster && { cluster, traffic: trafficOf(stages, subject, cluster) }),
});

/** A table of all plans; the traffic of a cluster; and of a single plan its parts. */
function printPlans(plans: readonly CardPlan[], cluster: Cluster | undefined): void {
  printLine(
    formatTable(
      ['model, card', ...STAGES, 'training'],
      plans.map(({ subject, card, stages }) => [
        `${subject.name}, ${card} GiB`,
        ...stages.map(({ bytes, shortBytes, offload }) =>
          shortBytes > 0
            ? `short of ${gib(shortBytes)}`
            : `${gib(bytes)}${offload ? ', offloading' : ''}`,
        ),
        stages[2]!.shortBytes > 0 ? remedy(subject, card) : chosen(stages[2]!),
      ]),
    ),
  );
  if (cluster)
    for (const [name, { subject, stages }] of new Map(plans.map((one) => [one.subject.name, one])))
      printLine(`\n${name}: ${trafficLine(trafficOf(stages, subject, cluster), cluster)}`);
  if (plans.length > 1) return;
  for (const [i, stage] of STAGES.entries())
    printLine(
      `\n${stage}\n${formatTable(
        ['part', 'GiB'],
        plans[0]!.stages[i]!.parts.map(({ name, bytes }) => [name, (bytes / GIB).toFixed(2)]),
      )}`,
    );
  const host = cluster ? 0 : hostBytes(plans[0]!.subject, plans[0]!.stages);
  if (host > 0)
    printLine(
      `\nhost memory: ${gib(host)} for the master weights from one training to the next, while ` +
        'the checkpoint is written; libtorch rounds each pinned tensor up to a power of two',
    );
}

/** The host's memory that a run on one GPU takes for master weights. */
const hostBytes = ({ recipe }: Subject, [sample]: readonly MemoryPlan[]): number =>
  keptMasterBytes(recipe, partOf(sample!, 'weights') / (recipe.dtype === 'float32' ? 4 : 2));

const partOf = ({ parts }: MemoryPlan, part: string): number =>
  parts.find(({ name }) => name === part)?.bytes ?? 0;

function trafficOf(stages: readonly MemoryPlan[], { recipe }: Subject, cluster: Cluster): Traffic {
  const [sample, , train] = stages as [MemoryPlan, MemoryPlan, MemoryPlan];
  const weights = partOf(sample, 'weights') / (recipe.dtype === 'float32' ? 4 : 2);
  // An adapter's gradients are float32 unless the recipe says otherwise.
  const adapter = recipe.lora.enabled ? partOf(train, 'gradients') / 4 : undefined;
  const { shard } = train;
  return trainingTraffic({ weights, adapter, dtype: recipe.dtype, shard }, cluster);
}

const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;

function chosen({
  microBatchTokens,
  activationCheckpointing,
  shard,
  optimizerStates,
  masterWeights,
  gradientDtype,
}: MemoryPlan): string {
  const small = [
    optimizerStates === '8bit' && '8-bit states',
    masterWeights === 'split' && 'split masters',
    gradientDtype === 'bfloat16' && 'bf16 gradients',
  ];
  return [
    `${microBatchTokens} tokens`,
    activationCheckpointing && 'activation checkpointing',
    shard === 'weights' && 'sharded weights',
    ...small,
  ]
    .filter(Boolean)
    .join(', ');
}

function remedy(subject: Subject, card: number): string {
  const free = planOf({ ...subject, given: false }, 'train', card);
  if (free.shortBytes === 0) return `would fit with ${chosen(free)}`;
  if (subject.recipe.lora.enabled) return 'does not fit';
  const lora = planOf(
    {
      ...subject,
      given: false,
      recipe: { ...subject.recipe, lora: { ...subject.recipe.lora, enabled: true } },
    },
    'train',
    card,
  );
  return lora.shortBytes === 0 ? 'does not fit; LoRA would' : 'does not fit';
}

const planOf = (subject: Subject, stage: PlanRequest['stage'], card: number): MemoryPlan =>
  planMemory(requestOf(subject, stage, card));

function requestOf(
  { name, configJson, recipe, given, cluster }: Subject,
  stage: PlanRequest['stage'],
  card: number,
): PlanRequest {
  const { lora, sample, score, train } = recipe;
  const fixed = <T>(value: T | 'auto') => (given && value !== 'auto' ? value : undefined);
  return {
    configJson,
    source: name,
    stage,
    dtype: recipe.dtype,
    deviceBytes: Math.floor(card * GIB * USABLE),
    lora: lora.enabled
      ? {
          rank: lora.rank,
          alpha: lora.alpha,
          dropout: lora.dropout,
          targetModules: lora.target_modules,
          useRslora: false,
        }
      : undefined,
    otherModels: otherModels(recipe, stage, card),
    promptTokens: 512,
    newTokens: sample.max_new_tokens,
    samples: sample.samples,
    ranks: cluster && cluster.gpus * cluster.nodes,
    shard: given && !lora.enabled ? train.shard : undefined,
    microBatchTokens: fixed(train.micro_batch_tokens),
    activationCheckpointing: fixed(train.activation_checkpointing),
    maxNumSeqs: fixed(sample.max_num_seqs),
    maxNumBatchedTokens: fixed(score.max_num_batched_tokens),
    ...(given && {
      optimizerStates: train.optimizer_states,
      masterWeights: train.master_weights,
      gradientDtype: train.gradient_dtype,
    }),
  };
}

/**
 * The models beside the one of the stage. θ_{t−1} and θ_0 are adapters that stay in memory, or full
 * models that are loaded to score and freed for training. Full models that do nothing leave a GPU
 * if they must; on the CPU (card 0) they stay while θ_1 samples, which is θ_{t−1} or θ_t before the
 * third iteration, and it stays while they score.
 */
function otherModels(
  { lora, temporal, iterations }: Recipe,
  stage: PlanRequest['stage'],
  card: number,
): number {
  if (lora.enabled) return 2;
  const waits = card === 0 && temporal.anchored_rejection ? Math.min(3, iterations) : 0;
  if (stage === 'sample') return waits;
  return stage === 'score' ? Math.max(2, waits) : 0;
}

/** The recipe with the flags applied; without one, the defaults. */
async function recipeOf(
  path: string | undefined,
  { model, lora }: { model?: string; lora?: boolean },
): Promise<Recipe> {
  const read = path === undefined ? null : await readRecipe(path);
  const recipe = read === null ? recipeSchema.parse({}) : parseRecipe(read.text, read.file);
  return {
    ...recipe,
    ...(model !== undefined && { model: modelOrCheckpoint(model) }),
    ...(lora && { lora: { ...recipe.lora, enabled: true } }),
  };
}

/** The model's config.json; for a GGUF file it is derived from the file. */
async function configOf(name: string, signal: AbortSignal): Promise<string> {
  const { path } = await resolveModel(name, { offline: true, signal });
  if (!path.toLowerCase().endsWith('.gguf')) return readText(join(path, 'config.json'), 'config');
  const model = await Model.load(path, { signal });
  await model.dispose();
  return model.configJson;
}

async function subjects(
  recipe: Recipe,
  path: string | undefined,
  { model, shape }: { model?: string; shape?: string },
  signal: AbortSignal,
): Promise<Subject[]> {
  if (shape === undefined && (model ?? path) !== undefined) {
    const configJson = await configOf(recipe.model, signal);
    return [{ name: recipe.model, configJson, recipe, given: path !== undefined }];
  }
  if (shape !== undefined)
    return [{ name: shape, configJson: shapeJson(shape), recipe, given: path !== undefined }];
  const adapters = recipeSchema.parse({ lora: { enabled: true } });
  const full = recipe.lora.enabled ? [] : [recipe];
  return [
    ...full.flatMap((settings) => [['7b', settings] as const, ['8b', settings] as const]),
    ['7b', adapters] as const,
    ['8b', adapters] as const,
    ['13b', adapters] as const,
  ].map(([name, settings]) => ({
    name: `${name} ${settings.lora.enabled ? 'LoRA' : 'full'}`,
    configJson: shapeJson(name),
    recipe: settings,
    given: false,
  }));
}
