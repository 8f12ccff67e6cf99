/**
 * Text in, text out: a model with its tokenizer and chat template.
 *
 * const lm = await loadModel('smollm2-135m-instruct');
 * for await (const piece of lm.stream('Why is the sky blue?')) process.stdout.write(piece);
 * await lm.dispose();
 */
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { readGguf } from '../engine/addon.js';
import { CreamError } from '../engine/errors.js';
import { Model, type DType } from '../engine/model.js';
import { exists } from '../models/cache.js';
import { makeDirectory, writeAtomic } from '../models/files.js';
import { adapterBase } from '../models/local.js';
import { ModelError } from '../models/errors.js';
import { resolveModel, type ResolvedModel, type ResolveOptions } from '../models/resolve.js';
import { ChatTemplate, type Message } from '../text/chat-template.js';
import { loadTokenizer, type Tokenizer } from '../text/tokenizer.js';
import { StoppingText } from './stopping-text.js';

export interface LoadOptions extends ResolveOptions {
  /** Default bfloat16. */
  dtype?: DType;
  /** 'cpu' (the default), 'cuda', 'cuda:1'. */
  device?: string;
  /** Of an adapter: the model to put it on; default: what its adapter_config.json names. */
  base?: string;
}

export interface TextOptions {
  /** Default 1; 0 takes the likeliest token. */
  temperature?: number;
  topP?: number;
  topK?: number;
  /** Default 128. */
  maxNewTokens?: number;
  /** The text ends before the first of these. */
  stop?: readonly string[];
  /** The same seed, prompt and settings give the same text; default 0. */
  seed?: bigint | number;
  signal?: AbortSignal;
}

interface Parts {
  model: Model;
  tokenizer: Tokenizer;
  chatTemplate: ChatTemplate | null;
  source: ResolvedModel;
  /** generation_config.json of the source, where it has one. */
  generationConfig: Record<string, unknown>;
}

/**
 * Loads a model by name: an alias, a Hugging Face folder, a .gguf file, a hub id, or an adapter's
 * folder in PEFT's format, which loads with its base. Rejects with CreamError, ModelError (not
 * found, offline, damaged) or TextError (no usable tokenizer).
 */
export async function loadModel(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
  const { dtype, device, base, ...resolving } = options;
  const source = await withBase(await resolveModel(name, resolving), base, resolving);
  const weights = source.base ?? source;
  const text =
    source.base && (await exists(join(source.path, 'tokenizer.json'))) ? source.path : weights.path;
  const gguf = text.toLowerCase().endsWith('.gguf');
  const tokenizer = await loadTokenizer(
    gguf ? { gguf: (await readGguf(text)).metadata } : { folder: text },
  );
  const chatTemplate =
    tokenizer.chatTemplate === null
      ? null
      : new ChatTemplate(tokenizer.chatTemplate, { specialTokens: tokenizer.specialTokens });
  const generationConfig = gguf ? {} : await readJson(join(text, 'generation_config.json'));
  const model = await Model.load(weights.path, {
    ...(dtype && { dtype }),
    ...(device !== undefined && { device }),
    ...(source.base && { adapter: source.path }),
    ...(options.signal && { signal: options.signal }),
  });
  if (tokenizer.vocabSize > model.config.vocabSize) {
    await model.dispose();
    throw new CreamError(
      'ERR_INVALID_FILE',
      `The tokenizer of ${source.path} has ${tokenizer.vocabSize} tokens and its model ` +
        `only ${model.config.vocabSize}; they do not belong together: put this model's own ` +
        'tokenizer.json there.',
    );
  }
  return new LanguageModel({ model, tokenizer, chatTemplate, source, generationConfig });
}

/** An adapter's folder with the base it goes on; any other model as it is. */
async function withBase(
  source: ResolvedModel,
  base: string | undefined,
  options: ResolveOptions,
): Promise<ResolvedModel> {
  const adapter = await adapterBase(source.path);
  if (adapter === null) {
    if (base !== undefined)
      throw new CreamError(
        'ERR_INVALID_ARGUMENT',
        `${source.name} is a model of its own and takes no base; leave \`base\` out, or ` +
          `name an adapter's folder.`,
      );
    return source;
  }
  const name = base ?? adapter.name;
  if (name === null)
    throw new CreamError(
      'ERR_INVALID_FILE',
      `${join(source.path, 'adapter_config.json')} has no base_model_name_or_path; name ` +
        `the adapter's base model with \`base\`.`,
    );
  const found = await resolveModel(name, options).catch((error: unknown) => {
    if (base === undefined && error instanceof ModelError) {
      throw new ModelError(
        error.code,
        `The adapter ${source.path} names the base model ${JSON.stringify(name)}, which ` +
          `could not be had (\`base\` names another): ${error.message}`,
        { cause: error },
      );
    }
    throw error;
  });
  if ((await adapterBase(found.path)) !== null)
    throw new CreamError(
      'ERR_UNSUPPORTED',
      `The base model ${name} of the adapter ${source.path} is an adapter itself; merge ` +
        'that one first.',
    );
  return { ...source, base: found };
}

