"""Added tokens outside of tokenizer.json, as transformers reads them.

    python scripts/golden/configured_tokens.py  # writes test/golden/configured_tokens.json

A tokenizer whose ids 0 to 255 are bytes, with one special token, gets a tokenizer_config.json (and
special_tokens_map.json) that adds tokens or changes flags. Each case has the ids of TEXT and the
text without special tokens.
"""

import json
import pathlib
import tempfile

from transformers import AutoTokenizer

TEXT = "Hello wörld  42 <|end|> x"
PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
# GPT-2's characters for bytes
BYTES = [chr(b) if b in PRINTABLE else chr(256 + OTHERS.index(b)) for b in range(256)]


def token(content: str, id: int | None = None, **flags: bool) -> dict:
    plain = dict(lstrip=False, rstrip=False, single_word=False, normalized=False, special=True)
    return {**({} if id is None else {"id": id}), "content": content, **plain, **flags}


BYTE_LEVEL = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [token("<|end|>", 256)],
    "normalizer": None,
    "pre_tokenizer": BYTE_LEVEL,
    "post_processor": None,
    "decoder": BYTE_LEVEL,
    "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(BYTES)}, "merges": []},
}
CASES = {
    "nothing": {},
    "a token that tokenizer.json lacks": {
        "added_tokens_decoder": {"257": token("Hello", special=False)}
    },
    "a token whose number leaves a gap": {
        "added_tokens_decoder": {"300": token("Hello", special=False)}
    },
    "other flags": {"added_tokens_decoder": {"256": token("<|end|>", lstrip=True, rstrip=True)}},
    "a special token that is missing": {"eos_token": "42"},
    "a special token as an object": {
        "bos_token": {"__type": "AddedToken", **token("42", rstrip=True)}
    },
    "additional_special_tokens": {"additional_special_tokens": ["wör", "Hello"]},
    "an additional token that is a character": {"additional_special_tokens": ["H"]},
    "extra_special_tokens": {"extra_special_tokens": {"image_token": "wör"}},
    "a token of an own name": {"image_token": "42"},
}


def ids_of(config: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        (at / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
        (at / "tokenizer_config.json").write_text(json.dumps(config))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer.encode(TEXT, add_special_tokens=False)
        return {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)}


cases = [{"name": name, "config": config, **ids_of(config)} for name, config in CASES.items()]
out = pathlib.Path(__file__).parents[2] / "test/golden/configured_tokens.json"
out.write_text(json.dumps({"text": TEXT, "tokenizer": TOKENIZER, "cases": cases}) + "\n")
