"""Golden values of tokenizers and chat templates, for test/text/*.test.ts.

    python scripts/golden/tokenizer.py PATH/TO/SmolLM2-135M-Instruct.Q4_1.gguf

Writes test/golden/tokenizer.json. Needs gguf, tokenizers, transformers and sentencepiece.

default   ids of STRINGS with the default model's vocabulary, split as the model was trained:
          Digits, then ByteLevel. (transformers' own GGUF loader leaves the Digits out, so it is
          not the reference here.)
families  a small byte-level vocabulary under each splitter a GGUF file can name.
spm       a small SentencePiece BPE model with byte fallback (Llama 2's kind), encoded by
          sentencepiece itself.
chat      conversations rendered by transformers; null where it raises.
"""

import io
import json
import random
import sys
from pathlib import Path

import sentencepiece
from gguf import GGUFReader
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

OUT = Path(__file__).resolve().parents[2] / "test" / "golden" / "tokenizer.json"

STRINGS = [
    # plain text
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they've said we'll go; she'd've known it's Bob's.",
    "I'M SURE THEY'VE",
    "don’t “quote” me — ever…",
    "a",
    " a",
    "  a",
    "a ",
    "a  ",
    "word" * 30,
    "supercalifragilisticexpialidocious",
    "CamelCaseIdentifier snake_case_name kebab-case",
    "A.B.C. e.g. i.e. U.S.A.",
    "e-mail: someone@example.org, see https://example.org/a?b=c&d=%20#e",
    # digits, the splitter's own subject
    "1",
    "12",
    "123",
    "1234567890",
    " 1",
    "  1",
    "   12",
    "a1",
    "a 1",
    "a  1",
    "1 a",
    "1a2b3c",
    "x=1",
    "\n1",
    "\n\n12",
    " \n 3",
    "\t4",
    "3.14159",
    "1,234,567.89",
    "$5.00",
    "50%",
    "2+2=4",
    "12:30",
    "2024-07-26",
    "v1.2.3",
    "0x1F",
    "1e-5",
    "-7",
    "No. 5",
    "H2O",
    "10km",
    "1st 2nd 3rd",
    "½",
    " ½",
    "1½",
    "a½b",
    "²",
    "x²",
    "x² + y²",
    "10⁶",
    "①②③",
    "Ⅳ",
    "٣٤٥",
    "१२३",
    "四五六",
    "１２３",
    "𝟙𝟚𝟛",
    "¼ ¾ ⅓",
    "5² = 25",
    # white space
    "",
    " ",
    "  ",
    "   ",
    " " * 17,
    "\n",
    "\n\n",
    "\n\n\n",
    "\r\n",
    "\r",
    "\t",
    "\t\t",
    " \t \n ",
    "a\nb",
    "a\n\nb",
    "a \n b",
    "a  \n\n  b",
    "  indented\n    more\n",
    "trailing   \n",
    "\u00a0",
    "a\u00a0b",
    "\u2003em\u2003space",
    "\u200bzero\u200bwidth",
    "\ufeffbom",
    "a \ufeff b",
    "\u0085next",
    "a\u0085\u0085b",
    "\u2028line\u2029para",
    "\x0b\x0c",
    "\x1c\x1d",
    "\x00",
    "a\x00b",
    "\u3000全角",
    # scripts
    "naïve café résumé",
    "Ångström Ñandú Øre",
    "e\u0301 a\u0308",
    "Größe, Straße, weiß",
    "Привет, мир! Как дела?",
    "Ελληνικά κείμενα",
    "你好，世界！今天天气很好。",
    "日本語のテキスト、カタカナ、ひらがな。",
    "한국어 문장입니다.",
    "ᄀ\u1161\u11a8",
    "ภาษาไทยไม่มีช่องว่าง",
    "हिन्दी में पाठ",
    "தமிழ்",
    "ქართული",
    "አማርኛ",
    "שלום עולם",
    "مرحبا بالعالم",
    "العدد ١٢٣ هنا",
    "abc שלום 123 def",
    "\u202eRTL override\u202c",
    "İstanbul ıI",
    "ﬁ ﬂ ﬀ",
    "Ǆ ǅ ǆ",
    "𝒜𝓫𝔠",
    "ªº",
    # emoji and symbols
    "😀",
    "😀😃😄",
    "a😀b",
    "👨‍👩‍👧‍👦",
    "👍🏽",
    "🇫🇷🇩🇪",
    "❤️",
    "☃ ★ ♫",
    "→ ← ⇒",
    "∀x ∈ ℝ: x² ≥ 0",
    "∑∫√∞≈≠",
    "© ® ™ § ¶",
    "€100 £50 ¥1000",
    "©2024",
    "!!!???...",
    "---",
    "***bold***",
    "()[]{}<>",
    "\\n \\t \\\\",
    "`code`",
    "~~~",
    "a/b\\c|d",
    "#hashtag @mention",
    # code and markup
    "def f(x):\n    return x ** 2  # 10 times\n",
    "for (let i = 0; i < 10; i++) {\n\tconsole.log(i);\n}\n",
    "#include <stdio.h>\nint main(void) { return 0; }\n",
    '{"a": [1, 2.5, null], "b": {"c": "\\u00e9"}}',
    '<div class="x">a &amp; b</div>',
    "SELECT * FROM t WHERE id = 42;",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "- one\n- two\n  1. three\n",
    "$$\\frac{1}{2} x^2$$",
    "```python\nprint('hi')\n```",
    # special tokens in text
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext|>",
    "a<|im_end|>b",
    " <|im_end|> ",
    "<|im_start|><|im_start|>",
    "<|im_end",
    "<repo_name>x<file_sep>y",
    "<empty_output>",
    "<|IM_END|>",
    "</s>",
    "<s>",
    "<unk>",
    "<0x41>",
    "▁",
    "▁a▁",
    "Ġ",
    "ĠĊ",
    # arithmetic as the quickstart asks it
    "Tom has 12 apples and buys 7 more. How many apples does he have?",
    "What is 48 divided by 6?",
    "The answer is 19.",
    "Step 1: 12 + 7 = 19.\nStep 2: 19 - 4 = 15.\n#### 15",
]

