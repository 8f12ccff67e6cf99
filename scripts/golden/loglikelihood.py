"""Log-likelihood evaluation by lm-evaluation-harness itself, item by item, for
test/evaluate/loglikelihood.test.ts.

    python scripts/golden/loglikelihood.py
    python scripts/golden/loglikelihood.py MODEL TASK=ROWS.jsonl … > out

The first writes test/golden/lm-eval/{expected.json, model files}; the second the same of any folder
and rows (official columns), as JSON lines.

The harness's own task files, requests, tokenisation, truncation and metrics run (its data sets are
replaced by local rows, acc_norm is added to social_iqa, which leaves it out), with a random Llama
whose tokenizer is trained on the rows: merges, a begin-of-text token that the tokenizer adds, and a
context that one question exceeds. The rows in test/golden/lm-eval are written for this test.
"""

import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

GOLDEN = Path(__file__).resolve().parents[2] / "test" / "golden" / "lm-eval"
TASKS = {
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "siqa": "siqa/siqa.yaml",
}
CHAT = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '\n' + "
    "message['content'] + '<|end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)


def make_model(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|start|>", "<|end|>"]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=480,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", pair="<|start|> $A $B", special_tokens=[("<|start|>", 0)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|start|>",
        eos_token="<|end|>",
        model_max_length=112,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT
    fast.save_pretrained(GOLDEN)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=480,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=112,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).float().eval().save_pretrained(GOLDEN)
    (GOLDEN / "generation_config.json").unlink(missing_ok=True)


def task_config(name, rows):
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / TASKS[name])
    config.update(
        task=name,
        dataset_path="json",
        dataset_name=None,
        dataset_kwargs={"data_files": {"test": str(rows)}},
        test_split="test",
        metric_list=[
            {"metric": "acc", "aggregation": "mean"},
            {"metric": "acc_norm", "aggregation": "mean"},
        ],
    )
    for key in (
        "tag",
        "training_split",
        "validation_split",
        "should_decontaminate",
        "doc_to_decontamination_query",
    ):
        config.pop(key, None)
    return config


def evaluate(model, tokenizer, sources, **options):
    """[{task, id or row number, choice_logps, acc, acc_norm}] in the order of the rows."""
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
    result = lm_eval.simple_evaluate(
        harness,
        tasks=[task_config(name, rows) for name, rows in sources.items()],
        log_samples=True,
        bootstrap_iters=0,
        **options,
    )
    items = []
    for name in sources:
        for sample in sorted(result["samples"][name], key=lambda sample: sample["doc_id"]):
            logps = [round(float(r[0]), 6) for r in sample["filtered_resps"]]
            items.append(
                {
                    "task": name,
                    "row": sample["doc_id"],
                    "choice_logps": logps,
                    "acc": int(sample["acc"]),
                    "acc_norm": int(sample["acc_norm"]),
                }
            )
    return items


def main():
    logging.disable(logging.WARNING)
    if len(sys.argv) > 1:
        sources = dict(argument.split("=", 1) for argument in sys.argv[2:])
        model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
        for item in evaluate(model, AutoTokenizer.from_pretrained(sys.argv[1]), sources):
            print(json.dumps(item))
        return
    sources = {name: GOLDEN / f"{name}.jsonl" for name in ("arc_easy", "openbookqa", "siqa")}
    make_model([path.read_text() for path in sources.values()])
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(GOLDEN, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(GOLDEN),
    )
    expected = {
        "lm_eval": version("lm_eval"),
        "plain": evaluate(model, tokenizer, sources),
        "chat": evaluate(model, tokenizer, sources, apply_chat_template=True),
    }
    lines = ",\n".join(
        f'"{kind}": [\n' + ",\n".join(json.dumps(item) for item in items) + "\n]"
        for kind, items in expected.items()
        if kind != "lm_eval"
    )
    (GOLDEN / "expected.json").write_text(
        '{"lm_eval": ' + json.dumps(expected["lm_eval"]) + ",\n" + lines + "\n}\n"
    )
    for kind in ("plain", "chat"):
        print(
            kind,
            {
                name: [
                    sum(i[m] for i in expected[kind] if i["task"] == name)
                    for m in ("acc", "acc_norm")
                ]
                for name in sources
            },
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
