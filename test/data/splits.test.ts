/** Files of splits, compared with the datasets library. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { stringify } from 'yaml';
import { splitsOf } from '../../src/data/splits.js';

interface Layout {
  files: string[];
  card?: object[];
  configs: Record<string, Record<string, string[]>>;
}
const { layouts } = JSON.parse(
  readFileSync(new URL('../golden/splits.json', import.meta.url), 'utf8'),
) as { layouts: Layout[] };

describe('the files that datasets takes', () => {
  it.each(
    layouts.map(
      (layout) =>
        [layout.card ? JSON.stringify(layout.card) : layout.files.join(', '), layout] as const,
    ),
  )('%s', (_, { files, card, configs }) => {
    const found = splitsOf(files, card ? `---\n${stringify({ configs: card })}---\n` : '', {
      source: 'hub:org/words',
    });
    expect(
      Object.fromEntries([...found].map(([config, of]) => [config, Object.fromEntries(of)])),
    ).toEqual(configs);
  });
});
