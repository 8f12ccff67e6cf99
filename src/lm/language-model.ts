/**
 * A model with its tokenizer and chat template: it takes text and returns text.
 *
 * const lm = await loadModel('smollm2-135m-instruct');
 * for await (const chunk of lm.stream('Why is the sky blue?')) process.stdout.write(chunk);
 * await lm.dispose();
 */
import { join, resolve } from 'node:path';
import { readGguf } from '../engine/addon.js';
import { invalid, knownKeys, list, nonEmptyString, oneOf, shown } from '../engine/arguments.js';
import { CreamError } from '../engine/errors.js';
import { checkGenerateRequest, type GenerateRequest } from '../engine/generate.js';
import { DTYPES, Model, type DType, type SavedFile } from '../engine/model.js';
import type { ScoringGroup } from '../engine/score.js';
import { exists } from '../files/cache.js';
import { objectOf, parseConfig } from '../files/json.js';
import { FileError, readText } from '../files/read.js';
import { resolveModel, type ResolvedModel } from '../models/resolve.js';
import { ChatTemplate, checkMessages, type Message } from '../text/chat-template.js';
import { loadTokenizer, type Tokenizer } from '../text/tokenizer.js';
import { withBase } from './base-model.js';
import { prepareModelFolder } from './model-folder.js';
import {
  checkLoadOptions,
  checkTextOptions,
  type LoadOptions,
  type TextOptions,
} from './options.js';
import { completionInSlices, promptInSlices, textInSlices } from './sliced.js';
import { SLICE_CHARACTERS, Slices } from './slices.js';
import { TextStream, type TextCompletion } from './text-stream.js';

export type { LoadOptions, TextOptions } from './options.js';
export type {
  ChunkToken,
  TextChunk,
  TextCompletion,
  TextStream,
  TokenLogprob,
} from './text-stream.js';

interface Parts {
  model: Model;
  tokenizer: Tokenizer;
  chatTemplate: ChatTemplate | null;
  source: ResolvedModel;
  /** The source's generation_config.json; empty without one. */
  generationConfig: Record<string, unknown>;
}

/**
 * Loads a model by name: an alias, a Hugging Face folder, a .gguf file, a hub id, or an adapter's
 * folder in PEFT's format, which is loaded with its base model. Rejects with ModelError (not found,
 * offline, incomplete), TextError (no usable tokenizer or chat template) or CreamError (a wrong
 * option, and all errors of Model.load()).
 */
