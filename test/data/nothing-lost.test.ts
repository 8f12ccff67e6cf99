/** Rows of which a reader that takes what it knows would lose or misread a part without a word. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadPreferences } from '../../src/data/preferences.js';
import { loadDemonstrations, loadPrompts } from '../../src/data/prompts.js';
import { readRows } from '../../src/data/rows.js';
import { temporaryFolder } from '../support/folders.js';

const folder = temporaryFolder('cream-lost-');
function file(name: string, data: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, data);
  return path;
}
const rows = (...values: object[]) =>
  file('r.jsonl', values.map((value) => JSON.stringify(value)).join('\n'));
const golden = (name: string) => new URL(`../golden/parquet/${name}`, import.meta.url).pathname;
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const promptsOf = async (path: string, columns: string[] = []) =>
  (await loadPrompts(path, { columns })).records.map(({ prompt }) => prompt);

describe('a key that stands twice', () => {
  it.each([
    ['{"prompt": "One?", "prompt": "Two?"}', 'prompt'],
    ['{"prompt": [{"role": "user", "content": "a", "content": "b"}]}', 'content'],
    ['{"prompt": "a", "pr\\u006fmpt": "b"}', 'prompt'],
    ['{"id": 1, "x": [[{"k": 1}, {"k": 2, "k": 3}]], "prompt": "a"}', 'k'],
  ])('%s', async (row, key) => {
    const message = `row 2: the key "${key}" stands twice in one object`;
    const before = '{"prompt": "Zero?", "x": {"prompt": 1}}';
    await expect(loadPrompts(file('k.jsonl', `${before}\n${row}\n`))).rejects.toThrow(
      message.replace('row', 'line'),
    );
    await expect(loadPrompts(file('k.json', `[${before}, ${row}]`))).rejects.toThrow(message);
    await expect(loadPrompts(file('d.json', `{"data": [${before}, ${row}]}`))).rejects.toThrow(
      message,
    );
  });

  it('is a column of a Parquet file', () =>
    expect(readRows(golden('twins.parquet'))).rejects.toThrow('two columns are called "prompt"'));
});

describe('beside "data"', () => {
  const data = [{ prompt: 'a b' }];
  it.each([
    [{ data, test: [{ prompt: 'c d' }] }, 'has rows under "data" and under "test"'],
    [{ system: 'Be brief.', data }, 'has "system" beside "data" ("Be brief.")'],
    [{ data, documents: ['x'] }, 'has "documents" beside "data"'],
  ])('%j', (value, message) =>
    expect(loadPrompts(file('b.json', JSON.stringify(value)))).rejects.toThrow(message),
  );

  it('a description is of no row', async () => {
    const value = { version: '1.1', license: { name: 'mit' }, schema: { fields: [{}] }, data };
    expect(await promptsOf(file('b.json', JSON.stringify(value)))).toEqual([[user('a b')]]);
  });

  it('a single row with messages is a row', async () => {
    const row = { messages: [user('a b'), assistant('c')] };
    expect(await promptsOf(file('one.json', JSON.stringify(row, null, 1)))).toEqual([
      [user('a b')],
    ]);
  });
});

describe('options of a question', () => {
  const question = 'Which is red?';
  it.each([
    ['options', { options: ['sky', 'blood'] }],
    ['options', { options: { A: 'sky', B: 'blood' } }],
    ['endings', { endings: ['sky', 'blood'] }],
    ['A', { A: 'sky', B: 'blood', C: 'sea' }],
    ['A', { A: 1, B: 2, C: 3 }],
    ['opa', { opa: 'sky', opb: 'blood' }],
    ['option_1', { option_1: 'sky', option_2: 'blood' }],
    ['Distractor1', { Distractor1: 'sky' }],
  ])('in "%s" are refused by name', async (column, columns) => {
    const message = `line 1: column "${column}" looks like options of the question`;
    const answers = { response: 'a b', chosen: 'a b', rejected: 'c d' };
    const path = rows({ question, ...columns, ...answers });
    for (const load of [loadPrompts, loadDemonstrations, loadPreferences])
      await expect(load(path)).rejects.toThrow(message);
  });

  it('are read as choices, also as JSON text and in any case', async () => {
    const asked = [user(expect.stringContaining('Which is red?\nA. sky\nB. blood\n') as never)];
    const options = ['sky', 'blood'];
    expect(await promptsOf(rows({ question, options }), ['choices=options'])).toEqual([asked]);
    expect(await promptsOf(rows({ question, Choices: options }))).toEqual([asked]);
    const csv = file('c.csv', `question,choices,answer\n${question},"[""sky"",""blood""]",1\n`);
    expect((await loadPrompts(csv)).records).toMatchObject([{ prompt: asked, answer: 'B' }]);
  });

  it('that the prompt contains are no loss, nor are single letters of other columns', async () => {
    const prompt = 'Which is red? (A) sky (B) blood';
    expect(await promptsOf(rows({ prompt, options: ['sky', 'blood'], A: 1, B: 2 }))).toEqual([
      [user(prompt)],
    ]);
  });
});

describe('a question asks for the kind of its answer', () => {
  it.each([
    [undefined, /^Why\?$/],
    ['Because it is so, as all agree.', /^Why\?$/],
    ['42', /and the number\.$/],
    ['$3.50 per kilo', /and the number\.$/],
    ['2 + 2 = 4\n#### 4', /and the number\.$/],
    ['Paris', /and the word\.$/],
  ])('%j', async (answer, pattern) => {
    const [prompt] = await promptsOf(rows({ question: 'Why?', answer }));
    expect(prompt![0]!.content).toMatch(pattern);
  });
});

describe('turns', () => {
  it.each(['tools', 'functions', 'context', 'documents', 'thought', 'Reasoning', 'refusal'])(
    'with %s',
    (key) =>
      expect(
        loadDemonstrations(rows({ messages: [user('a'), { ...assistant('b'), [key]: 'x y' }] })),
      ).rejects.toThrow(`turn 2 has "${key}", which is not read`),
  );
  it('with a part that has more than text', () =>
    expect(
      loadPrompts(rows({ prompt: [{ role: 'user', content: [{ text: 'a', image_url: 'u' }] }] })),
    ).rejects.toThrow('"prompt" turn 1 has "image_url"'));
  it('with a key that is switched off', async () =>
    expect(
      await promptsOf(rows({ prompt: [{ ...user('a'), tools: [], thinking: false }] })),
    ).toEqual([[user('a')]]));
  it('of an answer without a role', () =>
    expect(
      loadPreferences(
        rows({
          prompt: 'a b',
          chosen: { content: 'c', reasoning: 'hm' },
          rejected: { content: 'd' },
        }),
      ),
    ).rejects.toThrow('"chosen" has "reasoning"'));
  it.each([
    { loss: false },
    { training: false },
    { loss_weight: 0 },
    { mask: true },
    { masked: 1 },
  ])('that are not to be learnt: %j', (mark) =>
    expect(
      loadDemonstrations(rows({ messages: [user('a'), { ...assistant('b'), ...mark }] })),
    ).rejects.toThrow('ends with a turn that is not to be learnt'),
  );
});

describe('a completion that is labelled as a bad one', () => {
  const row = { prompt: 'a b', completion: 'c d' };
  it.each([false, 'False', 0])('%j', (label) =>
    expect(loadDemonstrations(rows({ ...row, label }))).rejects.toThrow(
      `"label" is ${JSON.stringify(label)}, so "completion" is an example of a bad completion`,
    ),
  );
  it.each([true, 1, 'chat', null])('%j is no such label', async (label) =>
    expect((await loadDemonstrations(rows({ ...row, label }))).records).toHaveLength(1),
  );
  it.each([
    [{ messages: [user('a'), assistant('b')], label: false }, 'label', 'messages'],
    [{ conversations: [user('a'), assistant('b')], label: 'rejected' }, 'label', 'conversations'],
    [{ messages: [user('a'), assistant('b')], kto_tag: false }, 'kto_tag', 'messages'],
    [{ instruction: 'a', output: 'b', kto_tag: false }, 'kto_tag', 'output'],
  ])('%j', (other, mark, answer) =>
    expect(loadDemonstrations(rows(other))).rejects.toThrow(
      new RegExp(`"${mark}" is .*, so "${answer}" is an example of a bad completion`),
    ),
  );
  it('is left out by on_bad_row', async () => {
    const path = rows({ ...row, label: false }, { ...row, completion: 'e f', label: true });
    const { records, skipped } = await loadDemonstrations(path, { onBadRow: 'skip' });
    expect(records.map(({ completion }) => completion)).toEqual([[assistant('e f')]]);
    expect(skipped).toHaveLength(1);
  });
});

describe("HH-RLHF's prompts", () => {
  it.each([
    ['\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: More', [user('Hi'), assistant('Ho'), user('More')]],
    ['\n\nHuman: Hi', [user('Hi')]],
    ['User: Hi\n\nAssistant: Ho\n\nUser: More', [user('Hi'), assistant('Ho'), user('More')]],
    ['### Human: Hi### Assistant:', [user('Hi')]],
    ['Be kind. USER: Hi ASSISTANT:', [{ role: 'system', content: 'Be kind.' }, user('Hi')]],
    [
      'Be kind.\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: More\n\nAssistant:',
      [{ role: 'system', content: 'Be kind.' }, user('Hi'), assistant('Ho'), user('More')],
    ],
    [
      'Go on:\n\nHuman: Hi\n\nAssistant: Ho',
      [user('Go on:\n\nHuman: Hi\n\nAssistant: Ho')], // quotes a dialogue
    ],
    ['\n\nHuman: Hi\n\nAssistant:', [user('Hi')]],
    ['Human: a history', [user('Human: a history')]],
  ])('%j', async (prompt, messages) =>
    expect(await promptsOf(rows({ prompt }))).toEqual([messages]),
  );
  it('that end with an answer are refused', () =>
    expect(loadPrompts(rows({ prompt: '\n\nHuman: Hi\n\nAssistant: Ho' }))).rejects.toThrow(
      'ends with an assistant turn',
    ));
});

describe('columns', () => {
  it('of which two are read as one', () =>
    expect(
      loadPrompts(rows({ a: 'x y', b: 'z w' }), { columns: ['prompt=a', 'prompt=b'] }),
    ).rejects.toThrow('read both "a" and "b" as "prompt"'));
  it('of lists and objects with text are named', async () => {
    const row = { prompt: 'a b', notes: [{ text: 'It rains today.' }], sizes: [1, 2], tags: ['x'] };
    expect((await loadPrompts(rows(row))).unread).toEqual(['notes']);
  });
  it('of text lists could be the prompt of a pair without one', () =>
    expect(
      loadPreferences(rows({ asked: ['Tell me a joke'], chosen: 'Hm\na', rejected: 'Hm\nb' })),
    ).rejects.toThrow('a column "asked" of text that could be it'));
  it('are found in any case', async () => {
    const row = { Prompt: 'a b', Chosen: 'c', Rejected: 'd', Consistency: 0.25, ID: 7 };
    const { records } = await loadPreferences(rows(row));
    expect(records).toMatchObject([{ consistency: 0.25, id: '7' }]);
  });
  it.each(['NA', 'N/A', '#N/A', 'NULL', '-nan', '1.#IND', 'n/a'])(
    'of a CSV file are absent where they hold %s, as in pandas',
    async (absent) => {
      const path = file('n.csv', `prompt,system\na b,${absent}\nc d,"${absent}"\n`);
      expect(await promptsOf(path)).toEqual([
        [user('a b')],
        [{ role: 'system', content: absent }, user('c d')],
      ]);
    },
  );
});

describe('an answer that is neither text nor a number', () => {
  it.each([[true], [['Paris', 'paris']], [{ value: 'Paris' }], [[]]])(
    'does not spoil the prompt: %j',
    async (answer) => {
      const path = rows({ question: 'Is it Paris?', answer }, { prompt: 'a b', answer });
      expect((await loadPrompts(path)).records).toEqual([
        { id: expect.any(String), prompt: [user('Is it Paris?')] },
        { id: expect.any(String), prompt: [user('a b')] },
      ]);
    },
  );
});

describe('a mapping of columns', () => {
  const answer = { output: 'x' };
  it.each([
    ['instruction', { task_text: 'Do', input: '5 6' }, ['instruction=task_text'], 'Do\n\n5 6'],
    ['input', { instruction: 'Do', given: '5 6' }, ['input=given'], 'Do\n\n5 6'],
    ['question', { asked: 'Why?', context: 'It.' }, ['question=asked'], 'It.\nWhy?'],
    ['context', { question: 'Why?', text: 'It.' }, ['context=text'], 'It.\nWhy?'],
    ['input alone', { given: '5 6', query: 'z' }, ['input=given'], '5 6'],
  ])('of %s keeps what belongs to it', async (_, row, columns, content) => {
    const { records } = await loadDemonstrations(rows({ ...row, ...answer }), { columns });
    expect(records[0]!.prompt).toEqual([user(content)]);
  });

  it.each([
    ['prompt=asked', 'context'],
    ['query=asked', 'input'],
    ['prompt=asked', 'Context'],
    ['instruction=asked', 'documents'],
  ])('%s drops no %s', async (mapping, column) => {
    const path = rows({ asked: 'Why?', [column]: 'It rained.', output: 'x' });
    for (const load of [loadPrompts, loadDemonstrations]) {
      await expect(load(path, { columns: [mapping] })).rejects.toThrow(
        `column "${column.toLowerCase()}" changes the conversation`,
      );
      const columns = [mapping, `ignore=${column.toLowerCase()}`];
      expect((await load(path, { columns })).records[0]!.prompt).toEqual([user('Why?')]);
    }
  });

  it('leaves out the columns that are to be ignored', async () => {
    const row = { prompt: 'a b', tools: [{ name: 'f' }], system: 's', question: 'c d' };
    const columns = ['ignore=tools', 'ignore=system', 'ignore=question', 'ignore=absent'];
    const { records } = await loadPrompts(rows(row), { columns });
    expect(records[0]!.prompt).toEqual([user('a b')]);
    await expect(loadPrompts(rows(row), { columns: columns.slice(1) })).rejects.toThrow(
      'or ignore them with columns, such as ignore=tools',
    );
    await expect(
      loadPrompts(rows(row), { columns: ['system=tools', 'ignore=tools'] }),
    ).rejects.toThrow('the column mappings read "tools" as "system" and ignore it');
  });

  it('decides between several completions', async () => {
    const load = async (row: object, ...columns: string[]) =>
      (await loadDemonstrations(rows(row), { columns })).records[0]!.completion;
    const two = { prompt: 'a b', output: 'x', response: 'y' };
    await expect(load(two)).rejects.toThrow('such as output=response, or remove the other');
    expect(await load(two, 'completion=response')).toEqual([assistant('y')]);
    const whole = { messages: [user('q'), assistant('a')], response: 'y' };
    await expect(load(whole)).rejects.toThrow(
      'line 1: "messages" ends with an answer and "response" is another',
    );
    expect(await load(whole, 'messages=messages')).toEqual([assistant('a')]);
    expect(await load({ ...whole, response: ' a ' })).toEqual([assistant('a')]);
  });

  it('is a list of texts', () =>
    expect(loadPrompts(rows({ prompt: 'a' }), { columns: [5] as never })).rejects.toThrow(
      'columns must be a list of names, and holds 5',
    ));
});

describe('of a conversation', () => {
  it('a turn of the system behind the last question is kept', async () => {
    const brief = { role: 'system', content: 'Be brief.' };
    expect(await promptsOf(rows({ messages: [user('q'), brief, assistant('a')] }))).toEqual([
      [user('q'), brief],
    ]);
  });
  it.each(['image_url', 'img', 'audio_path', 'videoUrls', 'input_image', 'picture'])(
    'a picture or sound in %s is refused by name',
    (column) =>
      expect(loadPrompts(rows({ prompt: 'What is this?', [column]: 'a.png' }))).rejects.toThrow(
        `column "${column}" changes the conversation`,
      ),
  );
  it('whether there is one, and its number, are no picture', async () => {
    const row = { prompt: 'What?', has_image: true, image_count: 2, video_id: 'x1', image: '' };
    expect(await promptsOf(rows(row))).toEqual([[user('What?')]]);
  });
  it('text without a visible character is empty', async () => {
    const blank = '\u200b \ufeff\u2060\u0000\u00ad';
    await expect(loadPrompts(rows({ prompt: blank }))).rejects.toThrow('"prompt" must be text');
    await expect(loadDemonstrations(rows({ prompt: 'a', completion: blank }))).rejects.toThrow(
      '"completion" must be text',
    );
    await expect(
      loadPreferences(rows({ prompt: 'a', chosen: 'b', rejected: blank })),
    ).rejects.toThrow('"rejected" is empty');
    expect(await promptsOf(rows({ prompt: '👩‍👩‍👧' }))).toEqual([[user('👩‍👩‍👧')]]);
  });
  it.each(['0', 'False', 'bad', 'rejected'])('a completion labelled %j is none to learn', (label) =>
    expect(
      loadDemonstrations(file('kto.csv', `prompt,completion,label\na b,c,${label}\n`)),
    ).rejects.toThrow('is an example of a bad completion'),
  );
});

describe('a row that is nested too deeply', () => {
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  it.each(['prompt', 'options', 'system', 'notes'])('in %s is refused', (column) => {
    const other = column === 'prompt' ? 'id' : 'prompt';
    return expect(
      loadPrompts(file('deep.jsonl', `{"${other}": "a b", "${column}": ${deep}}`)),
    ).rejects.toThrow('deep.jsonl line 1: it is nested too deeply');
  });
});

describe('a CSV file', () => {
  it.each([' ', '0x1', '1e', '0,5'])('with the consistency %j has none', (value) =>
    expect(
      loadPreferences(file('c.csv', `prompt,chosen,rejected,consistency\na b,c,d,"${value}"\n`)),
    ).rejects.toThrow('"consistency" must be a number from 0 to 1'),
  );
  it.each([
    ['zeros', `prompt\n${'a'.repeat(5000)}\n\0\0b\n`, 'x.csv line 3 holds bytes that are 0'],
    ['a web page', '<!DOCTYPE html><html>\n', 'x.csv is a web page and not CSV'],
    ['JSON', '[\n  {"prompt": "a"}\n]', 'x.csv holds JSON and not CSV'],
    ['fields', `prompt\n${','.repeat(2_000_000)}\n`, 'x.csv line 2: the row has more than 10000'],
  ])('that holds %s is refused', (_, text, message) =>
    expect(readRows(file('x.csv', text))).rejects.toThrow(message),
  );
  it('whose first column is named like another kind of file is read', async () => {
    for (const name of ['ORCID', 'BZhang', 'PARENT', 'GGUF', 'LZIP'])
      expect(await promptsOf(file('x.csv', `${name},prompt\n1,a b\n`))).toEqual([[user('a b')]]);
  });
});

it('zeros at the end of a JSONL file are told as damage', () =>
  expect(readRows(file('z.jsonl', `{"prompt": "${'a'.repeat(5000)}"}\n\0\0\0\0`))).rejects.toThrow(
    'z.jsonl line 2: the line holds bytes that are 0',
  ));
