/**
 * Chat templates against transformers' apply_chat_template (scripts/golden/templates.py): ours in
 * the manner of every family, and, where CREAM_CHAT_TEMPLATES names a file made from them,
 * templates that are not ours to keep.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { ChatTemplate, type Message } from '../../src/text/chat-template.js';

type Rendered = string | { refused: string } | null;
interface Golden {
  special: Record<string, string>;
  conversations: Message[][];
  templates: { name: string; source: string; renders: Rendered[] }[];
}

/**
 * What of a template's renders differs; a refusal has to quote the template, a failure of jinja2's
 * need only be one here. `loudly`: a clear error where Python renders counts as no difference.
 * (Templates for images lose a text that is not in parts.)
 */
function differences(
  { special, conversations }: Golden,
  source: string,
  expected: Rendered[],
  loudly = false,
): unknown[] {
  let made: ChatTemplate | Error;
  try {
    made = new ChatTemplate(source, { specialTokens: special });
  } catch (error) {
    made = error as Error;
  }
  return conversations.flatMap((messages, i) =>
    [false, true].flatMap((addGenerationPrompt, j) => {
      const wanted = expected[2 * i + j] as Rendered;
      let ours: Rendered;
      try {
        if (made instanceof Error) throw made;
        ours = made.render(messages, { addGenerationPrompt });
      } catch (error) {
        ours = { refused: (error as Error).message };
      }
      const same =
        typeof wanted === 'string'
          ? ours === wanted
          : typeof ours === 'object' &&
            ours !== null &&
            (wanted === null ||
              (ours.refused.includes('refuses these messages') &&
                ours.refused.includes(wanted.refused)));
      if (
        loudly &&
        typeof wanted === 'string' &&
        typeof ours === 'object' &&
        ours?.refused.includes('failed on messages')
      )
        return [];
      return same
        ? []
        : [
            {
              roles: messages.map(({ role }) => role).join(' '),
              content: messages[0]?.content.slice(0, 40),
              addGenerationPrompt,
              ours,
              wanted,
            },
          ];
    }),
  );
}

const kept = JSON.parse(
  readFileSync(new URL('../golden/templates.json', import.meta.url), 'utf8'),
) as Golden;

describe('our templates', () => {
  it.each(kept.templates.map((template) => [template.name, template] as const))(
    `"%s" renders ${kept.conversations.length} conversations as transformers does`,
    (_, { source, renders }) => {
      expect(differences(kept, source, renders)).toEqual([]);
    },
  );
});

const path = process.env['CREAM_CHAT_TEMPLATES'] ?? '';
const others = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Golden) : null;
if (others === null)
  console.warn(
    'skipped: the templates of others; make a file of them with ' +
      'scripts/golden/templates.py FOLDER OUT.json and name it in CREAM_CHAT_TEMPLATES',
  );

(others === null ? describe.skip : describe)('templates of others', () => {
  it.each(
    (others?.templates ?? [{ name: 'none', source: '', renders: [] }]).map(
      (template) => [template.name, template] as const,
    ),
  )('"%s"', (_, { source, renders }) => {
    expect(differences(others as Golden, source, renders, true)).toEqual([]);
  });
});
