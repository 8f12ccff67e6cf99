/**
 * A campaign of kills and damages against a tiny run. A run that is resumed afterwards must end
 * with the bytes of an undisturbed run, or be refused with a sentence that names the damaged file.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { RunEvent } from '../../src/run/events.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { run } from '../../src/run/run.js';
import { artefacts, startCream } from '../support/cli.js';
import { killBefore } from '../support/kill.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const text = (model: string, seed: number) => `
model: ${model}
seed: ${seed}
threads: 1
iterations: 3
prompts: {count: 4}
sft: {enabled: true, count: 4, batch_size: 2, learning_rate: 1.0e-3, save_steps: 1}
sample: {samples: 3, max_new_tokens: 8, save_prompts: 2}
score: {save_prompts: 2}
train: {learning_rate: 1.0e-3, batch_size: 2, epochs: 2, save_steps: 1}
evaluate: {count: 4, max_new_tokens: 4, save_prompts: 2}
`;

export interface Outcome {
  tried: number;
  /** Refused with a sentence that names the file. */
  refused: number;
  /** Ended with the bytes of the undisturbed run. */
  same: number;
  /** Everything else, one line each. */
  wrong: string[];
}

type Random = (below: number) => number;
type Damage = (path: string, folder: string, random: Random) => boolean;

/** Each returns whether it changed anything. */
const DAMAGES: Readonly<Record<string, Damage>> = {
  'cut in half': (path) => rewrite(path, (bytes) => bytes.subarray(0, bytes.length >> 1)),
  'made empty': (path) => rewrite(path, () => Buffer.alloc(0)),
  'one bit flipped': (path, _, random) =>
    rewrite(path, (bytes) => {
      const at = random(bytes.length);
      bytes[at] = bytes[at]! ^ (1 << random(8));
      return bytes;
    }),
  'zeros in the middle': (path) =>
    rewrite(path, (bytes) => bytes.fill(0, bytes.length >> 1, bytes.length)),
  'bytes added': (path) => rewrite(path, (bytes) => Buffer.concat([bytes, Buffer.from('{}\n')])),
  'first row removed': (path) => rewrite(path, (bytes) => bytes.subarray(bytes.indexOf(0x0a) + 1)),
  'rows reversed': (path) =>
    rewrite(path, (bytes) => {
      const rows = bytes.toString('latin1').split(/(?<=\n)/);
      return Buffer.from(rows.reverse().join(''), 'latin1');
    }),
  "another iteration's": (path, folder) => {
    const twin = ['iteration-1', 'iteration-2', 'sft']
      .map((phase) => path.replace(/(iteration-\d|sft)(?=\/)/, phase))
      .find((other) => other !== path && existsSync(join(folder, relative(folder, other))));
    return twin !== undefined && rewrite(path, () => readFileSync(twin));
  },
  removed: (path) => {
    rmSync(path);
    return true;
  },
  'a folder instead': (path) => {
    rmSync(path);
    mkdirSync(path);
    writeFileSync(join(path, 'x'), '');
    return true;
  },
};

function rewrite(path: string, change: (bytes: Buffer) => Buffer): boolean {
  const before = readFileSync(path);
  const after = change(Buffer.from(before));
  if (after.equals(before)) return false;
  writeFileSync(path, after);
  return true;
}

export class Campaign {
  readonly work = temporaryFolder('cream-faults-');
  readonly recipe = join(this.work, 'recipe.yaml');
  private readonly model = tinyModel({
    tokenizer: true,
    maxPositionEmbeddings: 1024,
    numHeads: 2,
    numKvHeads: 1,
  });
  expected: Record<string, string> = {};
  private events = 0;

  /** Makes the undisturbed run and one of another seed. */
  async prepare(): Promise<void> {
    writeFileSync(this.recipe, text(this.model, 7));
    await this.resume(this.at('whole'), () => this.events++);
    this.expected = artefacts(this.at('whole'));
    await this.resume(this.at('other'), () => {}, 8);
  }

  at(name: string): string {
    return join(this.work, name);
  }

  /** Runs that were stopped after different shares of their events, and the whole one. */
  async snapshots(count: number): Promise<string[]> {
    const made: string[] = [];
    for (let i = 0; i < count; i++) {
      const directory = this.at(`stopped-${i}`);
      let left = Math.round((this.events * (i + 1)) / (count + 1));
      const stop = new AbortController();
      await this.resume(directory, () => void (--left === 0 && stop.abort()), 7, stop).catch(
        (error: unknown) => {
          if ((error as { code?: string }).code !== 'ERR_INTERRUPTED') throw error;
        },
      );
      made.push(directory);
    }
    return [...made, this.at('whole')];
  }

