/** Events of a run. `iteration` is 0 for the base model and for SFT; `phase` distinguishes them. */
import type { StepRecord } from './stages/objective.js';
import type { Phase } from './store.js';
import type { IterationSummary } from './summary.js';
import type { StepTiming } from './timing.js';

/** The stages of SFT and of an iteration. */
export type StageName = 'sft' | 'sample' | 'score' | 'reward' | 'rank' | 'train' | 'evaluate';

/** The stage that an event belongs to. */
interface OfStage {
  iteration: number;
  phase: Phase;
  stage: StageName;
}

/** Rows of a data source that a run does not use. */
export interface RowsLeftOut {
  /** The section of the recipe that names the source. */
  section: 'prompts' | 'sft' | 'pairs' | 'rank_eval';
  /** Number of rows. */
  count: number;
  /** A sentence with the source, the reasons, and the first row of each by file and line. */
  message: string;
}

/** An event of run(). */
export type RunEvent =
  | { type: 'run_started'; directory: string; resumed: boolean; iterations: number }
  /** Several ranks compute the run, with `threads` CPU threads each. */
  | { type: 'ranks_joined'; ranks: number; threads: number; ompThreads: string | null }
  | {
      type: 'model_loaded';
      name: string;
      path: string;
      dtype: string;
      device: string;
      parameters: number;
      seconds: number;
    }
  /** `done` > 0 if the stage is resumed. */
  | ({ type: 'stage_started'; done: number; total: number; unit: string } & OfStage)
  /** The stage was finished by an earlier call of the run. */
  | ({ type: 'stage_kept' } & OfStage)
  /** `tokens` since this start of the stage. */
  | ({ type: 'stage_progress'; done: number; total: number; tokens: number } & OfStage)
  | ({ type: 'step'; metrics: StepRecord; timing: StepTiming } & OfStage)
  /** `seconds` and `tokens` since this start of the stage. */
  | ({ type: 'stage_finished'; seconds: number; tokens: number; note: string } & OfStage)
  /** The checkpoint of a training stage is on disk; it was written in `seconds` beside others. */
  | ({ type: 'checkpoint_saved'; seconds: number } & OfStage)
  | { type: 'iteration_finished'; summary: IterationSummary }
  | { type: 'warning'; message: string }
  /** The run was stopped, and first writes what `message` says. */
  | { type: 'stopping'; message: string }
  | ({ type: 'rows_left_out' } & RowsLeftOut)
  | { type: 'run_finished'; directory: string; already: boolean; seconds: number };
