"""Golden tokenizers of every model family, for test/text/families.test.ts.

    python scripts/golden/tokenizer_families.py

Writes test/golden/tokenizers/. Needs tokenizers (the Rust library, which is the reference).

Real tokenizer.json files are megabytes under their models' licences. Each family here is a
vocabulary of about a thousand tokens trained on this repository's own pages, put into exactly the
family's frame: normalizer, pre-tokenizer, decoder, post-processor, flags of the model, flags of the
added tokens. Two further ones ("flags", "splits") are no model's: they carry what the families
leave out.

strings.json            the texts, awkward ones by hand and seeded random ones
<family>/tokenizer.json, tokenizer_config.json
<family>/expected.json  ids: a line a text; special: the same with special tokens added, for the
                        first texts; decode: [ids, text, text without special tokens] of random id
                        lists; own: [text, ids] of texts with the family's own special tokens
"""

import json
import random
import re
import unicodedata
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "test" / "golden" / "tokenizers"

# --- the texts ------------------------------------------------------------------------------------

AWKWARD = [
    # every kind of space, alone and before and behind words and digits
    *[
        pattern.replace("_", space)
        for space in (
            "\t \n \r \x0b \x0c \x85 \xa0 \u1680 \u2003 \u200a \u2028 \u2029 \u202f \u205f "
            "\u3000 \u200b \ufeff \u180e"
        ).split(" ")
        if space
        for pattern in ("_", "a_b", "__ x", "7_7_")
    ],
    "\x1c\x1d\x1e\x1f",
    "a\x1cb",
    "\x00",
    "a\x00b",
    "\x7f",
    "!\x1d!",
    "\r\n\r\n",
    " \r\n x",
    "\n \n  \n",
    "x \t\n",
    "  \u3000  a",
    "tab\tsep\tvalues\n",
    "   \n   \n",
    "a  ",
    " a  b   c    d     e      f",
    # apostrophes: case folding in (?i:…) knows the long s
    "it's IT'S It'S 'ſ x'ſ we'll WE'LL they've THEY'VE I'm I'M he'd HE'D you're YOU'RE don't DON'T",
    "'s's'S",
    "'",
    "''",
    "’s don’t",
    "o'clock rock'n'roll 'tis",
    " 's",
    "x's'd",
    "L'été d'Aÿ",
    "HelloWorld's NASA's iPhone's",
    # upper and lower case, titlecase, modifiers, marks (o200k and Tekken split on them)
    "HelloWorld helloWORLD HELLOworld",
    "camelCaseHTTPServer XMLHttpRequest",
    "ǅungla ǈubav ÄÖÜäöü ÀÉ",
    "ʰʲʷ ªº ˢ",
    "a\u0301b\u0308c\u0327",
    "\u0301alone",
    "e\u0301\u0301\u0301",
    "नमस्ते",
    "ᏣᎳᎩ ꮳꮃꭹ",
    "ⅠⅡⅢ ⅰⅱⅲ ⓐⒶ",
    "𝐀𝐛𝐂 𝒟𝓮𝔣",
    "𐐀𐐨𐐁𐐩",
    "İıſK\u212aÅ\u212b",
    "ﬁﬂﬃ ŉ ǰ ΐ",
    "ЁжикЕЖИК ёЖ",
    "ΣΊΣΥΦΟΣ σίσυφος",
    # normalisation forms
    "Å Å A\u030a",
    "가 가 ᄀ\u1161",
    "ệ e\u0323\u0302 e\u0302\u0323",
    "q\u0307\u0323 q\u0323\u0307",
    "\u2126 \u00bd \ufb01",
    "豈 更",
    "\u0958 \u0915\u093c",
    "\u0344 \u0308\u0301",
    # digits of all scripts, runs of them
    "1",
    "12",
    "123",
    "1234",
    "12345",
    "123456789012",
    " 1",
    "  12",
    "a1b22c333",
    "3.14159",
    "1,234,567.89",
    "-7",
    "$5.00",
    "50%",
    "٣٤٥٦",
    "१२३४",
    "１２３４",
    "½¼¾",
    "x²y³",
    "①②③",
    "Ⅳ1",
    "𝟙𝟚",
    "〇一二三",
    "꧑꧒",
    "1\u06602",
    "4️⃣",
    "1st 2nd 3rd",
    "v1.2.3-rc4",
    "0x1F 1e-5 0b11",
    "12:30:45",
    "2024-07-26T12:00:00Z",
    "₁₂₃ ⁴⁵",
    # punctuation, symbols, slashes (o200k keeps them with what precedes)
    "!!!",
    "?!",
    "...",
    "…",
    "---",
    "a/b/c",
    "//comment\n",
    "/* c */\n/",
    "https://example.org/a?b=c&d=%20#e",
    "C:\\dir\\file",
    "()[]{}<>",
    "«»“”‘’„",
    "·•—–‐",
    "¡¿",
    "a,b;c:d",
    "_under_score_",
    "__init__",
    "@user #tag $x ^y ~z `w`",
    "+-*/=",
    "∑∫√∞≈≠",
    "←→⇒",
    "€£¥₿",
    "©®™",
    "\n/\n",
    "!\n\n",
    ".\n/",
    " .\r\n",
    "|a|b|\n|-|-|",
    # emoji
    "😀",
    "😀😃",
    "a😀b",
    "👨‍👩‍👧‍👦",
    "👍🏽",
    "🇫🇷🇩🇪",
    "❤️",
    "🏴\U000e0067\U000e0062\U000e007f",
    "🫠🫡",
    "☃★♫",
    "\U0001f9d1\u200d\U0001f4bb codes",
    # scripts
    "Größe Straße naïve café",
    "Привет, мир!",
    "Ελληνικά",
    "你好，世界！天气很好。",
    "日本語テキスト、カタカナ、ひらがな。",
    "한국어 문장입니다.",
    "ภาษาไทย",
    "हिन्दी में",
    "தமிழ்",
    "ქართული",
    "አማርኛ",
    "שלום עולם",
    "مرحبا بالعالم",
    "\u202eRTL\u202c",
    "Tiếng Việt",
    "𠀀𠀁 㐀",
    "ꙮ",
    "\ue000\uf8ff",
    "\U000f0000",
    "\ufffd",
    "\ufdd0",
    "\U0010fffd",
    # the vocabulary's own spellings, as text
    "▁",
    "▁a",
    "a▁b",
    "▁▁ ▁",
    " ▁ ",
    "Ġ",
    "Ġa ĊĊ",
    "<0x41>",
    "<0x0A><0x0a>",
    "<unk>",
    "</w>",
    "##a",
    "Ã©",
    # names of special tokens, whole, cut, doubled, with spaces of all kinds around
    "<s>",
    "</s>",
    "<s>a</s>",
    "a<s>b",
    " <s> ",
    "<s><s>",
    "<s",
    "s>",
    "< s>",
    "x</s>\n\ny",
    "</s>  \u3000z",
    "</s>\x1cz",
    "<bos>hi<eos>",
    "<pad><mask>",
    "<start_of_turn>user\nHi <end_of_turn>\n<start_of_turn>model\n",
    (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ),
    "<|endoftext|>",
    "a <|endoftext|> b",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|eot_id",
    "|eot_id|>",
    "<|EOT_ID|>",
    "<|eom_id|><|eot_id|>",
    "[INST] Hi [/INST] Hello</s>",
    "[INST]Hi[/INST]",
    "[ INST ]",
    "<|user|>\nHi<|end|>\n<|assistant|>\n",
    "<|user|> \t\n Hi <|end|>   <|assistant|>x",
    "<|end|><|end|>",
    "<|end|>\u2003\u0085\n<|end|> ",
    "<think>\nhm\n</think>\n\nok",
    "a<think>b",
    "<tool_call>{}</tool_call>",
    "\n\n",
    "\n\n\n",
    "a\n\nb\n\n\n\nc",
    "  ",
    "    ",
    "\t\t",
    "a\t\t\tb",
    "<table><tr><td>x</td></tr></table>",
    "<h1>T</h1><br>",
    # for "flags"
    "WORD",
    "WORDs",
    "sWORD",
    "a WORD b",
    "WORD.WORD",
    "(WORD)",
    "WORD_",
    "1WORD",
    "éWORD",
    "WORD\u0301",
    "WORD\u200d",
    "  LEFT  ",
    "a \n LEFT b",
    "LEFTLEFT",
    "  RIGHT  ",
    "a RIGHT \n\t b",
    "RIGHT LEFT",
    "RIGHT  LEFT  RIGHT",
    "a  BOTH  b",
    "BOTH BOTH",
    " BOTH ",
    "Café",
    "CAFÉ",
    "Cafe\u0301",
    "acafébcafé",
    "café café",
    "LEFT\ufeffLEFT",
    "\ufeffLEFT",
    "\x85LEFT",
    "\x1cLEFT",
    "RIGHT\ufeff",
    "RIGHT\x85x",
    "abc abcd abcde ab",
    "abcdabc",
    "SPACE D",
    "SPACE  D",
    # code, markup, long runs
    "def f(x):\n    return x ** 2  # 10 times\n",
    "for (let i = 0; i < 10; i++) {\n\tconsole.log(i);\n}\n",
    '{"a": [1, 2.5, null], "b": "\\u00e9"}',
    "SELECT * FROM t WHERE id = 42;",
    "$$\\frac{1}{2} x^2$$",
    "```python\nprint('hi')\n```",
    "a" * 200,
    " " * 100,
    "\n" * 60,
    "ab" * 150,
    "12" * 60,
    "é" * 80,
    "😀" * 30,
    "the " * 60,
    "=" * 80,
    "The quick brown fox jumps over the lazy dog.",
    "Tom has 12 apples and buys 7 more. How many apples does he have?",
    "",
    "a",
    "Z",
    " ",
    "é",
    "中",
    "\U0001f600",
]


