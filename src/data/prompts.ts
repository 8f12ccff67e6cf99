/**
 * Prompts and demonstrations from a user's JSONL file. A row is recognised by its columns:
 *
 *   prompt (string | messages) [+ answer, choices]            TRL's columns; messages as they are, a string as one user message
 *   messages                                                  prompts: up to the last user turn; demonstrations: the last assistant turn
 *   question + choices [+ context, answer | answerKey]        multiple choice (ARC, OpenBookQA, SIQA)
 *   question [+ final | answer]                               GSM8K and other questions with a number for an answer
 *   instruction [+ input, output]                             Alpaca, Dolly
 *   prompt + completion                                       demonstrations, TRL's columns
 *
 * Without an `id`, a row gets one that depends on its content alone, so that shuffling a file changes no id.
 */
import type { Choice, DemonstrationRecord, Message, PromptRecord } from './records.js';
import { columnList, DataError, describe, isMessages, readJsonl, type Line } from './jsonl.js';
import { askChoices, askQuestion, contentId } from './question.js';

export interface Loaded<T> {
  records: T[];
  /** Rows left out because an earlier row says the same. */
  duplicates: number;
}

/** Reads prompts. Repeated prompts are left out and counted. @throws DataError for a bad row, an id used for two prompts, no rows. */
export async function loadPrompts(path: string): Promise<Loaded<PromptRecord>> {
  return distinct(await readJsonl(path), promptOf, ({ prompt }) => contentId(prompt));
}

/** Reads demonstrations. Repeated ones are left out and counted. @throws as `loadPrompts`. */
export async function loadDemonstrations(path: string): Promise<Loaded<DemonstrationRecord>> {
  return distinct(await readJsonl(path), demonstrationOf, ({ prompt, completion }) => contentId([...prompt, ...completion]));
}

/** The prompt of one row. */
export function promptOf(line: Line): PromptRecord {
  const { value, where } = line;
  const base = (prompt: Message[]) => ({ id: optionalText(line, 'id') ?? contentId(prompt), prompt });
  if (value.choices !== undefined && value.prompt === undefined) return choicePrompt(line, base);
  if (value.prompt !== undefined) {
    const prompt = base(conversation(line, 'prompt'));
    if (prompt.prompt.at(-1)!.role === 'assistant') throw new DataError(`${where}: "prompt" ends with an assistant turn; it must end where the model is to speak`);
    const choices = value.choices === undefined ? undefined : choicesOf(line);
    return withOptional(line, prompt, { answer: optionalText(line, 'answer'), choices });
  }
  if (value.messages !== undefined) {
    const messages = conversation(line, 'messages');
    const last = messages.findLastIndex(({ role }) => role === 'user');
    if (last === -1) throw new DataError(`${where}: "messages" has no user turn to answer`);
    return withOptional(line, base(messages.slice(0, last + 1)), {});
  }
  if (value.question !== undefined) {
    // GSM8K as published has the whole solution in `answer`, its last line being `#### N`.
    const answer = optionalText(line, 'final') ?? optionalText(line, 'answer')?.split('####').at(-1)!.trim();
    return withOptional(line, base(askQuestion(text(line, 'question'), 'number')), { answer });
  }
  if (value.instruction !== undefined) return withOptional(line, base(instruction(line)), {});
  throw new DataError(`${where}: no prompt found; give "prompt" (text or messages), "messages", "question" or "instruction"; the row has ${columnList(value)}`);
}

/** The demonstration of one row. */
export function demonstrationOf(line: Line): DemonstrationRecord {
  const { value, where } = line;
  let prompt: Message[], completion: Message[];
  if (value.messages !== undefined) {
    const messages = conversation(line, 'messages');
    if (messages.length < 2 || messages.at(-1)!.role !== 'assistant') throw new DataError(`${where}: "messages" must end with an assistant turn after at least one other`);
    [prompt, completion] = [messages.slice(0, -1), messages.slice(-1)];
  } else if (value.prompt !== undefined && value.completion !== undefined) {
    [prompt, completion] = [conversation(line, 'prompt'), conversation(line, 'completion', 'assistant')];
  } else if (value.instruction !== undefined && value.output !== undefined) {
    [prompt, completion] = [instruction(line), [{ role: 'assistant', content: text(line, 'output') }]];
  } else {
    throw new DataError(`${where}: no demonstration found; give "messages", "prompt" + "completion" or "instruction" + "output"; the row has ${columnList(value)}`);
  }
  if (completion.length !== 1 || completion[0]!.role !== 'assistant' || completion[0]!.content.trim() === '') {
    throw new DataError(`${where}: a demonstration's completion must be one assistant turn that is not empty`);
  }
  return { id: optionalText(line, 'id') ?? contentId([...prompt, ...completion]), prompt, completion };
}

