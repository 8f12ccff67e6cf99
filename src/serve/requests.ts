/**
 * Bodies of OpenAI's chat/completions and completions endpoints. A parameter that would change the
 * result and that the engine does not support is refused by name; parameters that only describe the
 * request are ignored.
 */
import { z } from 'zod';
import { RequestError } from './errors.js';

/** Parameters that describe the request and change nothing. */
const IGNORED = ['user', 'metadata', 'store', 'service_tier', 'safety_identifier'];

const nothing = (name: string) =>
  z
    .literal(0)
    .nullish()
    .catch((context): never => {
      throw new RequestError(400, `${name} is not supported, got ${json(context.value)}.`, name);
    });

const sampling = {
  model: z.string(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  /** A parameter of vLLM, not of OpenAI. */
  top_k: z.int().min(0).nullish(),
  n: z.int().min(1).max(128).nullish(),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(64)]).nullish(),
  seed: z.int().nullish(),
  max_tokens: z.int().min(1).nullish(),
  presence_penalty: nothing('presence_penalty'),
  frequency_penalty: nothing('frequency_penalty'),
};

const content = z.union([
  z.string(),
  z
    .array(z.strictObject({ type: z.literal('text'), text: z.string() }))
    .transform((parts) => parts.map(({ text }) => text).join('')),
]);

const chat = z.strictObject({
  ...sampling,
  messages: z
    .array(
      z.strictObject({
        role: z.enum(['system', 'developer', 'user', 'assistant']),
        content,
        name: z.string().optional(),
      }),
    )
    .min(1),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: nothing('top_logprobs'),
});

const ids = z.array(z.int().min(0)).min(1);
const completion = z.strictObject({
  ...sampling,
  prompt: z.union([z.string(), ids, z.array(z.string()).min(1), z.array(ids).min(1)]),
  logprobs: nothing('logprobs above 0'),
  echo: z.literal(false).nullish(),
  best_of: z.literal(1).nullish(),
});

export type ChatBody = z.output<typeof chat>;
export type CompletionBody = z.output<typeof completion>;

export const parseChat = (body: unknown): ChatBody => parse(chat, body);
export const parseCompletion = (body: unknown): CompletionBody => parse(completion, body);

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new RequestError(400, 'The body must be a JSON object.');
  const relevant = Object.fromEntries(
    Object.entries(body).filter(([key, value]) => !IGNORED.includes(key) && value !== null),
  );
  const parsed = schema.safeParse(relevant);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  if (issue.code === 'unrecognized_keys') {
    const param = [...issue.path, issue.keys[0]!].join('.');
    throw new RequestError(400, `Unsupported parameter: ${param}.`, param, 'unsupported_parameter');
  }
  const param = issue.path.join('.');
  throw new RequestError(400, `${param}: ${issue.message}.`, param);
}

const json = (value: unknown): string => JSON.stringify(value) ?? 'undefined';
