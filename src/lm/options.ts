/** Options of loadModel(), generate() and stream(), and their checks. */
import { knownKeys, list, nonEmptyString, oneOf } from '../engine/arguments.js';
import { DTYPES, type DType } from '../engine/model.js';
import { RESOLVE_KINDS, RESOLVE_OPTIONS, type ResolveOptions } from '../models/resolve.js';

/** Options of loadModel(). */
export interface LoadOptions extends ResolveOptions {
  /** Dtype of the weights, default bfloat16. */
  dtype?: DType;
  /** 'cpu' (the default), 'cuda' or e.g. 'cuda:1'. */
  device?: string;
  /** Base model of an adapter. Default: the one that its adapter_config.json names. */
  base?: string;
}

/** Sampling settings of one completion. */
export interface TextOptions {
  /** Softmax temperature, default 1; 0 is greedy decoding. */
  temperature?: number;
  /** Nucleus sampling, in (0, 1]; default 1, which keeps all tokens. */
  topP?: number;
  /** Keeps the topK most likely tokens; default 0, which keeps all. */
  topK?: number;
  /** Most tokens of the completion, default 128. */
  maxNewTokens?: number;
  /** Most likely tokens that are returned beside each token, at most 20; default 0. */
  topLogprobs?: number;
  /**
   * The text ends before the first of these strings, also where its characters are partly U+FFFD or
   * have special tokens between them. The text of a special token counts too, although it is never
   * in `text`: the completion then ends at that token.
   */
  stop?: readonly string[];
  /**
   * Unsigned 64-bit seed. The same seed, prompt and settings give the same tokens, whatever is
   * generated at the same time. Default: a random one, which the result contains.
   */
  seed?: bigint | number;
  /** Aborting it stops the generation and rejects with its reason. */
  signal?: AbortSignal;
}

const TEXT_OPTIONS = Object.keys({
  temperature: true,
  topP: true,
  topK: true,
  maxNewTokens: true,
  topLogprobs: true,
  stop: true,
  seed: true,
  signal: true,
} satisfies Record<keyof TextOptions, true>);

/** Before anything is fetched. @throws CreamError */
export function checkLoadOptions(options: LoadOptions): void {
  const known = ['dtype', 'device', 'base', ...RESOLVE_OPTIONS];
  knownKeys(options, known, '[loadModel] the options', RESOLVE_KINDS);
  const { dtype, device, base } = options;
  if (dtype !== undefined) oneOf(dtype, DTYPES, '[loadModel] dtype');
  if (device !== undefined) nonEmptyString(device, '[loadModel] device');
  if (base !== undefined) nonEmptyString(base, '[loadModel] base');
}

/** The values besides `stop` and `signal` are checked with the request. @throws CreamError */
export function checkTextOptions(options: TextOptions): void {
  knownKeys(options, TEXT_OPTIONS, '[generate] the options');
  for (const text of list(options.stop ?? [], '[generate] stop'))
    nonEmptyString(text, '[generate] a stop string');
}
