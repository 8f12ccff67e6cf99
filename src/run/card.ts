/**
 * The model card of a checkpoint: README.md with the front matter that the hub reads, the method,
 * the measurements, and the command and the recipe that make the model again. It contains no
 * times. An edited card is never overwritten.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { engineInfo } from '../engine/addon.js';
import type { Accuracy } from '../evaluate/intervals.js';
import { hubName } from '../models/resolve.js';
import { lossTitle } from '../report/loss.js';
import type { RunContext } from './context.js';
import { recipeText } from './recipe-file.js';
import type { Recipe } from './recipe.js';
import { phaseFolder, writeAtomic, type Phase } from './store.js';
import type { IterationSummary } from './summary.js';

export const CARD = 'README.md';

export interface CardContent {
  /** Title of the model, without the name of any directory. */
  title: string;
  recipe: Recipe;
  /** How the model was made, in a sentence. */
  method: string;
  command: string;
  /** Name and value of what was measured in training. */
  training: readonly (readonly [name: string, value: string])[];
  tasks?: Readonly<Record<string, Accuracy>>;
}

/** Writes the card of the model that `phase` made, unless its checkpoint is gone. */
export async function writePhaseCard(
  run: RunContext,
  phase: Exclude<Phase, 0>,
  summary: IterationSummary | undefined,
): Promise<void> {
  const folder = join(run.directory, phaseFolder(phase), 'checkpoint');
  if (!existsSync(folder)) return;
  const { recipe } = run;
  const what = phase === 'sft' ? 'SFT' : `iteration ${phase}`;
  await writeCard(folder, {
    title: `${recipe.model} after ${what}`,
    recipe,
    method: methodOf(recipe, phase),
    command: `npx cream run recipe.yaml`,
    training: trainingOf(summary),
    ...(summary && { tasks: summary.tasks }),
  });
}

/** Writes the card in `folder`, unless it has one that was edited or written by others. */
export async function writeCard(folder: string, content: CardContent): Promise<void> {
  const path = join(folder, CARD);
  if (existsSync(path) && !isOurs(readFileSync(path, 'utf8'))) return;
  await writeAtomic(path, sealed(cardText(content)));
}

/** The README.md of a checkpoint: front matter of the hub, then how it was trained and measured. */
export function cardText({ title, recipe, method, command, training, tasks }: CardContent): string {
  const { version, torch } = engineInfo();
  const measured = Object.entries(tasks ?? {});
  const rows = measured.map(
    ([task, { accuracy, low, high, total }]) =>
      `| ${task} | ${percent(accuracy)} | ${percent(low)} to ${percent(high)} | ${total} |`,
  );
  return [
    `---\n${stringify(frontMatter(recipe, title, measured), { lineWidth: 0 })}---`,
    `# ${title}`,
    method,
    ...(training.length > 0
      ? [
          '## Training',
          [
            '| measure | value |',
            '| --- | --- |',
            ...training.map((row) => `| ${row.join(' | ')} |`),
          ].join('\n'),
        ]
      : []),
    ...(rows.length > 0
      ? [
          '## Evaluation',
          [
            '| task | accuracy | 95 % interval | questions |',
            '| --- | --- | --- | --- |',
            ...rows,
          ].join('\n'),
        ]
      : []),
    '## Command',
    `With cream-lm ${version} (libtorch ${torch}) and the recipe below as \`recipe.yaml\`:`,
    `\`\`\`sh\n${command}\n\`\`\``,
    `\`\`\`yaml\n${recipeText(recipe)}\`\`\``,
    'cream-lm implements CREAM, Consistency Regularized Self-Rewarding Language Models, arXiv ' +
      '2410.12735.',
  ].join('\n\n');
}

/** The keys that the hub reads: https://huggingface.co/docs/hub/model-cards */
function frontMatter(
  recipe: Recipe,
  title: string,
  measured: readonly (readonly [string, Accuracy])[],
): object {
  const base = hubName(recipe.model);
  const sources = [
    recipe.sft.enabled ? recipe.sft.source : [],
    recipe.pairs.source ?? recipe.prompts.source,
  ];
  const datasets = sources
    .flat()
    .flatMap((source) => /^hub:([^/:]+\/[^/:]+)/.exec(source)?.[1] ?? []);
  return {
    ...(base !== null && {
      base_model: base,
      base_model_relation: recipe.lora.enabled ? 'adapter' : 'finetune',
    }),
    library_name: recipe.lora.enabled ? 'peft' : 'transformers',
    pipeline_tag: 'text-generation',
    tags: ['cream-lm', ...(recipe.iterations > 0 ? ['dpo', 'self-rewarding'] : ['sft'])],
    ...(datasets.length > 0 && { datasets: [...new Set(datasets)] }),
    ...(measured.length > 0 && {
      'model-index': [
        {
          name: title,
          results: measured.map(([task, { accuracy }]) => ({
            task: { type: 'text-generation' },
            dataset: { name: task, type: task },
            metrics: [{ type: 'accuracy', value: Number(accuracy.toFixed(4)) }],
          })),
        },
      ],
    }),
  };
}

function methodOf(recipe: Recipe, phase: Phase): string {
  const adapters = recipe.lora.enabled ? ' Low-rank adapters (LoRA) were trained.' : '';
  if (phase === 'sft')
    return recipe.sft.checkpoint === null
      ? `Supervised fine-tuning on demonstrations.${adapters}`
      : 'An existing checkpoint that the run started from.';
  const loss = lossTitle(recipe.train.loss);
  if (recipe.pairs.source !== null) return `${loss} on given preference pairs.${adapters}`;
  return (
    `Iteration ${phase} of self-rewarding training: the model sampled ${recipe.sample.samples} ` +
    `completions per prompt, ranked them (reward: ${recipe.reward.source}) and was trained with ` +
    `${loss} on the best against the worst. ${weightOf(recipe.rank)}${adapters}`
  );
}

function weightOf({ weighting, fixed_consistency }: Recipe['rank']): string {
  const loss = 'The loss of a pair is w times its own plus 1 − w times that of the reversed pair';
  const weights: Record<typeof weighting, string> = {
    avg: 'w is the mean agreement C of two rankings',
    dyn: 'w is the agreement C of two rankings of its prompt',
    permuted: 'w is the agreement C of two rankings of another prompt, a control',
    sign: 'w is 1 if the mean agreement C of two rankings is at least ½, else 0, a control',
    fixed: `w is ${fixed_consistency}`,
  };
  return `${loss}, where ${weights[weighting]}.`;
}

function trainingOf(summary: IterationSummary | undefined): [string, string][] {
  const measures = summary?.iteration;
  if (!measures) return [];
  const rows: [string, number | null, number][] = [
    ['prompts', measures.prompts, 0],
    ['pairs', measures.pairs, 0],
    ['consistency C', measures.consistency, 3],
    ['reward margin, last quarter of the steps', measures.reward_margin, 4],
    ['reward accuracy, last quarter of the steps', measures.reward_accuracy, 3],
    ['KL to the base model, nats per token', measures.kl_token, 4],
  ];
  return rows.flatMap(([name, value, digits]) =>
    value === null ? [] : [[name, value.toFixed(digits)]],
  );
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

const SEAL = '<!-- written by cream-lm; an edited card is not written again: ';
const digest = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, 16);

const sealed = (text: string): string => `${text}\n\n${SEAL}${digest(text)} -->\n`;

/** Whether cream wrote this card and nobody edited it since. */
export function isOurs(text: string): boolean {
  const at = text.lastIndexOf(`\n\n${SEAL}`);
  return at >= 0 && text === sealed(text.slice(0, at));
}