def assigned(code):
    """Assigned by Unicode 12 already: newer ones split by the age of each library's tables."""
    character = chr(code)
    return (
        unicodedata.category(character) not in ("Cn", "Cs")
        and unicodedata.ucd_3_2_0.category(character) != "Cn"
    )


def random_strings(count, seed=11):
    rng = random.Random(seed)
    blocks = [(0x20, 0x7F)] * 6 + [
        (0xA0, 0x250),
        (0x250, 0x370),
        (0x370, 0x530),
        (0x590, 0x700),
        (0x900, 0xE80),
        (0x1100, 0x1200),
        (0x1E00, 0x2000),
        (0x2000, 0x2070),
        (0x2070, 0x2C00),
        (0x3000, 0x3100),
        (0x4E00, 0x9FA0),
        (0xAC00, 0xD7A0),
        (0xF900, 0xFB50),
        (0xFE00, 0x10000),
        (0x10300, 0x10450),
        (0x1D400, 0x1D800),
        (0x20000, 0x2A000),
    ]
    alphabets = [[c for c in range(a, b) if assigned(c)] for a, b in blocks]
    words = (
        "the of and model's THEY'LL 2024 3.5 … \n \n\n \t    \r\n ' \" ( ) / "
        "<s> </s> <|end|> <bos> ▁ é e\u0301 ß 😀 中文 العربية हिन्दी"
    ).split(" ") + [" ", "  ", "   "]
    strings = []
    for _ in range(count):
        pieces = []
        for _ in range(rng.randrange(1, 14)):
            if rng.random() < 0.55:
                pieces.append(rng.choice(words) + rng.choice(["", "", " "]))
            else:
                alphabet = rng.choice(alphabets)
                pieces.append(
                    "".join(chr(rng.choice(alphabet)) for _ in range(rng.randrange(1, 6)))
                )
        strings.append("".join(pieces))
    return strings


