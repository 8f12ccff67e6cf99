/** Low-rank adapters (LoRA, Hu et al. 2021): their parameters and their checks. */
import type { NativeAdapterParams } from './addon.js';
import { checkFields, type FieldsOf } from './fields.js';
import { ADAPTER_FIELDS } from './requests.js';

/** Parameters of a model's adapter, in PEFT's terms. */
export type AdapterConfig = Readonly<Omit<NativeAdapterParams, 'targetModules'>> & {
  /** Hugging Face module names, in the order of a layer. */
  readonly targetModules: readonly string[];
};

/** Parameters of a new adapter, in PEFT's terms. */
export type AdapterParams = FieldsOf<typeof ADAPTER_FIELDS>;

/**
 * Checks the parameters and fills in the defaults. The engine checks later that the model has the
 * target modules. Throws CreamError.
 */
export function checkAdapterParams(params: AdapterParams): {
  native: NativeAdapterParams;
  seed: bigint;
} {
  const { seed, ...native } = checkFields(ADAPTER_FIELDS, params, {
    what: '[addAdapter] the parameters',
    place: (name) => `[addAdapter] ${name}`,
    context: undefined,
  });
  return { native, seed };
}

/** An adapter's settings as the addon reports them, frozen. */
export function adapterConfig(params: NativeAdapterParams): AdapterConfig {
  return Object.freeze({ ...params, targetModules: Object.freeze([...params.targetModules]) });
}

/** The adapter of a model. While it is being changed it is not known. */
export class AdapterState {
  #changes = 0;
  #settled: Promise<unknown> = Promise.resolve();

  constructor(public current: AdapterConfig | null) {}

  get isChanging(): boolean {
    return this.#changes > 0;
  }

  /** The adapter that the changes made so far leave. */
  async settled(): Promise<AdapterConfig | null> {
    await this.#settled;
    return this.current;
  }

  /** `work` resolves with the adapter that it leaves. */
  async change(work: Promise<AdapterConfig | null>): Promise<void> {
    this.#changes++;
    this.#settled = work.catch(() => {});
    try {
      this.current = await work;
    } finally {
      this.#changes--;
    }
  }
}
