/**
 * Bodies of OpenAI's chat/completions and completions endpoints. Every parameter of OpenAI's
 * reference is either honoured, or ignored because it cannot change the answer, or refused by name
 * unless its value asks for nothing; a parameter that is not in the reference is refused.
 */
import { z } from 'zod';
import { RequestError } from './errors.js';

/** Parameters that describe the request, its storage or its speed, and change no answer. */
const IGNORED = [
  'user',
  'metadata',
  'store',
  'service_tier',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'prediction',
  'parallel_tool_calls',
];

/** Most alternatives of a token, as at OpenAI and in the engine. */
const TOP_LOGPROBS = 20;

/** A parameter that is not supported, with the values that ask for nothing. */
const only = (name: string, ...nothing: unknown[]) =>
  z
    .unknown()
    .optional()
    .transform((value): undefined => {
      if (value === undefined || nothing.some((one) => json(one) === json(value))) return undefined;
      throw new RequestError(
        400,
        `${name} is not supported, got ${json(value)}.`,
        name,
        'unsupported_parameter',
      );
    });

const sampling = {
  model: z.string(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish(),
      /** Random text that hides the lengths of chunks; there is none. */
      include_obfuscation: z.boolean().nullish(),
    })
    .nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  /** A parameter of vLLM, not of OpenAI. */
  top_k: z.int().min(0).nullish(),
  n: z.int().min(1).max(128).nullish(),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(64)]).nullish(),
  seed: z.int().nullish(),
  max_tokens: z.int().min(1).nullish(),
  presence_penalty: only('presence_penalty', 0),
  frequency_penalty: only('frequency_penalty', 0),
  logit_bias: only('logit_bias', {}),
};

/** Text, or a list of text parts. */
const content = z.union([
  z.string(),
  z
    .array(z.strictObject({ type: z.literal('text'), text: z.string() }))
    .min(1)
    .transform((parts) => parts.map(({ text }) => text).join('')),
]);

/** Clients send answers back as they received them: with fields that hold nothing. */
const message = z.preprocess(
  (value) =>
    typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value).filter(
            ([key, field]) =>
              key === 'content' ||
              !(field === null || (Array.isArray(field) && field.length === 0)),
          ),
        )
      : value,
  z.strictObject({
    role: z.enum(['system', 'developer', 'user', 'assistant']),
    content,
  }),
);

const chat = z.strictObject({
  ...sampling,
  messages: z.array(message).min(1),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(TOP_LOGPROBS).nullish(),
  tools: only('tools', []),
  tool_choice: only('tool_choice', 'none', 'auto'),
  functions: only('functions', []),
  function_call: only('function_call', 'none', 'auto'),
  response_format: only('response_format', { type: 'text' }),
  modalities: only('modalities', ['text']),
});

/** A body may hold a million token ids, and a schema makes a message of each wrong one. */
const isToken = (id: unknown): boolean => Number.isSafeInteger(id) && (id as number) >= 0;
const isTokens = (it: unknown): boolean => Array.isArray(it) && it.length > 0 && it.every(isToken);
const isText = (it: unknown): boolean => typeof it === 'string';
const prompt = z.custom<string | number[] | string[] | number[][]>(
  (it) =>
    isText(it) ||
    isTokens(it) ||
    (Array.isArray(it) && it.length > 0 && (it.every(isText) || it.every(isTokens))),
);
const completion = z.strictObject({
  ...sampling,
  prompt,
  logprobs: z.int().min(0).max(TOP_LOGPROBS).nullish(),
  echo: only('echo', false),
  suffix: only('suffix', ''),
  best_of: z.int().nullish(),
});

export type ChatBody = z.output<typeof chat>;
export type CompletionBody = z.output<typeof completion>;

/** @throws RequestError for a chat request with a wrong or unsupported field */
export function parseChat(body: unknown): ChatBody {
  const parsed = parse(chat, body);
  if (parsed.top_logprobs && parsed.logprobs !== true)
    throw new RequestError(400, 'top_logprobs needs logprobs: true.', 'top_logprobs');
  return parsed;
}