function choicePrompt(line: Line, base: (prompt: Message[]) => { id: string; prompt: Message[] }): PromptRecord {
  const choices = choicesOf(line);
  const question = line.value.question === undefined ? 'question_stem' : 'question';
  const answer = optionalText(line, 'answer') ?? optionalText(line, 'answerKey');
  if (answer !== undefined && !choices.some(({ label }) => label === answer)) {
    throw new DataError(`${line.where}: the answer ${describe(answer)} is not among the labels ${choices.map(({ label }) => label).join(', ')}`);
  }
  return withOptional(line, base(askChoices(text(line, question), choices, optionalText(line, 'context'))), { answer, choices });
}

/** Choices as a list of {label, text}, or as the hub's {label: […], text: […]}. */
function choicesOf({ value, where }: Line): Choice[] {
  const raw = value.choices as { label?: unknown; text?: unknown } | null;
  const list: unknown = raw !== null && Array.isArray(raw.label) && Array.isArray(raw.text)
    ? raw.label.map((label, i) => ({ label, text: (raw.text as unknown[])[i] }))
    : raw;
  const valid = Array.isArray(list) && list.length >= 2 && list.every((c) => typeof c?.label === 'string' && typeof c.text === 'string');
  if (!valid) throw new DataError(`${where}: "choices" must be a list of at least two {"label", "text"}, but is ${describe(value.choices)}`);
  const choices = (list as Choice[]).map(({ label, text }) => ({ label, text }));
  if (new Set(choices.map(({ label }) => label)).size < choices.length) throw new DataError(`${where}: two choices have the same label`);
  return choices;
}

function instruction(line: Line): Message[] {
  const input = optionalText(line, 'input')?.trim();
  return [{ role: 'user', content: text(line, 'instruction') + (input ? `\n\n${input}` : '') }];
}

/** A column that is a string or a list of messages; a string becomes one message of `role`. */
function conversation({ value, where }: Line, column: string, role: Message['role'] = 'user'): Message[] {
  const raw = value[column];
  if (typeof raw === 'string' && raw.trim() !== '') return [{ role, content: raw }];
  if (!isMessages(raw)) {
    throw new DataError(`${where}: "${column}" must be text or a list of {"role": "system" | "user" | "assistant", "content": text}, but is ${describe(raw)}`);
  }
  return (raw as Message[]).map((message) => ({ role: message.role, content: message.content }));
}

function text({ value, where }: Line, column: string): string {
  const raw = value[column];
  if (typeof raw !== 'string' || raw.trim() === '') throw new DataError(`${where}: column "${column}" must be text that is not empty, but is ${describe(raw)}`);
  return raw;
}

function optionalText({ value, where }: Line, column: string): string | undefined {
  const raw = value[column];
  if (raw === undefined || raw === null) return undefined;
  if (typeof raw === 'number' && Number.isFinite(raw)) return String(raw);
  if (typeof raw !== 'string') throw new DataError(`${where}: column "${column}" must be text, but is ${describe(raw)}`);
  return raw;
}

/** Adds the columns that are there: an absent one must not become `undefined`, artefacts are compared byte by byte. */
function withOptional(line: Line, record: PromptRecord, { answer, choices }: Pick<PromptRecord, 'answer' | 'choices'>): PromptRecord {
  const task = optionalText(line, 'task');
  return { ...record, ...(answer !== undefined && { answer }), ...(task !== undefined && { task }), ...(choices && { choices }) };
}

function distinct<T extends { id: string }>(lines: readonly Line[], read: (line: Line) => T, content: (record: T) => string): Loaded<T> {
  const seen = new Set<string>(), ids = new Map<string, string>();
  const records: T[] = [];
  for (const line of lines) {
    const record = read(line);
    const said = content(record);
    if (seen.has(said)) continue;
    const other = ids.get(record.id);
    if (other !== undefined) throw new DataError(`${line.where}: the id ${describe(record.id)} is also that of ${other}; records are joined by id, so it must name one row`);
    seen.add(said);
    ids.set(record.id, line.where);
    records.push(record);
  }
  return { records, duplicates: lines.length - records.length };
}
