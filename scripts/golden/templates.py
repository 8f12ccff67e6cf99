"""Golden values of chat templates, for test/text/templates.test.ts.

    python scripts/golden/templates.py                  # our templates → test/golden/templates.json
    python scripts/golden/templates.py FOLDER OUT.json  # *.jinja of FOLDER → OUT.json, not kept

Needs transformers, whose apply_chat_template is the reference. Our templates are written for this
file, one in the manner of each family and some for single features. The second form compares with
templates that are not ours to keep, such as those TRL ships: then run jest with
CREAM_CHAT_TEMPLATES=OUT.json.

renders   for every conversation, without and with the generation prompt: a text, or
          {"refused": what raise_exception said}, or null where jinja2 failed otherwise.
"""

import datetime
import json
import sys
from pathlib import Path

import jinja2
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

OUT = Path(__file__).resolve().parents[2] / "test" / "golden" / "templates.json"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class Then(datetime.datetime):
    """strftime_now() says what the engine's default says."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "What is 2+2?")],
    [("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye")],
    [("system", "S"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")],
    [
        ("user", "1"),
        ("assistant", "2"),
        ("user", "3"),
        ("assistant", "4"),
        ("user", "5"),
        ("assistant", "6"),
    ],
    [
        ("system", "  spaced\n"),
        ("user", "\n\n lines \n\n"),
        ("assistant", " a "),
        ("user", "\ttab\t"),
    ],
    [("user", "\n keep me \n"), ("assistant", "\nxx\n\n")],
    [
        ("user", "\u00a0\u2003 wide \u3000"),
        ("assistant", "\ufeffbom\ufeff"),
        ("user", "\x1c\x85controls\x1f"),
    ],
    [("user", "<|im_end|> {{ 1 + 1 }} {% if %} \"double\" 'single' \\ <b>&amp;</b> </s>")],
    [("user", "été 你好 😀 e\u0301 👨‍👩‍👧 العربية")],
    [
        ("user", "Think"),
        ("assistant", "<think>\nfirst this\n</think>\n\nthen that"),
        ("user", "More"),
        ("assistant", "<think></think>\n\n\nno thought"),
    ],
    [("user", "Think"), ("assistant", "<think>\nonly last\n</think>\n\nanswer")],
    [("user", "<tool_response>x</tool_response>"), ("assistant", "ok </think> stray")],
    [("assistant", "I begin."), ("user", "Then I.")],
    [("user", "one"), ("user", "two")],
    [("user", "one"), ("assistant", "a"), ("assistant", "b")],
    [("system", "a"), ("system", "b"), ("user", "c")],
    [("user", "c"), ("system", "late"), ("user", "d")],
    [("system", "only a system message")],
    [("user", "")],
    [("system", ""), ("user", ""), ("assistant", "")],
    [("user", "a"), ("assistant", "")],
    [("user", "a\r\nb\rc\n"), ("assistant", "line\n  indented\n\n\nend")],
    [("tool", "42"), ("user", "q")],
    [("user", "q"), ("assistant", "calls"), ("tool", "42"), ("tool", "43"), ("assistant", "done")],
    [("critic", "an unknown role"), ("user", "x")],
    [("user", "x" * 500)],
]

ROLE_LOOP = "{% for message in messages %}"
TEMPLATES = {
    # in the style of model families
    "llama2": (
        "{%- if messages[0]['role'] == 'system' %}"
        "{% set sys = '<<SYS>>\\n' ~ messages[0]['content'] ~ '\\n<</SYS>>\\n\\n' %}"
        "{% set turns = messages[1:] %}{% else %}{% set sys = '' %}{% set turns = messages %}"
        "{% endif %}{% for m in turns %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles have to take turns, beginning with user.') }}{% endif %}"
        "{% if m.role == 'user' %}"
        "{{ bos_token + '[INST] ' + (sys if loop.first else '') + m.content.strip() + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "llama3": (
        "{{- bos_token }}\n"
        "{%- if not date_string is defined %}\n"
        "    {%- if strftime_now is defined %}\n"
        "        {%- set date_string = strftime_now('%d %b %Y') %}\n"
        "    {%- else %}\n"
        "        {%- set date_string = 'never' %}\n"
        "    {%- endif %}\n"
        "{%- endif %}\n"
        "{%- if messages[0].role == 'system' %}\n"
        "    {%- set system = messages[0].content | trim %}\n"
        "    {%- set messages = messages[1:] %}\n"
        "{%- else %}\n"
        "    {%- set system = '' %}\n"
        "{%- endif %}\n"
        "{{- '<|sys|>\\n\\nToday: ' + date_string + '\\n\\n' + system + '<|eot_id|>' }}\n"
        "{%- for m in messages %}\n"
        "    {{- '<|' + m.role + '|>\\n\\n' + m.content | trim + '<|eot_id|>' }}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n"
        "    {{- '<|assistant|>\\n\\n' }}\n"
        "{%- endif %}\n"
    ),
    "mistral": (
        "{%- if messages and messages[0]['role'] == 'system' -%}\n"
        "{%- set system_message = messages[0]['content'] -%}\n"
        "{%- set loop_messages = messages[1:] -%}\n"
        "{%- else -%}\n"
        "{%- set loop_messages = messages -%}\n"
        "{%- endif -%}\n"
        "{%- set ns = namespace(index=0) -%}\n"
        "{%- for message in loop_messages if message.role in ['user', 'assistant'] -%}\n"
        "{%- if (message['role'] == 'user') != (ns.index % 2 == 0) -%}"
        "{{ raise_exception('After the optional system message, roles must take turns') }}"
        "{%- endif -%}\n"
        "{%- set ns.index = ns.index + 1 -%}\n"
        "{%- endfor -%}\n"
        "{{ bos_token }}\n"
        "{%- for message in loop_messages %}\n"
        "{%- if message['role'] == 'user' %}\n"
        "{%- if loop.last and system_message is defined %}\n"
        "{{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}\n"
        "{%- else %}\n"
        "{{- '[INST] ' + message['content'] + '[/INST]' }}\n"
        "{%- endif %}\n"
        "{%- elif message['role'] == 'assistant' %}\n"
        "{{- ' ' + message['content'] | trim + eos_token }}\n"
        "{%- else %}\n"
        "{{- raise_exception('Only user and assistant, not ' ~ message['role']) }}\n"
        "{%- endif %}\n"
        "{%- endfor %}\n"
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('There is no system role') }}{% endif %}{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate') }}{% endif %}"
        "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "phi3": (
        "{% for m in messages %}{% if m['role'] == 'system' and m['content'] %}"
        "{{ '<|system|>\n' + m['content'] + '<|end|>\n' }}"
        "{% elif m['role'] in ('user', 'assistant') %}"
        "{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
    "qwen": (
        "{%- if tools %}\n"
        "    {{- 'tools' }}\n"
        "{%- else %}\n"
        "    {%- if messages[0].role == 'system' %}\n"
        "        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n"
        "    {%- endif %}\n"
        "{%- endif %}\n"
        "{%- set ns = namespace(last=messages|length - 1, searching=true) %}\n"
        "{%- for m in messages[::-1] %}\n"
        "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
        "    {%- if ns.searching and m.role == 'user' and m.content is string and not "
        "(m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}\n"
        "        {%- set ns.searching = false %}\n"
        "        {%- set ns.last = index %}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{%- for m in messages %}\n"
        "    {%- set content = m.content %}\n"
        "    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}\n"
        "        {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n"
        "    {%- elif m.role == 'assistant' %}\n"
        "        {%- set thought = '' %}\n"
        "        {%- if m.reasoning_content is defined and m.reasoning_content is not none %}\n"
        "            {%- set thought = m.reasoning_content %}\n"
        "        {%- elif '</think>' in content %}\n"
        "            {%- set thought = "
        "content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
        "            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n"
        "        {%- endif %}\n"
        "        {%- if loop.index0 > ns.last and (loop.last or thought) %}\n"
        "            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + "
        "'\\n</think>\\n\\n' + content.lstrip('\\n') }}\n"
        "        {%- else %}\n"
        "            {{- '<|im_start|>assistant\\n' + content }}\n"
        "        {%- endif %}\n"
        "        {%- for call in m.tool_calls or [] %}{{- call | tojson }}{%- endfor %}\n"
        "        {{- '<|im_end|>\\n' }}\n"
        "    {%- elif m.role == 'tool' %}\n"
        "        {%- if loop.first or (messages[loop.index0 - 1].role != 'tool') %}"
        "{{- '<|im_start|>user' }}{%- endif %}\n"
        "        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}\n"
        "        {%- if loop.last or (messages[loop.index0 + 1].role != 'tool') %}"
        "{{- '<|im_end|>\\n' }}{%- endif %}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n"
        "    {{- '<|im_start|>assistant\\n' }}\n"
        "    {%- if enable_thinking is defined and enable_thinking is false %}"
        "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}\n"
        "{%- endif %}"
    ),
    "smollm3": (
        "{# a comment #}\n"
        "{%- set thinking = enable_thinking | default(true) -%}\n"
        "{%- if messages[0].role == 'system' -%}\n"
        "  {%- set system = messages[0].content -%}\n"
        "  {%- if '/no_think' in system -%}{%- set thinking = false -%}{%- endif -%}\n"
        "  {%- set custom = system.replace('/no_think', '').replace('/think', '').rstrip() -%}\n"
        "{%- endif -%}\n"
        "{{- '<|im_start|>system\\n## Metadata\\nToday Date: ' ~ strftime_now('%d %B %Y') ~ "
        "'\\nMode: ' ~ ('think' if thinking else 'no_think') ~ '\\n' -}}\n"
        "{%- if custom -%}{{- custom + '\\n' -}}{%- endif -%}\n"
        "{{- '<|im_end|>\\n' -}}\n"
        "{%- for message in messages -%}\n"
        "  {%- set content = message.content if message.content is string else '' -%}\n"
        "  {%- if message.role == 'user' -%}"
        "{{ '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}\n"
        "  {%- elif message.role == 'assistant' -%}{% generation %}"
        "{{ '<|im_start|>assistant\\n' + content.lstrip('\\n') + '<|im_end|>\\n' }}"
        "{% endgeneration %}\n"
        "  {%- endif -%}\n"
        "{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}\n"
    ),
    # single features
    "macros": (
        "{%- macro turn(message, tag='t', end=eos_token) -%}\n"
        "  <{{ tag }}:{{ message.role }}>{{ message.content | upper }}</{{ tag }}>{{ end }}\n"
        "{%- endmacro -%}\n"
        "{%- macro count(n) -%}{%- if n > 0 -%}{{ n }},{{ count(n - 1) }}{%- endif -%}"
        "{%- endmacro -%}\n"
        "{% for m in messages %}{{ turn(m) }}{{ turn(m, tag=m.role, end='') }}{% endfor %}"
        "{{ count(5) }}"
    ),
    "loop controls": (
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{% if loop.index > 3 %}{% break %}{% endif %}{{ loop.index }}/{{ loop.index0 }}/"
        "{{ loop.length }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}"
        "{{ loop.previtem.role if loop.previtem is defined }}"
        "{{ loop.nextitem.role if loop.nextitem is defined }} {{ m.content }};{% else %}nothing"
        "{% endfor %}"
    ),
    "json": (
        "{% for m in messages %}{{ m | tojson }}{{ m | tojson(indent=2) }}{{ m.content | tojson }}"
        "{% endfor %}{{ messages | map(attribute='role') | list | tojson }}"
        "{{ {'b': [1, 2.5, true, none], 'a': {}} | tojson }}"
    ),
    "slices": (
        "{{ messages[1:] | length }}{{ messages[:-1] | length }}"
        "{{ messages[::-1] | map(attribute='role') | join(',') }}{{ messages[0].content[:3] }}|"
        "{{ messages[0].content[-2:] }}|{{ messages[0].content[1:4] }}|{{ messages[-1].content }}|"
        "{{ messages[0]['content'][::2] }}"
    ),
    "tests": (
        "{% for m in messages %}{{ m.content is string }}{{ m.content is defined }}"
        "{{ m.name is defined }}{{ m.name is none }}{{ m is mapping }}{{ m.content is iterable }}"
        "{{ m.role == 'user' and not loop.first }}{{ m.role in ['user', 'tool'] }}"
        "{{ 'a' in m.content }}{{ 'content' in m }}{{ m.content is not none }};{% endfor %}"
        "{{ tools is none }}{{ documents is none }}{{ nothing is undefined }}{{ loop is defined }}"
        "{{ 3 is odd }}{{ 4 is even }}{{ 1 is number }}{{ true is boolean }}"
    ),
    "methods": (
        "{% for m in messages %}{% set c = m.content %}{{ c.strip() }}|{{ c.lstrip('x\\n') }}|"
        "{{ c.rstrip() }}|{{ c.split('\\n') | length }}|{{ c.split() | join('_') }}|"
        "{{ c.startswith('H') }}|{{ c.endswith(' ') }}|{{ c.replace('a', 'b') }}|{{ c.title() }}|"
        "{{ m.role.capitalize() }}|{{ m.role.upper() }}|{{ c.lower() }}|{{ m.get('name', 'none') }}"
        "|{{ m.get('content') | length }};{% endfor %}"
    ),
    "filters": (
        "{% for m in messages %}{{ m.content | trim }}|{{ m.content | length }}|"
        "{{ m.content | upper }}|{{ m.content | lower }}|{{ m.role | capitalize }}|"
        "{{ m.role | title }}|{{ m.name | default('nobody') }}|{{ '' | default('empty', true) }}|"
        "{{ m.content | replace('a', 'A') }}|{{ m.content | first | default('') }};{% endfor %}"
        "{{ [3, 1, 2] | sort | join('<') }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='content') | "
        "join('/') }}{{ [1, 2, 3] | last }}{{ ['a', 'b'] | first }}{{ 3.7 | int }}"
        "{{ '5' | int + 1 }}{{ -3 | abs }}{{ [1, 2, 2] | unique | list }}"
        "{{ messages | map(attribute='role') | unique | join }}"
    ),
    "items": (
        "{% for m in messages %}{% for key, value in m.items() %}{{ key }}={{ value | length }},"
        "{% endfor %}{% for key, value in m | items %}{{ key }};{% endfor %}"
        "{% for pair in m | dictsort %}{{ pair[0] }}{% endfor %}{% endfor %}"
        "{% set d = {'x': 1, 'y': [2, 3]} %}{{ d.x + d['y'][1] }}{{ d.keys() | list }}{{ d }}"
    ),
    "arithmetic": (
        "{{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 1.0 }} {{ 0.1 + 0.2 }} "
        "{{ 10 - 3 * 2 }} {{ (10 - 3) * 2 }} {{ 'a' * 3 }} {{ [1] + [2] }} {{ 1 < 2 }} "
        "{{ 3 ~ 'x' ~ none ~ true }} {{ not 0 }} {{ '' or 'else' }} {{ 1 and 2 }} {{ (1, 2) }} "
        "{{ messages | length > 1 }}"
    ),
    "printing": (
        "{{ none }}{{ true }}{{ nothing }}{{ [1, 'a\\'b', \"c\\\"d\", true, none, 1.5] }}"
        "{{ {'k': ['\\n', '\\t']} }}{{ messages[0] }}{{ [] }}{{ {} }}{{ '\\u00e9\\\\' }}"
        "{{ ['é', '😀', '\\x07'] }}"
    ),
    "white space": (
        "  {% if true %}\n"
        "  a\n"
        "  {% endif %}\n"
        "{%- if true -%}  \n"
        " b \n"
        " {%- endif %}\n\n"
        "   {# gone #}\n"
        "{{ 'x' }}\n"
        "{{- ' y ' -}}\n"
        " z\n"
        "{% for m in messages %}\n"
        "  {{ m.role }}\n"
        "{% endfor %}\n"
        "{% set block %}\n"
        "  inside {{ messages | length }}\n"
        "{% endset %}\n"
        "[{{ block }}]\n"
        "end\n"
    ),
    "scopes": (
        "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}"
        "{% if true %}{% set x = 3 %}{% endif %}{{ x }}{% set ns = namespace(n=0, text='') %}"
        "{% for m in messages %}{% set ns.n = ns.n + loop.index %}"
        "{% set ns.text = ns.text + m.role[0] %}{% endfor %}{{ ns.n }}{{ ns.text }}"
        "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% for i in range(3) %}{% for j in range(1, 4, 2) %}"
        "{{ i }}{{ j }}{{ loop.index }} {% endfor %}{% endfor %}"
    ),
    "filter block": (
        "{% filter upper %}{% for m in messages %}{{ m.role }} {% endfor %}{% endfilter %}"
        "{% set up %}{{ messages[0].content | trim }}{% endset %}{{ up | upper }}"
    ),
    "call block": (
        "{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}"
        "{% for m in messages %}{% call wrap(m.role) %}{{ m.content | trim }}{% endcall %}"
        "{% endfor %}"
    ),
    "refuses by role": (
        "{% for m in messages %}{% if m.role not in ['user', 'assistant', 'system'] %}"
        "{{ raise_exception('Unknown role: ' + m.role) }}{% endif %}{{ m.content }}{% endfor %}"
    ),
    "equality": (
        "{{ '' == false }}{{ 0 == false }}{{ 1 == true }}{{ '1' == 1 }}{{ none == nothing }}"
        "{{ [] == [] }}{{ [1, 'a'] == [1, 'a'] }}{{ {'a': 1} == {'a': 1} }}{{ 1 == 1.0 }}"
        "{{ none == none }}{{ '' != none }}{{ 1 in [true] }}{{ none in [none] }}"
        "{{ 'x' in ['x', 1] }}{{ '1' in [1] }}{{ 'a' not in [] }}{{ nothing == nothing }}"
    ),
    "loop scopes": (
        "{% for m in messages %}{% if loop.first %}{% set seen = m.role %}{% endif %}[{{ seen }}"
        "]before{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.role }}"
        "{% if loop.index == 3 %}{{ 'last words' }}{% break %}{% endif %}{% else %}none{% endfor %}"
        "{% for m in messages %}{% continue %}{% else %}else{% endfor %}{% for x in [] %}{% else %}"
        "empty{% endfor %}{% for x in nothing %}{% endfor %}{% macro f() %}{{ m is defined }}"
        "{{ loop is defined }}{% endmacro %}{% for m in messages %}{{ f() }}{% endfor %}"
    ),
    "code points": (
        "{% for m in messages %}{{ m.content | length }}:{{ m.content[0] }}:{{ m.content[-1] }}:"
        "{{ m.content | last | default('') }}:{{ m.content.split() | length }}:"
        "{{ m.content.split(none, 1) | join('+') }}:{{ m.content.split('\n', 1) | length }}:"
        "{{ m.content | title }};{% endfor %}{{ [1, none, true, 1.0, 'x'] | join('-') }}"
        "{{ 5 | trim }}{{ 'HELLO wOrLD x2y-z' | title }}"
    ),
    "dates": (
        "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%A %B %-d %j %H:%M:%S %y %m %p %I %%') }}"
    ),
}


def render(tokenizer, source, messages, prompt):
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=source, tokenize=False, add_generation_prompt=prompt
        )
    except jinja2.exceptions.TemplateError as error:
        # raise_exception raises exactly TemplateError, jinja2 itself its subclasses
        return {"refused": str(error)} if type(error) is jinja2.exceptions.TemplateError else None
    except Exception:
        return None


def main():
    chat_template_utils.datetime = Then
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **SPECIAL)
    conversations = [
        [{"role": role, "content": content} for role, content in turns] for turns in CONVERSATIONS
    ]
    ours = len(sys.argv) < 3
    templates = (
        TEMPLATES
        if ours
        else {path.stem: path.read_text() for path in sorted(Path(sys.argv[1]).glob("*.jinja"))}
    )
    rendered = [
        {
            "name": name,
            "source": source,
            "renders": [
                render(tokenizer, source, c, p) for c in conversations for p in (False, True)
            ],
        }
        for name, source in templates.items()
    ]
    out = OUT if ours else Path(sys.argv[2])
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rendered)
    out.write_text(
        f'{{"special":{json.dumps(SPECIAL)},\n'
        f'"conversations":{json.dumps(conversations)},\n'
        f'"templates":[\n{rows}\n]}}\n'
    )
    counts = [
        sum(isinstance(r, kind) for row in rendered for r in row["renders"])
        for kind in (str, dict, type(None))
    ]
    print(
        f"{out}: {len(rendered)} templates, {len(conversations)} conversations, "
        f"{counts[0]} texts, {counts[1]} refusals, {counts[2]} failures, "
        f"{out.stat().st_size / 1e3:.0f} kB"
    )
    for row in rendered:
        if all(r is None for r in row["renders"]):
            print("  never rendered:", row["name"])


main()
