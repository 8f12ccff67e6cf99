/**
 * The models of a run, resident and shared: one `Model` a checkpoint path, loaded when first asked
 * for. θ_t, θ_{t−1} and θ_0 are the same object where they are the same path. Full weights train
 * alone, for masters and moments need the memory that other models would hold.
 *
 * With LoRA a checkpoint is a PEFT folder, and every θ an adapter over the one base in memory.
 *
 * A model that is loaded again has the same bits: the compute weights are the rounded master
 * weights that the checkpoint holds. Where the checkpoint is narrower than the compute type that is
 * not so, and what was trained is let go of and loaded from disk.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Model, type AdapterParams, type DType } from '../engine/model.js';
import { loadModel, type LanguageModel } from '../lm/language-model.js';
import type { Recipe } from './recipe.js';
import type { Policy } from './stages/stage.js';

export interface ModelsOptions {
  /** Path of θ_0, which also gives tokenizer and chat template. */
  base: string;
  /** What θ_0 is called: adapters name it as their base. */
  name: string;
  dtype: DType;
  device: string;
  signal: AbortSignal;
  /** Train adapters of this shape instead of all weights. */
  adapter?: AdapterParams | undefined;
  onLoad?: (model: Model, seconds: number) => void;
}

/** What is trained where it is not all weights. */
export function adapterOf({
  seed,
  lora: { enabled, rank, alpha, dropout, target_modules: targetModules },
}: Pick<Recipe, 'seed' | 'lora'>): AdapterParams | undefined {
  return enabled
    ? { rank, alpha, dropout, seed, ...(targetModules.length > 0 && { targetModules }) }
    : undefined;
}

/**
 * Whether the model in training is its own reference at the first step: not with θ_0 for one, nor
 * with dropout.
 */
export function startsAtReference({ train, lora }: Pick<Recipe, 'train' | 'lora'>): boolean {
  return train.reference === 'current' && !(lora.enabled && lora.dropout > 0);
}

export class Models {
  private readonly loaded = new Map<string, Promise<Model>>();
  private text: Promise<LanguageModel> | undefined;

  constructor(private readonly options: ModelsOptions) {}

  /** θ of the checkpoint at `path`, with the text side of θ_0. */
  async policy(path: string): Promise<Policy> {
    const language = await this.language();
    return { language, model: await this.model(path) };
  }

  /** The weights at `path`: a folder, or the base model's file. */
  async model(path: string): Promise<Model> {
    if (path === this.options.base) await this.language();
    let model = this.loaded.get(path);
    if (!model) {
      model = this.timed(
        () => this.load(path),
        (m) => m,
      );
      this.loaded.set(path, model);
      model.catch(() => this.loaded.delete(path));
    }
    return model;
  }

  /**
   * Trains the weights at `from` by `work`, which saves them to `to`; who asks for `from` later
   * gets the untrained ones. Where `work` fails, what it trained is thrown away. Adapters leave the
   * others where they are; for full weights these are let go of, and loaded again when asked for.
   */
  async train<T>(
    from: string,
    to: string,
    checkpointDType: DType,
    work: (policy: Policy) => Promise<T>,
  ): Promise<T> {
    const { language, model } = await this.policy(from);
    if (this.options.adapter) {
      this.loaded.set(from, Promise.resolve(model.snapshot()));
    } else {
      await this.keep([from]);
      this.loaded.delete(from);
    }
    let result: T;
    try {
      if (this.options.adapter && model.adapter === null)
        await model.addAdapter(this.options.adapter);
      result = await work({ language, model });
    } catch (error) {
      await model.dispose();
      throw error;
    }
    if (
      checkpointDType === 'bfloat16' &&
      (this.options.dtype === 'float32' || model.adapter !== null)
    )
      await model.dispose();
    else this.loaded.set(to, Promise.resolve(model));
    return result;
  }

  /** Frees every model but those at `paths`. */
  async keep(paths: readonly string[]): Promise<void> {
    for (const [path, model] of this.loaded) {
      if (paths.includes(path)) continue;
      this.loaded.delete(path);
      await (await model).dispose();
    }
  }

  async dispose(): Promise<void> {
    const all = await Promise.allSettled([
      ...this.loaded.values(),
      this.text?.then((language) => language.model),
    ]);
    this.loaded.clear();
    for (const result of all) if (result.status === 'fulfilled') await result.value?.dispose();
  }

  private async language(): Promise<LanguageModel> {
    if (!this.text) {
      const { base, name, dtype, device, signal } = this.options;
      this.text = this.timed(
        () => loadModel(name, { dtype, device, signal }),
        (language) => language.model,
      );
      const text = this.text;
      this.loaded.set(
        base,
        text.then((language) => language.model),
      );
    }
    return this.text;
  }

  private async load(path: string): Promise<Model> {
    const { base, dtype, device, signal } = this.options;
    if (!existsSync(join(path, 'adapter_config.json')))
      return Model.load(path, { dtype, device, signal });
    const model = (await this.model(base)).snapshot();
    try {
      await model.loadAdapter(path);
      return model;
    } catch (error) {
      await model.dispose();
      throw error;
    }
  }

  private async timed<T>(load: () => Promise<T>, model: (loaded: T) => Model): Promise<T> {
    const started = performance.now();
    const loaded = await load();
    this.options.onLoad?.(model(loaded), (performance.now() - started) / 1000);
    return loaded;
  }
}
