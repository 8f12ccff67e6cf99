/**
 * metrics.jsonl and its TensorBoard file: one row per optimizer step, written when the step ends,
 * and one per finished phase. Rows follow from the artefacts, so a resumed run contains each once.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { serialize } from '../data/jsonl.js';
import { GrowingFile } from './growing-file.js';
import type { StepRecord } from './stages/objective.js';
import { METRICS, TENSORBOARD, type Phase } from './store.js';
import { EventFile } from './tensorboard.js';
import { untimed, type StepTiming } from './timing.js';

/** A row of metrics.jsonl. `step` counts the optimizer steps of the whole run. */
export interface MetricsRow {
  /** 0 for the base model and SFT. */
  iteration: number;
  /** `sft` or `train` for a step; `base`, `sft` or `iteration` for a finished phase. */
  stage: string;
  /** Optimizer steps of the whole run so far. */
  step: number;
  /** The step within its stage; absent in the row of a finished phase. */
  stage_step?: number;
  /** Unix time in seconds at which the row was written. */
  'perf/time': number;
  [column: string]: number | string | undefined;
}

/** Writes a run's metrics, as JSONL and as TensorBoard events. */
export class MetricsLog {
  private readonly file: GrowingFile;
  private readonly events: EventFile;
  private phase: Phase | undefined;
  /** Steps of the stages before this phase. */
  private stepsBefore = 0;
  private stageSteps = 0;

  constructor(
    directory: string,
    /** `before`: whether an earlier call wrote the row. */
    private readonly onRow: (row: MetricsRow, before: boolean) => void = () => {},
    private readonly now: () => number = () => Date.now() / 1000,
  ) {
    this.file = new GrowingFile(join(directory, METRICS));
    this.events = new EventFile(join(directory, TENSORBOARD));
  }

  /** Adds the rows of a stage's first steps that are still missing. */
  steps(phase: Phase, records: readonly StepRecord[]): void {
    this.enter(phase);
    for (const record of records.slice(this.stageSteps)) this.step(phase, record);
  }

  step(phase: Phase, { step, ...metrics }: StepRecord, timing?: StepTiming): void {
    this.enter(phase);
    this.stageSteps = step;
    this.add({
      iteration: phase === 'sft' ? 0 : phase,
      stage: phase === 'sft' ? 'sft' : 'train',
      step: this.stepsBefore + step,
      stage_step: step,
      ...metrics,
      ...timing,
    });
  }

  /** Adds the row of a finished phase. */
  finish(phase: Phase, columns: Record<string, number>): void {
    this.enter(phase);
    this.add({
      iteration: phase === 'sft' ? 0 : phase,
      stage: phase === 'sft' ? 'sft' : phase === 0 ? 'base' : 'iteration',
      step: this.stepsBefore + this.stageSteps,
      ...columns,
    });
  }

  /** Cuts off bytes that belong to no row. */
  end(): void {
    this.file.end();
    this.events.end();
  }

  private enter(phase: Phase): void {
    if (phase === this.phase) return;
    this.phase = phase;
    this.stepsBefore += this.stageSteps;
    this.stageSteps = 0;
  }

  private add(columns: Omit<MetricsRow, 'perf/time'>): void {
    const row = { ...columns, 'perf/time': this.now() } as MetricsRow;
    const known = this.known(row);
    if (known) this.file.keep(known.bytes);
    else this.file.write(Buffer.from(serialize(row)));
    this.events.add(known?.row ?? row);
    this.onRow(known?.row ?? row, known !== undefined);
  }

  /** The row as written by an earlier call, with its own timing. */
  private known(row: MetricsRow): { row: MetricsRow; bytes: number } | undefined {
    const { rest } = this.file;
    const end = rest.indexOf(0x0a);
    if (end < 0) return undefined;
    const line = rest.toString('utf8', 0, end);
    if (untimed(line) !== untimed(serialize(row).trimEnd())) return undefined;
    return { row: JSON.parse(line) as MetricsRow, bytes: end + 1 };
  }
}

/** The rows of a run directory; none if it has no file. Damaged lines are left out. */
export function readMetrics(directory: string): MetricsRow[] {
  const path = join(directory, METRICS);
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as MetricsRow];
      } catch {
        return [];
      }
    });
}