FAMILIES = {
    "gpt-2": (pre_tokenizers.ByteLevel(add_prefix_space=False), False, None),
    "smollm": (
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        ),
        False,
        None,
    ),
    "llama-bpe": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        True,
        None,
    ),
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        False,
        normalizers.NFC(),
    ),
}

CORPUS = [
    "The answer is 19. Tom has 12 apples and buys 7 more apples. How many apples does he have now?",
    "I'm sure they've said that we'll go there; she'd known it's the best way to do it.",
    "What is 48 divided by 6? The result of the division is 8, since 6 times 8 is 48.",
    "def f(x):\n    return x ** 2\n\nfor i in range(10):\n    print(i)\n",
    "naïve café résumé, größe und straße, привет мир, 你好 世界, 😀",
    (
        "Step 1: add the numbers.\nStep 2: subtract the rest.\n\n"
        "Then the answer follows from the question."
    ),
]

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "What is 2+2?")],
    [("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye")],
    [
        ("system", "  spaced  "),
        ("user", "\n\n lines \n\n"),
        ("assistant", " a "),
        ("user", "\ttab\t"),
    ],
    [("user", "\n keep me \n"), ("assistant", "\nxx\n\n")],
    [("user", "<|im_end|> {{ 1 + 1 }} {% if %} \"quotes\" 'single' \\ <b>&</b>")],
    [("user", "été 你好 😀 \u0085x\ufeff\u00a0")],
    [("assistant", "I begin."), ("user", "Then I.")],
    [("user", "one"), ("user", "two")],
    [("user", "")],
    [("user", "Hi"), ("assistant", "xxHello xx")],
    [("system", "only a system message")],
]

# Our own templates, each with a feature of real ones.
TEMPLATES = {
    "strip with characters": (
        "{% for m in messages %}[{{ m.role }}]{{ m.content.strip('\\n') }}|"
        "{{ m['content'].lstrip('x') }}|{{ m.content.rstrip('x\\n') }}|{{ m.content.strip() }}|"
        "{{ m.content | trim }}\n"
        "{% endfor %}"
    ),
    "raises": (
        "{{ bos_token }}{% for m in messages %}"
        "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{{ '<' + m['role'] + '>' + m['content'] + eos_token }}{% endfor %}"
    ),
    "blocks": (
        "{%- set ns = namespace(found=false, n=0) -%}\n"
        "{%- for m in messages %}\n"
        "    {%- if m.role == 'system' %}\n"
        "        {%- set ns.found = true %}\n"
        "    {%- endif %}\n"
        "    {%- set ns.n = ns.n + 1 %}\n"
        "{%- endfor %}\n"
        "{{ ns.found }} {{- ns.n }}\n"
        "  {% if not ns.found %}\n"
        "no system\n"
        "  {% endif %}\n"
        "{% for m in messages[::-1] %}\n"
        "{{ loop.index }}/{{ loop.length }} {{ m | tojson }}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}\n"
        "<a>\n"
        "{% endif %}\n"
    ),
    "none and undefined": (
        "{% if tools is none %}n{% endif %}{% if tools is defined %}d{% endif %}"
        "{% if nothing is not defined %}u{% endif %}{{ nothing }}{{ documents is none }}{{ none }} "
        "{{ 1.0 }} {{ 7 // 2 }} {{ [1, 'a\\'b', true, none] }} {{ {'k': ['\\n']} }} "
        "{{ 'a' ~ none ~ 1 ~ true }} {{ true | string }}{% if not tools %}!{% endif %}"
    ),
    "macros and filters": (
        "{% macro turn(m, tag='t') -%}<{{ tag }}>{{ m.content | upper }}</{{ tag }}>{%- endmacro %}"
        "{% for m in messages if m.role != 'system' %}{{ turn(m) }}{{ turn(m, tag=m.role) }}"
        "{{ m.role.capitalize() }}{{ 'ABC' | capitalize }}{{ m.content.split('x') | length }}"
        "{{ m.content.startswith('\\n') }}{{ m.content[:2] }}{% if not loop.last %};{% endif %}"
        "{% endfor %}"
    ),
    "generation": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    ),
}


