"""What TRL makes of preference rows → test/golden/trl_data.json.

    python scripts/golden/trl_data.py

`extract`: TRL's extract_prompt on rows with an implicit prompt. `rows`: whether TRL takes a row for
conversational, what maybe_extract_prompt leaves of it, and the texts of maybe_apply_chat_template
with a ChatML template. `pairs`: the same for test/golden/trl_pairs.jsonl, pairs that cream-lm
wrote, as loaded by the datasets library: our file is TRL's conversational format as it is.
"""

import json
import pathlib

import datasets
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl.data_utils import (
    extract_prompt,
    is_conversational,
    maybe_apply_chat_template,
    maybe_extract_prompt,
)

GOLDEN = pathlib.Path(__file__).parents[2] / "test" / "golden"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def u(text):
    return {"role": "user", "content": text}


def a(text):
    return {"role": "assistant", "content": text}


EXTRACT = [
    {"chosen": [u("Hi"), a("Hello")], "rejected": [u("Hi"), a("Go")]},
    {
        "chosen": [{"role": "system", "content": "Kind."}, u("Hi"), a("A"), u("More"), a("B")],
        "rejected": [{"role": "system", "content": "Kind."}, u("Hi"), a("A"), u("More"), a("C")],
    },
    {
        "chosen": [u("Hi"), a("A"), u("And?"), a("B")],
        "rejected": [u("Hi"), a("X"), u("And?"), a("B")],
    },
    {"chosen": [u("Hi"), a("A")], "rejected": [u("Hi"), a("A"), u("B"), a("C")]},
    {"chosen": [u("Hi"), a("same")], "rejected": [u("Hi"), a("same")]},
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "The sky isblue", "rejected": "The sky isgreen"},
    {"chosen": "What? 🙂 yes", "rejected": "What? 🙁 no"},
    {"chosen": "One\u2028two\r\nblue", "rejected": "One\u2028two\r\ngreen"},
    {"chosen": "same", "rejected": "same and more"},
    {"chosen": "No", "rejected": "Yes"},
]

ROWS = [
    {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"},
    {"prompt": [u("What is 2 + 2?")], "chosen": [a("4")], "rejected": [a("5")]},
    {
        "prompt": [{"role": "system", "content": "Kind."}, u("Hi"), a("A"), u("ü\u2028🙂")],
        "chosen": [a("yes\n")],
        "rejected": [a(" no")],
    },
    {"prompt": "Hi", "chosen": [u("Hi"), a("Hello")], "rejected": [u("Hi"), a("Go")]},
    *EXTRACT[:3],
    *EXTRACT[5:8],
]


def view(row, tokenizer):
    extracted = maybe_extract_prompt(row)
    return {
        "row": row,
        "conversational": is_conversational({"chosen": row["chosen"]}),
        "extracted": {key: extracted[key] for key in ("prompt", "chosen", "rejected")},
        "texts": maybe_apply_chat_template(
            {key: extracted[key] for key in ("prompt", "chosen", "rejected")}, tokenizer
        ),
    }


def main():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")),
        chat_template=TEMPLATE,
    )
    loaded = datasets.load_dataset(
        "json", data_files=str(GOLDEN / "trl_pairs.jsonl"), split="train"
    )
    pairs = [maybe_extract_prompt(row) for row in loaded]
    assert all(is_conversational(row) for row in [{"prompt": row["prompt"]} for row in pairs])
    golden = {
        "template": TEMPLATE,
        "extract": [{"row": row, "extracted": extract_prompt(row)} for row in EXTRACT],
        "rows": [view(row, tokenizer) for row in ROWS],
        "pairs": [
            view({key: row[key] for key in ("prompt", "chosen", "rejected")}, tokenizer)
            for row in pairs
        ],
    }
    (GOLDEN / "trl_data.json").write_text(json.dumps(golden, ensure_ascii=True, indent=1) + "\n")


if __name__ == "__main__":
    main()
