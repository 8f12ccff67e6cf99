/**
 * The models that a run keeps in memory: one `Model` per checkpoint path, loaded on first use and
 * shared by θ_t, θ_{t−1} and θ_0 if their paths are equal. While full weights are trained, no other
 * model stays in memory, because master weights and moments need the space.
 *
 * With LoRA a checkpoint is a PEFT folder, and every θ is an adapter on one base model in memory.
 *
 * A reloaded model has the same bits, because the compute weights are the rounded master weights of
 * the checkpoint. If the checkpoint's dtype is narrower than the compute dtype this fails, so the
 * trained model is freed and reloaded from disk.
 *
 * Models that do not fit a GPU together take turns without anyone's help: the engine sends those
 * that have no work to the host's memory (native/engine/turn.h).
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Model, type AdapterParams, type DType } from '../engine/model.js';
import { loadCausal } from '../lm/causal.js';
import { loadModel, type LanguageModel } from '../lm/language-model.js';
import type { Recipe } from './recipe.js';

export interface ModelsOptions {
  /** Path of θ_0, whose tokenizer and chat template all models use. */
  base: string;
  /** Name of θ_0, which adapters record as their base model. */
  name: string;
  dtype: DType;
  device: string;
  signal: AbortSignal;
  /** Train adapters of this shape instead of all weights. */
  adapter?: AdapterParams | undefined;
  /** Called before a checkpoint is read. @throws where it is damaged. */
  check?: (path: string) => Promise<void>;
  onLoad?: (model: Model, seconds: number) => void;
}

/** The adapter to train; undefined to train all weights. */
export function adapterOf({
  seed,
  lora: { enabled, rank, alpha, dropout, target_modules: targetModules },
}: Pick<Recipe, 'seed' | 'lora'>): AdapterParams | undefined {
  return enabled
    ? { rank, alpha, dropout, seed, ...(targetModules.length > 0 && { targetModules }) }
    : undefined;
}

/**
 * Whether the policy equals its reference at the first step. It does not if θ_0 is the reference,
 * nor with LoRA dropout.
 */
export function startsAtReference({ train, lora }: Pick<Recipe, 'train' | 'lora'>): boolean {
  return train.reference === 'current' && !(lora.enabled && lora.dropout > 0);
}

/** Loads the models of a run, each once while it stays in memory. */
export class Models {
  private readonly loaded = new Map<string, Promise<Model>>();
  private text: Promise<LanguageModel> | undefined;

  constructor(private readonly options: ModelsOptions) {}

  /** The model at `path`, with the tokenizer and chat template of θ_0. */
  async policy(path: string): Promise<LanguageModel> {
    const language = await this.language(path);
    return language.with(await this.model(path));
  }

  /** The weights at `path`: a folder, or the base model's file. */
  async model(path: string): Promise<Model> {
    if (path === this.options.base) await this.language(path);
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
   * The model at `from`, to be trained in place. Later requests for `from` get the untrained
   * weights. Training full weights frees all other models, which are reloaded on demand; training
   * adapters keeps them. The caller must call endTraining(), or free the model if training failed.
   */
  async beginTraining(from: string): Promise<LanguageModel> {
    const policy = await this.policy(from);
    const { model } = policy;
    if (this.options.adapter) {
      this.loaded.set(from, Promise.resolve(model.snapshot()));
      if (model.adapter === null) await model.addAdapter(this.options.adapter);
    } else {
      await this.keep([from]);
      this.loaded.delete(from);
    }
    return policy;
  }

  /**
   * Saves the trained model to `to` as `checkpointDType`; later requests for `to` get this model.
   */
  async endTraining(model: Model, to: string, checkpointDType: DType): Promise<void> {
    if (this.staysExact(model, checkpointDType)) this.loaded.set(to, Promise.resolve(model));
    else await model.dispose();
  }

  /** Whether a checkpoint has the weights that the model computes with, so that it can be kept. */
  staysExact(model: Model, checkpointDType: DType): boolean {
    const rounded = checkpointDType === 'bfloat16';
    return !(rounded && (this.options.dtype === 'float32' || model.adapter !== null));
  }

  /** Loads the model at `path` in float32 in addition to the others, and frees it after `use`. */
  async inFloat32<T>(path: string, use: (model: Model) => Promise<T>): Promise<T> {
    const { base, name, device, signal } = this.options;
    const isAdapter = existsSync(join(path, 'adapter_config.json'));
    const settings = { dtype: 'float32', device, signal } as const;
    const model =
      path === base || isAdapter
        ? (await loadModel(name, settings)).model
        : await Model.load(path, settings);
    try {
      if (isAdapter) await model.loadAdapter(path);
      return await use(model);
    } finally {
      await model.dispose();
    }
  }

  /** Frees every model except those at `paths`. */
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

  /** θ_0's tokenizer and chat template, for the model at `path`. */
  private async language(path: string): Promise<LanguageModel> {
    if (!this.text) {
      const { base, name, dtype, device, signal, adapter } = this.options;
      this.text = this.timed(
        () => loadCausal(name, { dtype, device, signal }),
        (language) => language.model,
      );
      const text = this.text;
      const model = text.then((language) => language.model);
      // The caller gets the failure; the next request loads again.
      model.catch(() => {
        this.text = undefined;
        this.loaded.delete(base);
      });
      if (path === base || adapter) this.loaded.set(base, model);
      // Only θ_0's tokenizer is needed now; its weights are loaded again when they score.
      else await (await model).dispose();
    }
    return this.text;
  }

  private async load(path: string): Promise<Model> {
    const { base, dtype, device, signal, check } = this.options;
    await check?.(path);
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