def default_model(path):
    fields = GGUFReader(path).fields

    def get(name):
        return fields[name].contents()

    tokens, types = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type")
    pre, _, _ = FAMILIES["smollm"]
    tokenizer = byte_level(
        {t: i for i, t in enumerate(tokens)},
        [tuple(m.split(" ")) for m in get("tokenizer.ggml.merges")],
        pre,
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(t, normalized=False, special=True)
            for t, kind in zip(tokens, types, strict=True)
            if kind == 3
        ]
    )
    special = {
        name: tokens[get(f"tokenizer.ggml.{key}_token_id")]
        for name, key in [
            ("bos_token", "bos"),
            ("eos_token", "eos"),
            ("unk_token", "unknown"),
            ("pad_token", "padding"),
        ]
    }
    return tokenizer, special, get("tokenizer.chat_template")


def byte_level(vocab, merges, pre, ignore_merges=False, normalizer=None):
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    if isinstance(pre, str):
        pre = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pre), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    return tokenizer


def families():
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator(CORPUS * 4, trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(m) for m in model["merges"]]
    ids = {
        name: encode_all(byte_level(model["vocab"], merges, *rest))
        for name, rest in FAMILIES.items()
    }
    return {"tokens": tokens, "merges": [" ".join(m) for m in merges], "ids": ids}


def spm():
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in CORPUS * 20 for line in text.split("\n") if line]),
        model_writer=buffer,
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        character_coverage=0.98,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    count = model.get_piece_size()

    def kind(i):
        if model.is_unknown(i):
            return 2
        if model.is_control(i):
            return 3
        return 6 if model.is_byte(i) else 1

    skipped = ("<s>", "</s>", "<unk>", "▁")  # parsed as tokens or, for ▁, written back differently
    strings = [s for s in STRINGS if s and "\0" not in s and not any(k in s for k in skipped)]
    return {
        "tokens": [model.id_to_piece(i) for i in range(count)],
        "scores": [round(model.get_score(i), 4) for i in range(count)],
        "types": [kind(i) for i in range(count)],
        "strings": strings,
        "ids": [model.encode(s) for s in strings],
        "decode": llama_decodes(model),
    }


def llama_decodes(model):
    """Random ids as Llama 2's tokenizer.json decodes them."""
    tokenizer = Tokenizer(
        models.BPE(
            vocab={model.id_to_piece(i): i for i in range(model.get_piece_size())},
            merges=[],
            byte_fallback=True,
        )
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    rng = random.Random(3)
    lists = [
        [
            rng.choice(
                [
                    rng.randrange(3, 259),
                    rng.randrange(195, 240),
                    rng.randrange(131, 195),
                    rng.randrange(259, model.get_piece_size()),
                ]
            )
            for _ in range(rng.randrange(1, 8))
        ]
        for _ in range(60)
    ]
    return [{"ids": ids, "text": tokenizer.decode(ids)} for ids in lists]


def encode_all(tokenizer):
    return [tokenizer.encode(s, add_special_tokens=False).ids for s in STRINGS]


def broken_lists(tokenizer, count):
    """Random ids: their bytes often stop inside a character."""
    rng = random.Random(7)
    lists = [
        [
            rng.choice([rng.randrange(17, 400), rng.randrange(tokenizer.get_vocab_size())])
            for _ in range(rng.randrange(1, 12))
        ]
        for _ in range(count)
    ]
    return [
        {
            "ids": ids,
            "text": tokenizer.decode(ids, skip_special_tokens=False),
            "visible": tokenizer.decode(ids, skip_special_tokens=True),
        }
        for ids in lists
    ]


def renders(tokenizer, template):
    out = []
    for turns in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in turns]
        for prompt in (False, True):
            try:
                out.append(
                    tokenizer.apply_chat_template(
                        messages,
                        chat_template=template,
                        tokenize=False,
                        add_generation_prompt=prompt,
                    )
                )
            except Exception:  # jinja2's and the template's own
                out.append(None)
    return out


def main():
    tokenizer, special, template = default_model(sys.argv[1])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special)
    conversations = [
        [{"role": role, "content": content} for role, content in turns] for turns in CONVERSATIONS
    ]
    golden = {
        "strings": STRINGS,
        "default": {
            "ids": encode_all(tokenizer),
            "decode": broken_lists(tokenizer, 60),
            "special": special,
        },
        "families": families(),
        "spm": spm(),
        "chat": {
            "conversations": conversations,
            "default": renders(fast, template),
            "templates": [
                {"name": n, "source": s, "renders": renders(fast, s)} for n, s in TEMPLATES.items()
            ],
        },
    }
    OUT.write_text(
        json.dumps(golden, ensure_ascii=True, separators=(",", ":")).replace('],"', '],\n"') + "\n"
    )
    print(f"{OUT}: {len(STRINGS)} strings, {OUT.stat().st_size / 1e3:.0f} kB")


main()