# --- frames ---------------------------------------------------------------------------------------


def added(content, special=True, normalized=False, lstrip=False, rstrip=False, single_word=False):
    return {
        "content": content,
        "special": special,
        "normalized": normalized,
        "lstrip": lstrip,
        "rstrip": rstrip,
        "single_word": single_word,
    }


def split(pattern, behavior="Isolated", invert=False):
    return {
        "type": "Split",
        "pattern": {"Regex": pattern} if not pattern == " " else {"String": " "},
        "behavior": behavior,
        "invert": invert,
    }


def sequence(kind, *steps):
    return {
        "type": "Sequence",
        {
            "pre_tokenizer": "pretokenizers",
            "normalizer": "normalizers",
            "decoder": "decoders",
            "post_processor": "processors",
        }[kind]: list(steps),
    }


def byte_level(add_prefix_space=False, use_regex=False):
    return {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def template(bos=None, eos=None):
    def around(i):
        return [
            *([{"SpecialToken": {"id": bos, "type_id": i}}] if bos else []),
            {"Sequence": {"id": "AB"[i], "type_id": i}},
            *([{"SpecialToken": {"id": eos, "type_id": i}}] if eos else []),
        ]

    return {
        "type": "TemplateProcessing",
        "single": around(0),
        "pair": around(0) + around(1),
        "special": [t for t in (bos, eos) if t],
    }


def metaspace(scheme, cut=False):
    return {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": scheme,
        "split": cut,
    }


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}
UNDO = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cases(suffix, digits):
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{suffix}"
        rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{suffix}"
        rf"|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


