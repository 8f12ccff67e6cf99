/**
 * The common beginning of two answers, which is their prompt if a preference pair has no prompt of
 * its own.
 */
import { DataError, describe } from './jsonl.js';
import { sameMessage } from './messages.js';
import type { Message } from './records.js';

const assistant = (content: string): Message => ({ role: 'assistant', content });

export type Split<T> = {
  prompt: T[];
  chosen: T[];
  rejected: T[];
};

/**
 * The common beginning of two sequences, and the rest of each: TRL's extract_prompt. As there, if
 * one sequence begins with the whole other one, the last common element stays with the answers, and
 * a `space` just before the difference does not belong to the prompt. (If they differ from the
 * start, TRL looks at the last element instead; here there is no prompt then.)
 */
export function extractPrompt<T>(
  chosen: readonly T[],
  rejected: readonly T[],
  same: (a: T, b: T) => boolean,
  space?: T,
): Split<T> {
  const shorter = Math.min(chosen.length, rejected.length);
  let at = 0;
  while (at < shorter && same(chosen[at]!, rejected[at]!)) at++;
  if (at === shorter) at = Math.max(0, shorter - 1);
  else if (at > 0 && space !== undefined && chosen[at - 1] === space) at--;
  return { prompt: chosen.slice(0, at), chosen: chosen.slice(at), rejected: rejected.slice(at) };
}

/** The label that begins the answer in a text of turns, such as "A:" or "### Response:". */
const ANSWER_LABEL = new RegExp(
  String.raw`(?:^|\n)[ \t]*(?:#+[ \t]*)?(?:Assistant|AI|Bot|Chatbot|Model|GPT|A|Answer|` +
    'Response|Output|Completion|Summary|TL;DR):',
  'g',
);

/**
 * The prompt of two texts: HH-RLHF's turns, or the common beginning up to the label of the answer
 * or to a line end. @throws DataError if the texts differ elsewhere, because a cut there would
 * leave a part of the answer in the prompt
 */
export function splitTexts(chosen: string, rejected: string, where: string): Split<Message> {
  const [a, b] = [turns(chosen), turns(rejected)];
  if (a && b) return extractPrompt(a, b, sameMessage);
  // Characters are code points, as in Python: half a surrogate pair is not a character.
  const common = extractPrompt([...chosen], [...rejected], (x, y) => x === y, ' ').prompt.join('');
  if (common.trim() === '') return { prompt: [], chosen: [], rejected: [] };
  const label = [...common.matchAll(ANSWER_LABEL)].at(-1);
  const end =
    label !== undefined
      ? label.index + label[0].length
      : common.endsWith('\n')
        ? common.length
        : undefined;
  if (end === undefined)
    throw new DataError(
      `${where}: the prompt is missing: "chosen" and "rejected" both begin with ` +
        `${describe(common)}, which ends neither at a turn nor at a line end; give the prompt in ` +
        'the column "prompt"',
    );
  return {
    prompt: [{ role: 'user', content: common.slice(0, end) }],
    chosen: [assistant(chosen.slice(end))],
    rejected: [assistant(rejected.slice(end))],
  };
}

/**
 * The labels of the speakers in a dialogue: HH-RLHF's, each after a blank line, Guanaco's
 * `### Human:` and Vicuna's `USER:`, which may stand anywhere.
 */
const LABELS = [
  /(?:^|\n\n)(Human|Assistant):/g,
  /(?:^|\n\n)(User|Assistant):/g,
  /(?:^|\s*)### ?(Human|User|Assistant):/g,
  /(?:^|\s)(USER|ASSISTANT):/g,
];

/**
 * A dialogue as messages, such as `\n\nHuman: Hi\n\nAssistant: Hello`; null for any other text. A
 * text before the first label is the system message of a dialogue that ends with the assistant.
 */
export function turns(dialogue: string): Message[] | null {
  const text = dialogue.trim();
  for (const label of LABELS) {
    const found = [...text.matchAll(label)];
    if (found.length < 2) continue;
    const said = found.map(({ 0: { length }, 1: who, index }, i): Message => {
      const content = text.slice(index + length, found[i + 1]?.index).trim();
      return { role: /^assistant$/i.test(who!) ? 'assistant' : 'user', content };
    });
    const preamble = text.slice(0, found[0]!.index).trim();
    if (preamble === '' && label === LABELS[0] && said[0]!.role === 'user') return said;
    if (said.some(({ role }, i) => role !== (i % 2 === 0 ? 'user' : 'assistant'))) continue;
    if (preamble === '') return said;
    if (said.length % 2 === 0) return [{ role: 'system', content: preamble }, ...said];
  }
  return null;
}

/**
 * The turns of a dialogue, without the label `Assistant:` at which the assistant is to speak; null
 * for any other text. A text that only quotes a dialogue does not end with that label.
 */
export function dialoguePrompt(text: string): Message[] | null {
  const [, only] = /^\n\nHuman: ?((?:(?!\n\nAssistant:)[^])*)$/.exec(text) ?? [];
  const said = only === undefined ? turns(text) : [{ role: 'user' as const, content: only.trim() }];
  const last = said?.at(-1);
  if (last?.role === 'assistant' && last.content === '') return said!.slice(0, -1);
  return said?.[0]?.role === 'system' ? null : said;
}