export class LanguageModel {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  /** Null for a base model: prompts are then their text alone. */
  readonly chatTemplate: ChatTemplate | null;
  readonly source: ResolvedModel;
  /**
   * Ids that end a completion: the model's, the tokenizer's, generation_config.json's, and what the
   * template ends a turn with.
   */
  readonly stopIds: number[];
  readonly #parts: Parts;
  readonly #endOfTurn: number | undefined;

  /** @internal */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.model = parts.model;
    this.tokenizer = parts.tokenizer;
    this.chatTemplate = parts.chatTemplate;
    this.source = parts.source;
    const stopIds = [...parts.tokenizer.eosTokenIds, ...parts.model.config.eosTokenIds];
    // Phi-3 writes <|end|>, a line break and <|endoftext|>: the first is the answer's.
    const ending = this.tokenizer
      .encode(this.chatTemplate?.afterAnswer() ?? '')
      .find((id) => stopIds.includes(id) || this.tokenizer.isSpecial(id));
    this.stopIds = [...new Set([...stopIds, ...(ending === undefined ? [] : [ending])])];
    this.#endOfTurn = ending ?? this.stopIds[0];
  }

  /** The same text side with other weights: a snapshot, or a checkpoint trained from this model. */
  with(model: Model): LanguageModel {
    return new LanguageModel({ ...this.#parts, model });
  }

  /**
   * Messages by the chat template, ready for the assistant's answer; a system message that it has
   * no place for goes in front of the user's. Without a template: their contents, a blank line
   * between.
   */
  encodePrompt(messages: readonly Message[]): number[] {
    if (this.chatTemplate)
      return this.tokenizer.encode(
        this.chatTemplate.render(this.chatTemplate.fit(messages), { addGenerationPrompt: true }),
      );
    return this.tokenizer.encode(messages.map((message) => message.content).join('\n\n'), {
      addSpecialTokens: true,
    });
  }

  /** An assistant's answer: the text and the token that ends its turn. */
  encodeCompletion(text: string): number[] {
    if (this.#endOfTurn === undefined)
      throw new CreamError(
        'ERR_UNSUPPORTED',
        `${this.source.name} names no end-of-sequence token; add "eos_token_id" to its ` +
          'generation_config.json.',
      );
    return [...this.tokenizer.encode(this.chatTemplate?.answerText(text) ?? text), this.#endOfTurn];
  }

  /** The whole answer to a user's message, or to a conversation. */
  async generate(prompt: string | readonly Message[], options: TextOptions = {}): Promise<string> {
    let text = '';
    for await (const piece of this.stream(prompt, options)) text += piece;
    return text;
  }

  /** The answer in pieces, as it is written. Leaving the loop stops the generation. */
  async *stream(
    prompt: string | readonly Message[],
    options: TextOptions = {},
  ): AsyncGenerator<string, void, undefined> {
    const { stop = [], signal, ...sampling } = options;
    const decoder = this.tokenizer.streamDecoder({ skipSpecialTokens: true });
    const text = new StoppingText(stop);
    let wake: () => void = () => undefined;
    let ended = false;
    const generation = this.model.generate(
      {
        ...sampling,
        prompts: [{ tokens: this.#prompt(prompt) }],
        stopIds: this.stopIds,
        ...(stop.length > 0 && { stopStrings: stop, tokenBytes: this.tokenizer.tokenBytes() }),
      },
      {
        ...(signal && { signal }),
        onTokens: (tokens) => {
          text.push(decoder.push(tokens.map(({ token }) => token)));
          wake();
        },
      },
    );
    const end = (): void => {
      ended = true;
      wake();
    };
    generation.stats.then(end, end);
    try {
      for (;;) {
        const piece = text.take();
        if (piece !== '') yield piece;
        else if (ended) break;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
      await generation.stats;
      const rest = text.end(decoder.end());
      if (rest !== '') yield rest;
    } finally {
      if (!ended) {
        generation.cancel();
        await generation.stats.catch(() => undefined);
      }
    }
  }

  /** Summed log-prob of each completion, its end of turn included. */
  async score(
    prompt: string | readonly Message[],
    completions: readonly string[],
    options: { signal?: AbortSignal } = {},
  ): Promise<number[]> {
    if (!Array.isArray(completions) || completions.some((text) => typeof text !== 'string'))
      throw new CreamError(
        'ERR_INVALID_ARGUMENT',
        'The completions must be a list of texts, got ' +
          `${JSON.stringify(completions) ?? 'undefined'}.`,
      );
    const group = {
      prompt: this.#prompt(prompt),
      completions: (completions as readonly string[]).map((text) => this.encodeCompletion(text)),
    };
    const { sums } = await this.model.score({ groups: [group] }, options);
    return [...sums];
  }

  /**
   * Writes a Hugging Face folder with all that transformers, vLLM or loadModel() need; of a model
   * with an adapter, the adapter's alone, as PEFT does, with the tokenizer. The weights' dtype
   * defaults to the model's, an adapter's to float32.
   */
  async save(directory: string, options: { dtype?: DType } = {}): Promise<void> {
    const folder = resolve(directory);
    const adapter = this.model.adapter !== null;
    await this.#makeFolder(folder, adapter);
    const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
    const files: Record<string, string> = {
      ...this.tokenizer.files(),
      'generation_config.json': json(this.#generationConfig()),
    };
    if (this.tokenizer.chatTemplate !== null && files['tokenizer_config.json'] !== undefined) {
      // Older readers look for the template here; newer ones take chat_template.jinja.
      files['tokenizer_config.json'] = json({
        ...(JSON.parse(files['tokenizer_config.json']) as object),
        chat_template: this.tokenizer.chatTemplate,
      });
    }
    for (const [name, text] of Object.entries(files)) await writeAtomic(join(folder, name), text);
    if (adapter) await this.model.saveAdapter(folder, { ...options, baseModel: this.#baseName() });
    else await this.model.save(folder, options);
  }

  dispose(): Promise<void> {
    return this.model.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #prompt(prompt: string | readonly Message[]): number[] {
    if (typeof prompt !== 'string' && !Array.isArray(prompt))
      throw new CreamError(
        'ERR_INVALID_ARGUMENT',
        'The prompt must be text or a list of messages, got ' +
          `${JSON.stringify(prompt) ?? 'undefined'}.`,
      );
    return this.encodePrompt(
      typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt,
    );
  }

  /**
   * One kind of model a folder: with both configs there, readers would differ on which one it is.
   */
  async #makeFolder(folder: string, adapter: boolean): Promise<void> {
    const found = await stat(folder).catch(() => null);
    if (found !== null && !found.isDirectory())
      throw new CreamError(
        'ERR_IO',
        `The model cannot be saved to ${folder}, which is a file; name a folder.`,
      );
    const other = adapter ? 'config.json' : 'adapter_config.json';
    if (await exists(join(folder, other)))
      throw new CreamError(
        'ERR_IO',
        `${folder} holds ${adapter ? 'a full model' : 'an adapter'} (${other}), and ` +
          `${adapter ? 'an adapter' : 'a full model'} saved beside it could be taken for it; ` +
          'name another folder.',
      );
    await makeDirectory(folder).catch((error: NodeJS.ErrnoException) => {
      throw new CreamError(
        'ERR_IO',
        `The folder ${folder} cannot be made (${error.code ?? error.message}); name one ` +
          'that can be written to.',
        { cause: error },
      );
    });
  }

  /** What finds the base again: its name, or where it lies. */
  #baseName(): string {
    const base = this.source.base ?? this.source;
    return base.source === 'local' ? base.path : base.name;
  }

  #generationConfig(): Record<string, unknown> {
    const { bosTokenId } = this.model.config;
    const [first] = this.stopIds;
    return {
      ...(bosTokenId !== null && { bos_token_id: bosTokenId }),
      ...(first !== undefined && {
        eos_token_id: this.stopIds.length === 1 ? first : this.stopIds,
      }),
      ...this.#parts.generationConfig,
    };
  }
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' ? '{}' : Promise.reject(error),
  );
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new CreamError(
      'ERR_INVALID_FILE',
      `${path} is not valid JSON (${(error as Error).message}); it is damaged or ` +
        'half-downloaded: fetch it again.',
      { cause: error },
    );
  }
}
