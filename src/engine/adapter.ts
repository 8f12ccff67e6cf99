/** Low-rank adapters (LoRA): what one is, and the checks of its parameters. */
import type { NativeAdapterParams } from './addon.js';
import {
  finiteNumber,
  integer,
  invalid,
  knownKeys,
  list,
  nonEmptyString,
  unsigned64,
} from './arguments.js';

/** What an adapter is, in PEFT's terms. */
export type AdapterConfig = Readonly<Omit<NativeAdapterParams, 'targetModules'>> & {
  /** Hugging Face module names, in the order of a layer. */
  readonly targetModules: readonly string[];
};

export interface AdapterParams {
  /** r, the columns of A and B. */
  rank: number;
  /** The adapter's part is scaled by alpha / rank. */
  alpha: number;
  /** Of the adapter's input, while training; default 0. */
  dropout?: number;
  /**
   * Hugging Face module names (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
   * Phi-3: qkv_proj, gate_up_proj); default: all.
   */
  targetModules?: readonly string[];
  /** Scale by alpha / √rank (rsLoRA); default false. */
  useRslora?: boolean;
  /** Of A's random numbers; default 0. */
  seed?: bigint | number;
}

const KEYS = ['rank', 'alpha', 'dropout', 'targetModules', 'useRslora', 'seed'];

/**
 * Checks the parameters and fills in the defaults; which modules a model has is the engine's to
 * say. Throws CreamError.
 */
export function checkAdapterParams(params: AdapterParams): {
  native: NativeAdapterParams;
  seed: bigint;
} {
  knownKeys(params, KEYS, '[addAdapter] the parameters');
  const targets = list(params.targetModules ?? [], '[addAdapter] targetModules').map((name, i) =>
    nonEmptyString(name, `[addAdapter] target module ${i}`),
  );
  if (params.targetModules !== undefined && targets.length === 0)
    throw invalid(
      '[addAdapter] targetModules is empty; name at least one module, or leave it out for all.',
    );
  return {
    native: {
      rank: integer(params.rank, '[addAdapter] rank', 1, 65_536),
      alpha: finiteNumber(params.alpha, '[addAdapter] alpha', { min: 0, aboveMin: true }),
      dropout: finiteNumber(params.dropout ?? 0, '[addAdapter] dropout', {
        min: 0,
        max: 1,
        belowMax: true,
      }),
      targetModules: targets,
      useRslora: params.useRslora ?? false,
    },
    seed: unsigned64(params.seed ?? 0n, '[addAdapter] seed'),
  };
}

export function adapterConfig(params: NativeAdapterParams): AdapterConfig {
  return Object.freeze({ ...params, targetModules: Object.freeze([...params.targetModules]) });
}
