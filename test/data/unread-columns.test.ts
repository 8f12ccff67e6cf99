/** Columns of text that no loader reads are named. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadPreferences } from '../../src/data/preferences.js';
import { loadDemonstrations, loadPrompts } from '../../src/data/prompts.js';
import { describeUnread } from '../../src/data/unread-columns.js';
import { temporaryFolder } from '../support/folders.js';
import { tinyRun } from '../support/run.js';

const folder = temporaryFolder('cream-unread-');
function file(...rows: object[]): string {
  const path = join(folder, 'u.jsonl');
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  return path;
}
const answers = { completion: 'No.', chosen: 'No.', rejected: 'Maybe so.' };

describe('the columns of text that are not read', () => {
  it.each([
    ['beside a question', { question: 'Did Ann win?', story: 'Ann lost her shoe.' }, ['story']],
    ['beside an instruction', { instruction: 'Sum up.', text: 'A long text.' }, ['text']],
    ['two of them', { prompt: 'Sum up.', post: 'Some post.', hint: 'Be kind.' }, ['post', 'hint']],
    ['one that repeats the prompt', { prompt: 'Say: be kind.', hint: 'be kind.' }, []],
    ['descriptions', { prompt: 'Hi there', source: 'a web page', my_model: 'x y', id: 'a b' }, []],
    ['single words and numbers', { prompt: 'Hi there', mood: 'calm', length: 12 }, []],
  ])('%s', async (_, row, unread) => {
    const at = file({ ...answers, ...row });
    for (const load of [loadPrompts, loadDemonstrations, loadPreferences])
      expect((await load(at)).unread).toEqual(unread);
  });

  it('are named in one sentence', () => {
    expect(describeUnread('f', { unread: ['story', 'hint'] })).toBe(
      'f: the text in the columns "story", "hint" is not read. If the model is to see it, write ' +
        'it into the prompt.',
    );
    expect(describeUnread('f', {})).toBeUndefined();
  });

  it('are named when a run starts', async () => {
    const at = file(
      ...[1, 2, 3, 4].map((n) => ({ prompt: `Sum up ${n}.`, post: `Post number ${n}.` })),
    );
    const { events } = await tinyRun([`prompts.source=${at}`]);
    expect(events).toContainEqual(
      expect.objectContaining({
        type: 'warning',
        message: expect.stringContaining('the text in the column "post" is not read'),
      }),
    );
  });
});