O200K, TEKKEN = cases("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}"), cases("", "")
SPM_SPECIAL = [added("<unk>"), added("<s>"), added("</s>")]

# kind: "bytes" has 256 byte characters, "pieces" has <0x00> … <0xFF> and whole characters.
FAMILIES = {
    "llama2": dict(
        kind="pieces",
        first=SPM_SPECIAL,
        normalizer=sequence("normalizer", PREPEND, REPLACE),
        decoder=sequence("decoder", *UNDO, STRIP),
        post=template("<s>"),
        config=dict(
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            add_bos_token=True,
            add_eos_token=False,
        ),
    ),
    "mistral": dict(
        kind="pieces",
        first=SPM_SPECIAL + [added("[INST]"), added("[/INST]")],
        pre=metaspace("first"),
        decoder=sequence("decoder", *UNDO, STRIP),
        post=template("<s>"),
        config=dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
    ),
    "phi3": dict(
        kind="pieces",
        first=[added("<unk>"), added("<s>"), added("</s>", special=False, rstrip=True)],
        last=[
            added("<|endoftext|>"),
            *[
                added(t, rstrip=True)
                for t in ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
            ],
        ],
        normalizer=sequence("normalizer", PREPEND, REPLACE),
        decoder=sequence("decoder", *UNDO, STRIP),
        post=template(),
        config=dict(
            bos_token="<s>",
            eos_token="<|endoftext|>",
            unk_token="<unk>",
            pad_token="<|endoftext|>",
            add_bos_token=False,
            add_eos_token=False,
        ),
    ),
    "gemma": dict(
        kind="pieces",
        first=[
            added("<pad>"),
            added("<eos>"),
            added("<bos>"),
            added("<unk>"),
            added("<mask>", special=False),
        ],
        inside=["\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁", "\t\t", "<table>", "<tr>", "</td>", "<h1>"],
        last=[added("<start_of_turn>"), added("<end_of_turn>")],
        normalizer=REPLACE,
        pre=split(" ", "MergedWithPrevious"),
        decoder=sequence("decoder", *UNDO),
        post=template("<bos>"),
        digits=True,
        config=dict(
            bos_token="<bos>",
            eos_token="<eos>",
            unk_token="<unk>",
            pad_token="<pad>",
            add_bos_token=True,
        ),
    ),
    "llama3": dict(
        kind="bytes",
        last=[
            added(f"<|{t}|>")
            for t in (
                "begin_of_text",
                "end_of_text",
                "start_header_id",
                "end_header_id",
                "eom_id",
                "eot_id",
                "python_tag",
            )
        ],
        pre=sequence("pre_tokenizer", split(CL100K % "{1,3}"), byte_level()),
        post=sequence(
            "post_processor",
            {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": False,
                "use_regex": True,
            },
            template("<|begin_of_text|>"),
        ),
        ignore_merges=True,
        config=dict(
            bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", clean_up_tokenization_spaces=True
        ),
    ),
    "smollm2": dict(
        kind="bytes",
        first=[
            added(t)
            for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>")
        ],
        pre=sequence(
            "pre_tokenizer",
            {"type": "Digits", "individual_digits": True},
            byte_level(use_regex=True),
        ),
        missing="\x1d",
        config=dict(
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
            unk_token="<|endoftext|>",
            pad_token="<|im_end|>",
            clean_up_tokenization_spaces=False,
        ),
    ),
    "smollm3": dict(
        kind="bytes",
        last=[
            added("<|begin_of_text|>"),
            added("<|end_of_text|>"),
            added("<think>", special=False),
            added("</think>", special=False),
            added("<|im_start|>"),
            added("<|im_end|>"),
        ],
        pre=sequence("pre_tokenizer", split(CL100K % "{1,3}"), byte_level()),
        post=byte_level(),
        config=dict(eos_token="<|im_end|>", pad_token="<|im_end|>", add_bos_token=False),
    ),
    "qwen": dict(
        kind="bytes",
        last=[
            added("<|endoftext|>"),
            added("<|im_start|>"),
            added("<|im_end|>"),
            *[
                added(t, special=False)
                for t in ("<tool_call>", "</tool_call>", "<think>", "</think>")
            ],
        ],
        normalizer={"type": "NFC"},
        pre=sequence("pre_tokenizer", split(CL100K % ""), byte_level()),
        post=byte_level(),
        config=dict(
            bos_token=None,
            eos_token="<|im_end|>",
            unk_token=None,
            pad_token="<|endoftext|>",
            add_bos_token=False,
        ),
    ),
    "tekken": dict(
        kind="bytes",
        first=[added(t) for t in ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")],
        pre=sequence("pre_tokenizer", split(TEKKEN), byte_level()),
        post=template("<s>"),
        ignore_merges=True,
        config=dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
    ),
    "phi4": dict(
        kind="bytes",
        last=[
            added("<|endoftext|>"),
            *[
                added(t, rstrip=True)
                for t in ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
            ],
            added("<tool_call>", special=False, lstrip=True),
        ],
        pre=sequence("pre_tokenizer", split(O200K, "Removed", True), byte_level()),
        post=byte_level(),
        config=dict(
            bos_token="<|endoftext|>",
            eos_token="<|endoftext|>",
            unk_token="<|endoftext|>",
            add_bos_token=False,
        ),
    ),
    # OLMo 2 and 3 (allenai/dolma2-tokenizer): GPT-4's splitter, with the tokens that mask personal
    # data
    "olmo2": dict(
        kind="bytes",
        last=[
            added("<|extra_id_0|>", special=False, normalized=True),
            added("<|endoftext|>"),
            added("<|fim_prefix|>"),
            added("|||PHONE_NUMBER|||", special=False, normalized=True),
            added("|||EMAIL_ADDRESS|||", special=False, normalized=True),
            added("|||IP_ADDRESS|||", special=False, normalized=True),
            added("<|im_start|>"),
            added("<|im_end|>"),
            added("<|endofprompt|>"),
            added("<|pad|>"),
        ],
        pre=sequence("pre_tokenizer", split(CL100K % "{1,3}", "Removed", True), byte_level()),
        post=byte_level(),
        config=dict(
            bos_token="<|endoftext|>",
            eos_token="<|endoftext|>",
            unk_token="<|endoftext|>",
            pad_token="<|pad|>",
            add_prefix_space=False,
        ),
        own=[
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            "<|endoftext|><|user|>\nHi\n<|assistant|>\n",
            "call |||PHONE_NUMBER||| or |||EMAIL_ADDRESS|||, not ||||IP_ADDRESS||||",
            "|||PHONE_NUMBER|||||||IP_ADDRESS|||",
            "<|fim_prefix|>def f():<|endofprompt|>\n<|extra_id_0|><|pad|>",
        ],
    ),
    # Granite 3: StarCoder's, in which every digit is a chunk, with roles in special tokens
    "granite": dict(
        kind="bytes",
        first=[
            added(t)
            for t in (
                "<|end_of_text|>",
                "<fim_prefix>",
                "<fim_middle>",
                "<fim_suffix>",
                "<fim_pad>",
                "<filename>",
                "<gh_stars>",
                "<reponame>",
            )
        ],
        last=[added(f"<|{t}|>") for t in ("start_of_role", "end_of_role", "tool_call")],
        pre=sequence(
            "pre_tokenizer",
            {"type": "Digits", "individual_digits": True},
            byte_level(use_regex=True),
        ),
        post=byte_level(add_prefix_space=True, use_regex=True),
        config=dict(
            bos_token="<|end_of_text|>",
            eos_token="<|end_of_text|>",
            unk_token="<|end_of_text|>",
            pad_token="<|end_of_text|>",
            add_bos_token=False,
            add_prefix_space=False,
        ),
        own=[
            "<|start_of_role|>user<|end_of_role|>Hi 12<|end_of_text|>\n"
            "<|start_of_role|>assistant<|end_of_role|>",
            "<|start_of_role|> user <|end_of_role|> 2024-07-26 <|end_of_text|>",
            "<fim_prefix>a 10<fim_suffix>b<fim_middle>  3.14",
            "<reponame>x/y<gh_stars>100-1000<filename>a.py\n",
            "<|tool_call|>[{}] <|TOOL_CALL|>",
        ],
    ),
    # Ministral 8B and Ministral 3: Tekken, with its tokens for systems and tools
    "ministral": dict(
        kind="bytes",
        first=[
            added(t)
            for t in (
                "<unk>",
                "<s>",
                "</s>",
                "[INST]",
                "[/INST]",
                "[AVAILABLE_TOOLS]",
                "[/AVAILABLE_TOOLS]",
                "[TOOL_RESULTS]",
                "[/TOOL_RESULTS]",
                "[TOOL_CALLS]",
                "[IMG]",
                "<pad>",
                "[SYSTEM_PROMPT]",
                "[/SYSTEM_PROMPT]",
                "[THINK]",
                "[/THINK]",
            )
        ],
        pre=sequence("pre_tokenizer", split(TEKKEN), byte_level()),
        post=template("<s>"),
        ignore_merges=True,
        config=dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"),
        own=[
            "<s>[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello</s>",
            "[THINK]hm 12[/THINK]ok",
            "[ THINK] [TOOL_CALLS]f[TOOL_RESULTS]{}[/TOOL_RESULTS]",
            "[AVAILABLE_TOOLS][IMG]<pad>",
            "isn'T HTTPServer/ÀÉa 2024",
        ],
    ),
    # Ministral and Mistral files with the splitter that transformers calls incorrect: Llama 3's.
    # The file decides, here as in transformers without fix_mistral_regex.
    "ministral-split": dict(
        kind="bytes",
        first=[added(t) for t in ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")],
        pre=sequence("pre_tokenizer", split(CL100K % "{1,3}"), byte_level()),
        post=template("<s>"),
        ignore_merges=True,
        config=dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
        own=["<s>[INST]isn'T HTTPServer/ÀÉa 2024[/INST]"],
    ),
    # settings that no model here has, but a tokenizer.json may have
    "flags": dict(
        kind="pieces",
        first=SPM_SPECIAL,
        last=[
            added("WORD", single_word=True),
            added("LEFT", lstrip=True),
            added("RIGHT", rstrip=True),
            added("BOTH", lstrip=True, rstrip=True, special=False),
            added("Café", special=False, normalized=True),
            added("SPACE D", special=False, normalized=True),
            added("abc", special=False),
            added("abcd", special=False, single_word=True),
        ],
        normalizer=sequence(
            "normalizer",
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s{3,}"}, "content": "$& "},
        ),
        pre=metaspace("always", True),
        decoder={
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always",
            "split": True,
        },
        post=template("<s>", "</s>"),
        config=dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
    ),
    "splits": dict(
        kind="bytes",
        last=[added("<s>", lstrip=True), added("</s>", rstrip=True)],
        pre=sequence(
            "pre_tokenizer",
            split(r"\s+", "MergedWithNext"),
            split(r"[.!?]", "MergedWithPrevious"),
            {"type": "Punctuation", "behavior": "Contiguous"},
            {"type": "Digits", "individual_digits": False},
            split(r"[^aeiou]", "Contiguous"),
            byte_level(add_prefix_space=True),
        ),
        post=template(None, "</s>"),
        config=dict(eos_token="</s>"),
    ),
}


def corpus():
    """Pages of the project, frozen: the golden vocabularies were trained on these bytes."""
    names = ("README", "CONTRIBUTING", "architecture", "method", "determinism")
    folder = Path(__file__).parent / "corpus"
    pages = [(folder / f"{name}.txt").read_text() for name in names]
    return pages + AWKWARD * 2


def learn(kind, size, digits, missing):
    """Tokens and merges; only their variety matters, so the split in training is a plain one."""
    tokenizer = Tokenizer(models.BPE())
    if kind == "bytes":
        steps = [
            pre_tokenizers.Split(Regex(CL100K % "{1,3}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        texts = corpus()
    else:
        steps = [pre_tokenizers.Metaspace(prepend_scheme="always")] + (
            [pre_tokenizers.Digits(individual_digits=True)] if digits else []
        )
        alphabet = []
        texts = [
            re.sub(r"[^\x20-\x7eäöüßéèàçñ…’“”→▁½²λστθπα–—你好世界]", "", text) for text in corpus()
        ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=alphabet,
        min_frequency=2,
        show_progress=False,
        max_token_length=14,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    gone = {tokenizer.pre_tokenizer.pre_tokenize_str(c)[0][0] for c in missing}
    tokens = [
        t for t in sorted(model["vocab"], key=model["vocab"].get) if not any(c in t for c in gone)
    ]
    return tokens, [m for m in model["merges"] if not any(c in "".join(m) for c in gone)]


def build(
    name,
    kind,
    first=(),
    last=(),
    inside=(),
    normalizer=None,
    pre=None,
    decoder=None,
    post=None,
    ignore_merges=False,
    digits=False,
    missing="",
    config=None,
    own=(),
):
    tokens, merges = learn(kind, 1050 if kind == "bytes" else 900, digits, missing)
    pieces = kind == "pieces"
    names = (
        [t["content"] for t in first]
        + ([f"<0x{i:02X}>" for i in range(256)] if pieces else [])
        + list(inside)
    )
    names += [t for t in tokens if t not in set(names)]
    vocab = {t: i for i, t in enumerate(names)}
    known = set(vocab)
    merges = [m for m in merges if "".join(m) in known and m[0] in known and m[1] in known]
    extra = [added(t, special=False) for t in inside]
    all_added = []
    for token in [*first, *extra, *last]:
        all_added.append(
            {
                "id": vocab.get(
                    token["content"], len(vocab) + sum(t["content"] not in vocab for t in all_added)
                ),
                **token,
            }
        )

    def finish(step):
        if step and step["type"] == "TemplateProcessing":
            ids = {t["content"]: t["id"] for t in all_added}
            return {
                **{k: v for k, v in step.items() if k != "special"},
                "special_tokens": {
                    t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in step["special"]
                },
            }
        return (
            {**step, "processors": [finish(s) for s in step["processors"]]}
            if step and "processors" in step
            else step
        )

    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(all_added, key=lambda t: t["id"]),
        "normalizer": normalizer,
        "pre_tokenizer": pre,
        "post_processor": finish(post),
        "decoder": decoder or byte_level(add_prefix_space=True, use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>" if pieces else None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": pieces,
            "byte_fallback": pieces,
            "ignore_merges": ignore_merges,
            "vocab": vocab,
            "merges": merges,
        },
    }
    return spec, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        **(config or {}),
    }


def expect(tokenizer, strings, seed, own=()):
    rng = random.Random(seed)

    def line(ids):
        return " ".join(map(str, ids))

    size = tokenizer.get_vocab_size()
    ranges = [(0, 12), (3, 259), (131, 240), (0, size), (size - 12, size)]
    lists = [
        [rng.randrange(*rng.choice(ranges)) for _ in range(rng.randrange(1, 12))]
        for _ in range(150)
    ]
    for text in rng.sample(strings, 40):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        lists.append(ids[: rng.randrange(len(ids) + 1)])
    return {
        "ids": [line(tokenizer.encode(s, add_special_tokens=False).ids) for s in strings],
        "special": [line(tokenizer.encode(s).ids) for s in strings[:30]],
        "decode": [
            [
                line(ids),
                tokenizer.decode(ids, skip_special_tokens=False),
                tokenizer.decode(ids, skip_special_tokens=True),
            ]
            for ids in lists
            if ids
        ],
        **(
            {"own": [[s, line(tokenizer.encode(s, add_special_tokens=False).ids)] for s in own]}
            if own
            else {}
        ),
    }


def write(path, value):
    """One text a line, or a diff would be a single line."""

    def dump(it):
        return json.dumps(it, ensure_ascii=path.name != "tokenizer.json", separators=(",", ":"))

    def rows(it):
        return "[\n" + ",\n".join(map(dump, it)) + "\n]" if isinstance(it, list) else dump(it)

    split_up = isinstance(value, dict) and path.name == "expected.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        (
            "{" + ",\n".join(f"{dump(key)}:{rows(it)}" for key, it in value.items()) + "}"
            if split_up
            else rows(value)
        )
        + "\n"
    )


def main():
    strings = list(dict.fromkeys(AWKWARD)) + random_strings(260)
    write(OUT / "strings.json", strings)
    for seed, (name, frame) in enumerate(FAMILIES.items()):
        spec, config = build(name, **frame)
        write(OUT / name / "tokenizer.json", spec)
        write(OUT / name / "tokenizer_config.json", config)
        write(
            OUT / name / "expected.json",
            expect(
                Tokenizer.from_file(str(OUT / name / "tokenizer.json")),
                strings,
                seed,
                frame.get("own", ()),
            ),
        )
    size = sum(p.stat().st_size for p in OUT.rglob("*.json"))
    print(f"{OUT}: {len(FAMILIES)} tokenizers, {len(strings)} strings, {size / 1e3:.0f} kB")


main()
