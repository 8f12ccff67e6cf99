import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { ChatTemplate, type Message } from '../../src/text/chat-template.js';
import type { Tokenizer } from '../../src/text/tokenizer.js';
import { defaultTokenizer } from './default-model.js';

interface Golden {
  default: { special: Record<string, string> };
  chat: {
    conversations: Message[][];
    default: (string | null)[];
    templates: { name: string; source: string; renders: (string | null)[] }[];
  };
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/tokenizer.json', import.meta.url), 'utf8'),
) as Golden;
const specialTokens = golden.default.special;
const hi = [{ role: 'user', content: ' hi ' }];
const render = (source: string, messages: Message[] = hi): string =>
  new ChatTemplate(source, { specialTokens }).render(messages, { addGenerationPrompt: true });

/**
 * Renders of every golden conversation, without and with the generation prompt; null where it
 * throws.
 */
function renders(template: ChatTemplate): (string | null)[] {
  return golden.chat.conversations.flatMap((messages) =>
    [false, true].map((addGenerationPrompt) => {
      try {
        return template.render(messages, { addGenerationPrompt });
      } catch {
        return null;
      }
    }),
  );
}

const tokenizer = await defaultTokenizer();
if (typeof tokenizer === 'string') console.warn(tokenizer);

describe('chat templates', () => {
  (typeof tokenizer === 'string' ? it.skip : it)(
    'render the default model’s conversations as transformers does',
    () => {
      const { chatTemplate, specialTokens } = tokenizer as Tokenizer;
      expect(renders(new ChatTemplate(chatTemplate as string, { specialTokens }))).toEqual(
        golden.chat.default,
      );
    },
  );

  it.each(
    golden.chat.templates.map(({ name, source, renders }) => [name, source, renders] as const),
  )('render "%s" as transformers does', (_, source, expected) => {
    expect(renders(new ChatTemplate(source, { specialTokens }))).toEqual(expected);
  });

  it('report how they write the white space around an answer', () => {
    const turns = (content: string) => `{% for m in messages %}<${content}>{% endfor %}`;
    expect(new ChatTemplate(turns('{{ m.content | trim }}')).answerText(' a b\n')).toBe('a b');
    expect(new ChatTemplate(turns('{{ m.content }}')).answerText(' a b\n')).toBe(' a b\n');
    // Python's white space: U+001F is, U+FEFF is not.
    const strips = new ChatTemplate(turns('{{ m.content | trim }}'));
    expect(strips.answerText('\ufeffa\x1f')).toBe('\ufeffa');
    expect(new ChatTemplate(turns('{{ m.content.lstrip() }}')).answerText(' a\n')).toBe('a\n');
    expect(new ChatTemplate("{{ raise_exception('no') }}").answerText(' a\n')).toBe(' a\n');
  });

  it('use a fixed date', () => {
    expect(render("{{ strftime_now('%d %b %Y') }} {{ strftime_now is defined }}")).toBe(
      '26 Jul 2024 True',
    );
    const dated = new ChatTemplate("{{ strftime_now('%A %-d %B %j %H:%M:%S %p %y') }}", {
      date: new Date(Date.UTC(2026, 0, 2, 15, 4, 5)),
    });
    expect(dated.render(hi, { addGenerationPrompt: false })).toBe(
      'Friday 2 January 002 15:04:05 PM 26',
    );
  });

  it.each([
    [
      'says what the template refuses',
      "{{ raise_exception('System role not supported') }}",
      'refuses these messages (roles: user): System role not supported',
    ],
    [
      'puts what it says on one line',
      "{{ raise_exception('a\\nb\\x1b[2Jc') }}",
      'refuses these messages (roles: user): a b [2Jc',
    ],
    [
      'names what Python has and we have not',
      "{{ 'abc'.find('b') }}",
      'failed on messages with roles user',
    ],
    ['refuses a broken template', '{% if %}', 'cannot be used'],
    [
      'refuses a range that would fill memory',
      '{{ range(1000000000) }}',
      'range() of 1000000000 numbers',
    ],
    [
      'refuses a date directive it does not know',
      "{{ strftime_now('%Q') }}",
      'strftime_now uses %Q',
    ],
    ['refuses strip of a number', '{{ (3).strip() }}', 'not a function'],
    [
      'refuses a loop over a text',
      '{% for c in messages[0].content %}{% endfor %}',
      'a loop over a StringValue',
    ],
    [
      'refuses a text that would fill memory',
      '{% set ns = namespace(t="ab") %}{% for i in range(40) %}{% set ns.t = ns.t + ns.t ' +
        '%}{% endfor %}',
      'a text of more than',
    ],
    [
      'refuses a list that would fill memory',
      '{% set ns = namespace(t=[1, 2]) %}{% for i in range(40) %}{% set ns.t = ns.t + ns.t ' +
        '%}{% endfor %}',
      'a list of more than',
    ],
    [
      'refuses a macro that calls itself without end',
      '{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}',
      'call stack',
    ],
  ])('%s', (_, source, message) => {
    expect(() => render(source)).toThrow(
      expect.objectContaining({
        code: 'ERR_CHAT_TEMPLATE',
        message: expect.stringContaining(message),
      }),
    );
  });

  it('stop an endless template', () => {
    expect(() =>
      render('{% for a in range(999999) %}{% for b in range(999999) %}{% endfor %}{% endfor %}'),
    ).toThrow('it ran for more than 2 s');
  });

  it('do not reach JavaScript', () => {
    expect(
      render(
        '{{ messages.constructor }}{{ messages[0].__proto__ }}{{ ' +
          "raise_exception.constructor }}{{ ''.constructor }}",
      ),
    ).toBe('');
  });

  it('check the messages', () => {
    expect(() => render('x', [])).toThrow('The list of messages is empty');
    expect(() => render('x', [{ role: 'user', content: ['a'] as unknown as string }])).toThrow(
      'Message 1 of 1',
    );
  });
});