  /** Damages one file after the other; `some` decides which of all cases are tried. */
  async damage(
    snapshots: readonly string[],
    some: () => boolean,
    random: Random,
  ): Promise<Outcome> {
    const outcome: Outcome = { tried: 0, refused: 0, same: 0, wrong: [] };
    for (const snapshot of snapshots)
      for (const file of filesOf(snapshot))
        for (const kind of [...Object.keys(DAMAGES), "another run's"])
          if (some()) await this.tryDamage(snapshot, file, kind, random, outcome);
    return outcome;
  }

  private async tryDamage(
    snapshot: string,
    file: string,
    kind: string,
    random: Random,
    outcome: Outcome,
  ): Promise<void> {
    const folder = this.at('damaged');
    rmSync(folder, { recursive: true, force: true });
    cpSync(snapshot, folder, { recursive: true });
    const path = join(folder, file);
    const other = join(this.at('other'), file);
    const changed =
      kind === "another run's"
        ? existsSync(other) && rewrite(path, () => readFileSync(other))
        : DAMAGES[kind]!(path, folder, random);
    if (!changed) return;
    outcome.tried++;
    const label = `${basename(snapshot)}: ${file} ${kind}`;
    try {
      await this.resume(folder);
    } catch (error) {
      const { message } = error as Error;
      if (isNamed(message, file)) outcome.refused++;
      else outcome.wrong.push(`${label}: ${message}`);
      return;
    }
    const different = this.differences(folder);
    if (different.length === 0) outcome.same++;
    else outcome.wrong.push(`${label}: went on to other bytes of ${different.join(', ')}`);
  }

  /** Kills of one run each, in processes of their own, until it is finished. */
  async kill(runs: number, random: Random): Promise<Outcome & { kills: number }> {
    const outcome = { tried: 0, refused: 0, same: 0, wrong: [] as string[], kills: 0 };
    for (let i = 0; i < runs; i++) {
      const directory = this.at(`killed-${i}`);
      outcome.tried++;
      for (let round = 0; ; round++) {
        const { child, finished } = startCream(['run', this.recipe, '--out', directory]);
        const log = join(directory, 'events.jsonl');
        const goal = sizeOf(log) + 1 + random(2500 + 1500 * round);
        // The log grows with every event, so each call gets further than the one before.
        const timer = setInterval(() => {
          if (sizeOf(log) >= goal) child.kill('SIGKILL');
        }, 1);
        const { code, signal, stderr } = await finished;
        clearInterval(timer);
        if (signal === 'SIGKILL') outcome.kills++;
        else {
          this.judge(outcome, `run ${i}, round ${round}`, directory, { code, stderr });
          break;
        }
      }
      rmSync(directory, { recursive: true, force: true });
    }
    return outcome;
  }

  /**
   * Runs that are killed before the change of a file that `point` draws, and after it thrice before
   * one of their first changes, so that what one call leaves meets the beginning of the next.
   */
  async interrupt(runs: number, point: () => number, random: Random): Promise<Outcome> {
    const outcome: Outcome = { tried: 0, refused: 0, same: 0, wrong: [] };
    for (let i = 0; i < runs; i++) {
      const directory = this.at(`interrupted-${i}`);
      const points = [point(), ...Array.from({ length: 3 }, () => 1 + random(16))];
      outcome.tried++;
      for (const at of [...points, Infinity]) {
        const args = ['run', this.recipe, '--out', directory];
        const { code, signal, stderr } = await startCream(args, killBefore(at)).finished;
        if (signal === 'SIGKILL') continue;
        this.judge(outcome, `killed before ${points.join(', ')}`, directory, { code, stderr });
        break;
      }
      rmSync(directory, { recursive: true, force: true });
    }
    return outcome;
  }

  /** Counts a run that has ended without a kill. */
  private judge(
    outcome: Outcome,
    label: string,
    directory: string,
    { code, stderr }: { code: number | null; stderr: string },
  ): void {
    const different = code === 0 ? this.differences(directory) : [stderr];
    if (different.length === 0) outcome.same++;
    else outcome.wrong.push(`${label}: ${different.join(', ')}`);
  }

  private differences(directory: string): string[] {
    const now = artefacts(directory);
    return [...new Set([...Object.keys(now), ...Object.keys(this.expected)])].filter(
      (name) => now[name] !== this.expected[name],
    );
  }

  private async resume(
    directory: string,
    onEvent: (event: RunEvent) => void = () => {},
    seed = 7,
    stop = new AbortController(),
  ): Promise<void> {
    const recipe = parseRecipe(text(this.model, seed), 'recipe.yaml');
    for await (const event of run(recipe, { directory, signal: stop.signal })) onEvent(event);
  }
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** A file is named by its path, by its folder, or by the record that does not fit. */
const isNamed = (message: string, file: string): boolean =>
  message.includes(file) ||
  message.includes(`${dirname(file)} `) ||
  message.includes(basename(file));

/** Files that are recorded: a model card may be edited, so no damage to it is one. */
const filesOf = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .filter(
      (name) => !/^(events\.jsonl|report\.html|lock|tensorboard\/.*|.*\/README\.md)$/.test(name),
    )
    .sort();