/** @throws RequestError for a completion request with a wrong or unsupported field */
export function parseCompletion(body: unknown): CompletionBody {
  const parsed = parse(completion, body);
  const { best_of: best, n } = parsed;
  // With best_of equal to n all are returned, so there is nothing to choose.
  if (typeof best === 'number' && best !== (n ?? 1))
    throw new RequestError(
      400,
      `best_of is not supported unless it equals n, got ${best}.`,
      'best_of',
      'unsupported_parameter',
    );
  return parsed;
}

function parse<T extends { stream?: unknown; stream_options?: unknown }>(
  schema: z.ZodType<T>,
  body: unknown,
): T {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new RequestError(400, 'The body must be a JSON object.');
  const relevant = Object.fromEntries(
    Object.entries(body).filter(([key, value]) => !IGNORED.includes(key) && value !== null),
  );
  refuseManyEntries(relevant);
  const parsed = schema.safeParse(relevant);
  if (!parsed.success) throw refusal(parsed.error.issues[0]!, relevant);
  if (parsed.data.stream_options && parsed.data.stream !== true)
    throw new RequestError(400, 'stream_options needs stream: true.', 'stream_options');
  return parsed.data;
}

/** Most entries of a body's lists and objects besides its prompt, 16 thousand messages. */
const MOST_ENTRIES = 50_000;
/** How deep the schemas look: messages, a message, its content, a part. */
const DEPTH = 4;

/** @throws RequestError for a body that the schema would take seconds and much memory to refuse */
function refuseManyEntries({ prompt: _, ...body }: Record<string, unknown>): void {
  let entries = 0;
  const look = (value: unknown, depth: number): void => {
    if (typeof value !== 'object' || value === null || depth > DEPTH) return;
    const inner = Object.values(value);
    entries += inner.length;
    if (entries > MOST_ENTRIES)
      throw new RequestError(
        400,
        `The body has more than ${MOST_ENTRIES} messages, keys and items; send fewer.`,
      );
    for (const one of inner) look(one, depth + 1);
  };
  look(body, 0);
}

function refusal(issue: z.core.$ZodIssue, body: object): RequestError {
  if (issue.code === 'unrecognized_keys') {
    const param = [...issue.path, issue.keys[0]!].join('.');
    return new RequestError(
      400,
      `Unsupported parameter: ${param}.`,
      param,
      'unsupported_parameter',
    );
  }
  const param = issue.path.join('.');
  const given = issue.path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key],
    body,
  );
  if (given === undefined)
    return new RequestError(400, `${param} is missing.`, param, 'missing_required_parameter');
  const wanted =
    given === Infinity || given === -Infinity
      ? 'must be a finite number'
      : (WANTED[param.replace(/^messages\.\d+\./, '')] ?? expected(issue));
  return new RequestError(400, `${param} ${wanted}, got ${json(given)}.`, param);
}

const TYPES: Record<string, string> = {
  number: 'a number',
  int: 'a whole number',
  string: 'text',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
};

function expected(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return `must be ${TYPES[issue.expected] ?? issue.expected}`;
  if (issue.code === 'too_small')
    return issue.origin === 'number' || issue.origin === 'int'
      ? `must be ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}`
      : 'must not be empty';
  if (issue.code === 'too_big' && (issue.origin === 'number' || issue.origin === 'int'))
    return `must be at most ${issue.maximum}`;
  return issue.message;
}

/** Messages for fields where the message of the schema would only list types. */
const WANTED: Record<string, string> = {
  content: 'must be text or a list of text parts (no images, audio or files)',
  prompt: 'must be text, token ids, or a list of either, and not empty',
  stop: 'must be a string or a list of at most 64, none of them empty',
  role: 'must be system, developer, user or assistant (there are no tools)',
};

function json(value: unknown): string {
  let text: string;
  try {
    // JSON.parse reads 1e999 as Infinity, for which JSON.stringify writes null.
    text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? 'undefined');
  } catch {
    return 'a value that is nested too deeply'; // JSON.parse reads deeper ones than it writes
  }
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