export async function loadModel(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
  checkLoadOptions(options);
  const { dtype, device, base, ...resolving } = options;
  const source = await withBase(await resolveModel(name, resolving), base, resolving);
  const weights = source.base ?? source;
  const text =
    source.base && (await exists(join(source.path, 'tokenizer.json'))) ? source.path : weights.path;
  const gguf = text.toLowerCase().endsWith('.gguf');
  const tokenizer = await loadTokenizer(
    gguf ? { gguf: (await readGguf(text)).metadata } : { folder: text },
    { ...(options.signal && { signal: options.signal }) },
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

/**
 * A model with its tokenizer and chat template, made by loadModel(). Concurrent completions are
 * decoded together, so callers need no queue of their own. Every call works with the weights that
 * the calls before it leave, those of `model` and its trainer included, even if it has to tokenise
 * a long text first. dispose() frees the model; `await using` calls it.
 */
export class LanguageModel {
  /** The model on token ids. */
  readonly model: Model;
  /** Text ↔ token ids. */
  readonly tokenizer: Tokenizer;
  /** Null for a model without one (a base model): prompts are then plain text. */
  readonly chatTemplate: ChatTemplate | null;
  /** The origin of the model. */
  readonly source: ResolvedModel;
  /**
   * Token ids that end a completion: the end-of-sequence ids of the tokenizer and of the model
   * (config.json and generation_config.json), and the token that ends a turn in the chat template.
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
    // Phi-3's template writes <|end|>, a line break and <|endoftext|>; the first ends the turn.
    const ending = this.tokenizer
      .encode(this.chatTemplate?.afterAnswer() ?? '')
      .find((id) => stopIds.includes(id) || this.tokenizer.isSpecial(id));
    this.stopIds = [...new Set([...stopIds, ...(ending === undefined ? [] : [ending])])];
    this.#endOfTurn = ending ?? this.stopIds[0];
  }

  /**
   * This tokenizer and template with other weights, e.g. a snapshot or a checkpoint that was
   * trained from this model.
   */
  with(model: Model): LanguageModel {
    if (!(model instanceof Model)) throw invalid(`[with] a Model is needed, got ${shown(model)}.`);
    return new LanguageModel({ ...this.#parts, model });
  }

  /**
   * Token ids of a prompt: the messages in the chat template, with the generation prompt. If the
   * template supports no system message, its text is prepended to the user's message. Without a
   * template the contents are joined by blank lines. Rejects with TextError ERR_CHAT_TEMPLATE for
   * messages that the template refuses. The event loop runs while a long text is tokenised;
   * aborting `signal` rejects with its reason.
   */
  async encodePrompt(
    messages: readonly Message[],
    options: { signal?: AbortSignal } = {},
  ): Promise<number[]> {
    knownKeys(options, ['signal'], '[encodePrompt] the options');
    return promptInSlices(this, messages, new Slices(options.signal));
  }

  /** @internal The text of a prompt, and whether special tokens are added to it. */
  promptText(messages: readonly Message[]): { text: string; addSpecialTokens: boolean } {
    checkMessages(messages);
    if (!this.chatTemplate)
      return { text: messages.map(({ content }) => content).join('\n\n'), addSpecialTokens: true };
    const fitted = this.chatTemplate.fit(messages);
    const text = this.chatTemplate.render(fitted, { addGenerationPrompt: true });
    return { text, addSpecialTokens: false };
  }

  /**
   * Token ids of a completion: the text and the token that ends the turn. Rejects with CreamError
   * ERR_UNSUPPORTED for a model without an end-of-sequence token. In slices, as encodePrompt().
   */
  async encodeCompletion(text: string, options: { signal?: AbortSignal } = {}): Promise<number[]> {
    if (typeof text !== 'string') throw invalid(`The completion must be text, got ${shown(text)}.`);
    knownKeys(options, ['signal'], '[encodeCompletion] the options');
    return completionInSlices(this, text, new Slices(options.signal));
  }

  /** @internal The text of a completion as the chat template has it. */
  completionText(text: string): string {
    return this.chatTemplate?.answerText(text) ?? text;
  }

  /** @internal The token that ends a turn. @throws CreamError ERR_UNSUPPORTED without one */
  endOfTurn(): number {
    if (this.#endOfTurn !== undefined) return this.#endOfTurn;
    throw new CreamError(
      'ERR_UNSUPPORTED',
      `${this.source.name} names no end-of-sequence token; add "eos_token_id" to its ` +
        'generation_config.json.',
    );
  }

  /**
   * The completion of a user's message or of a conversation: its text, without special tokens, with
   * token ids, log-probs, the reason why it ended, and the seed. Rejects with CreamError, TextError
   * or the reason of an aborted `signal`.
   */
  async generate(
    prompt: string | readonly Message[],
    options: TextOptions = {},
  ): Promise<TextCompletion> {
    return this.stream(prompt, options).completion;
  }

  /**
   * The completion of generate() in chunks of text, as it is generated. Its `chunks()` also have
   * the log-probs of each chunk's tokens, and its `completion` is what generate() returns. It
   * starts at once. Throws CreamError or TextError for an impossible request; later errors come
   * from the loop and from `completion`. Leaving the loop stops the generation.
   */
  stream(prompt: string | readonly Message[], options: TextOptions = {}): TextStream {
    checkTextOptions(options);
    const { stop: given, signal, ...sampling } = options;
    const stop = given ?? [];
    const request = (tokens: readonly number[], seed = sampling.seed): GenerateRequest => ({
      ...sampling,
      ...(seed !== undefined && { seed }),
      prompts: [{ tokens }],
      stopIds: this.stopIds,
      ...(stop.length > 0 && { stopStrings: stop, tokenBytes: this.tokenizer.tokenBytes() }),
    });
    const { seed } = checkGenerateRequest(request([0]), this.model.config);
    const tokens = this.#prompt(prompt, signal);
    return new TextStream(
      this.tokenizer,
      typeof tokens === 'function' ? (call) => this.model.prepared(tokens, call) : tokens,
      stop,
      (tokens, onTokens) =>
        this.model.generate(request(tokens, seed), { ...(signal && { signal }), onTokens }),
      seed,
    );
  }

  /**
   * Summed log-prob of each completion given the prompt, in nats, at temperature 1; the token that
   * ends the turn is included. Rejects with CreamError, TextError or the reason of an aborted
   * `signal`.
   */
  async score(
    prompt: string | readonly Message[],
    completions: readonly string[],
    options: { signal?: AbortSignal } = {},
  ): Promise<number[]> {
    const form = 'The completions must be a list of texts';
    if (!Array.isArray(completions)) throw invalid(`${form}, got ${shown(completions)}.`);
    const texts = list(completions as readonly string[], 'The list of completions');
    const wrong = texts.findIndex((text) => typeof text !== 'string');
    if (wrong >= 0) throw invalid(`${form}, got ${shown(texts[wrong])} at position ${wrong}.`);
    knownKeys(options, ['signal'], '[score] the options');
    for (const text of texts)
      this.#refuseTooLong(this.completionText(text), 'A completion', 'shorten it');
    const tokens = this.#prompt(prompt, options.signal);
    const encode = async (): Promise<ScoringGroup> => {
      const slices = new Slices(options.signal);
      const encoded: number[][] = [];
      for (const text of texts) encoded.push(await completionInSlices(this, text, slices));
      return {
        prompt: typeof tokens === 'function' ? await tokens() : tokens,
        completions: encoded,
      };
    };
    const { sums } = await this.model.prepared(encode, (group) =>
      this.model.score({ groups: [group] }, options),
    );
    return [...sums];
  }

  /**
   * Writes a Hugging Face folder that transformers, vLLM and loadModel() load: weights, config,
   * tokenizer and chat template. A model with an adapter writes the adapter in PEFT's format and
   * the tokenizer, without the base's weights. `dtype` defaults to the model's own, for an adapter
   * to float32. Rejects with CreamError ERR_IO if the folder cannot be written or holds the other
   * kind of model. Resolves with the files that Model.save() wrote; with none for an adapter.
   */
  async save(
    directory: string,
    options: { dtype?: DType; signal?: AbortSignal } = {},
  ): Promise<readonly SavedFile[]> {
    knownKeys(options, ['dtype', 'signal'], '[save] the options');
    if (options.dtype !== undefined) oneOf(options.dtype, DTYPES, '[save] dtype');
    const folder = resolve(nonEmptyString(directory, '[save] the directory'));
    const text = { tokenizer: this.tokenizer, generationConfig: this.#generationConfig() };
    const prepare = async (): Promise<boolean> => {
      const adapter = (await this.model.adapterToBe()) !== null;
      await prepareModelFolder(folder, adapter, text);
      options.signal?.throwIfAborted();
      return adapter;
    };
    return this.model.prepared(prepare, async (adapter) => {
      if (!adapter) return this.model.save(folder, options);
      const { dtype } = options;
      await this.model.saveAdapter(folder, {
        ...(dtype && { dtype }),
        baseModel: this.#baseName(),
      });
      return [];
    });
  }

  /** Frees the model, as Model.dispose() does. */
  dispose(): Promise<void> {
    return this.model.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Token ids; of a text that takes long a function that tokenises it beside the event loop. */
  #prompt(
    prompt: string | readonly Message[],
    signal: AbortSignal | undefined,
  ): number[] | (() => Promise<number[]>) {
    if (typeof prompt !== 'string' && !Array.isArray(prompt))
      throw invalid(`The prompt must be text or a list of messages, got ${shown(prompt)}.`);
    const messages: readonly Message[] =
      typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
    checkMessages(messages);
    const said = messages.map(({ content }) => content).join('');
    this.#refuseTooLong(said, 'The prompt', 'shorten it');
    const { text, addSpecialTokens } = this.promptText(messages);
    this.#refuseTooLong(text, 'The prompt', 'shorten it, or its chat template');
    return text.length <= SLICE_CHARACTERS && this.tokenizer.isQuick(text)
      ? this.tokenizer.encode(text, { addSpecialTokens })
      : () => textInSlices(this, text, new Slices(signal), addSpecialTokens);
  }

  /** @throws CreamError for a text that cannot fit the context, before it is tokenised */
  #refuseTooLong(text: string, what: string, advice: string): void {
    const context = this.model.config.maxPositionEmbeddings;
    const fewest = this.tokenizer.fewestTokens(text);
    if (fewest > context)
      throw invalid(
        `${what} has at least ${fewest} tokens and the model's context holds ${context}; ` +
          `${advice}.`,
      );
  }

  /** The base's hub id or alias, or the path of a local one. */
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
  const text = await readText(path, 'config').catch((error: unknown) => {
    if (!(error instanceof FileError)) throw error;
    if (error.code === 'ENOENT') return '{}';
    throw new CreamError('ERR_INVALID_FILE', `${error.message}.`, { cause: error });
  });
  try {
    return objectOf(parseConfig(text));
  } catch (error) {
    throw new CreamError(
      'ERR_INVALID_FILE',
      `${path} is not valid JSON (${(error as Error).message}); it is damaged or ` +
        'half-downloaded: fetch it again.',
      { cause: error },
    );
  }
}
