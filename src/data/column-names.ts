/**
 * Other sets' names for the columns of a conversation: `System`, `systemPrompt` and
 * `system_message` are all `system`. A name is compared without case and with `_` between its
 * words.
 */
import { DataError } from './jsonl.js';
import { isEmpty } from './messages.js';
import type { Row } from './rows.js';

const NAMES: Readonly<Record<string, readonly string[]>> = {
  system: [
    ...['system_prompt', 'system_message', 'system_instruction', 'system_instructions'],
    ...['system_content', 'system_text', 'sys', 'sys_prompt', 'system_msg'],
  ],
  history: ['chat_history', 'conversation_history', 'dialogue_history', 'dialog_history'],
  tools: [
    ...['functions', 'tool', 'tool_definitions', 'function_definitions', 'available_tools'],
    ...['tool_list', 'tool_schemas', 'tools_json'],
  ],
  prompt: [],
  messages: [],
  conversations: [],
  conversation: [],
  question: [],
  query: [],
  instruction: [],
  input: [],
  context: [],
  completion: [],
  output: [],
  response: [],
  answer: [],
  chosen: [],
  rejected: [],
};

/**
 * Columns that would change the conversation and are never read: names of further prompts, of texts
 * that the prompt refers to, and of pictures.
 */
const UNREAD = new Set([
  ...['prompts', 'inputs', 'instructions', 'user_prompt', 'user_input', 'user_query'],
  ...['user_message', 'dialogue', 'dialog', 'chat', 'turns', 'few_shot_examples', 'persona'],
  ...[
    'passage',
    'passages',
    'paragraph',
    'paragraphs',
    'document',
    'documents',
    'docs',
    'contexts',
  ],
  ...[
    'article',
    'background',
    'ctx',
    'ctxs',
    'few_shot',
    'few_shots',
    'few_shot_prompt',
    'exemplars',
  ],
]);

/** Pictures and sounds, in a column or as the place of a file: `image_url`, `img`, `audio_path` */
const MEDIA = new RegExp(
  '^(?:[a-z]+_)?(?:image|img|picture|photo|audio|video)s?' +
    '(?:_(?:url|uri|link|path|file|filename|name|bytes|base64|b64|data|list)s?)?$',
);

/** The options of a question: `options`, `option_a`, `opa`, `distractor1`, `ending0` */
const OPTIONS = new RegExp(
  '^(?:options|endings|(?:answer|multiple)_(?:choices|options)|' +
    '(?:option|choice|distractor|ending|sol)_?(?:[a-h]|\\d)|op[a-h])$',
);

function plain(name: string): string {
  return name
    .trim()
    .replace(/(?<=[a-z0-9])(?=[A-Z])/g, '_')
    .replace(/[\s.-]+/g, '_')
    .toLowerCase();
}

/** Further columns that loaders read. */
const ALSO_READ = [
  ...['id', 'prompt_id', 'uuid', 'choices', 'question_stem', 'answerKey', 'label', 'answerA'],
  ...['answerB', 'answerC', 'final', 'task', 'consistency'],
];

const OURS = new Map<string, string>([
  ...Object.entries(NAMES).flatMap(([ours, others]) =>
    [ours, ...others].map((name): [string, string] => [name, ours]),
  ),
  ...ALSO_READ.map((name): [string, string] => [plain(name), name]),
]);

/** Our name of a column; undefined if it is not read. */
export const ourName = (column: string): string | undefined => OURS.get(plain(column));

/** Whether loaders know a column, by our name or another set's. */
export const isRead = (column: string): boolean => ourName(column) !== undefined;

/** Our names, for an error message. */
export const knownNames = (): string => [...Object.keys(NAMES), ...ALSO_READ].join(', ');

/** Whether a column would change the conversation and is never read. */
export const isUnread = (column: string): boolean =>
  UNREAD.has(plain(column)) || MEDIA.test(plain(column));

/**
 * The columns with the options of a question that is not in one of the forms of `choices`: named as
 * such, or A, B, C … as in files of MMLU.
 */
export function optionColumns(columns: readonly string[]): string[] {
  const letters = ['A', 'B', 'C'].every((letter) => columns.includes(letter));
  return columns.filter(
    (column) => OPTIONS.test(plain(column)) || (letters && /^[A-H]$/.test(column)),
  );
}

/**
 * The row with the columns of its conversation under our names. @throws DataError where two columns
 * have one meaning and differ
 */
export function underOurNames({ value, where }: Row): Row {
  // Without a prototype, a column named __proto__ is a column like any other.
  const renamed = Object.create(null) as Record<string, unknown>;
  const from = new Map<string, string>();
  for (const [column, held] of Object.entries(value)) {
    const ours = ourName(column) ?? column;
    const other = from.get(ours);
    if (other === undefined || isEmpty(renamed[ours])) {
      if (other !== undefined && isEmpty(held)) continue;
      renamed[ours] = held;
      from.set(ours, column);
    } else if (!isEmpty(held) && JSON.stringify(held) !== JSON.stringify(renamed[ours]))
      throw new DataError(
        `${where}: the columns ${JSON.stringify(other)} and ${JSON.stringify(column)} are both ` +
          `read as ${JSON.stringify(ours)}, and they differ; remove one of them`,
      );
  }
  return { value: renamed, where };
}
