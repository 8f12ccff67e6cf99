"""Log-likelihood evaluation by lm-evaluation-harness itself, item by item, for
test/evaluate/loglikelihood.test.ts.

    python scripts/golden/loglikelihood.py [FOLDER …]
    python scripts/golden/loglikelihood.py MODEL TASK=ROWS.jsonl … > out

The first writes {expected.json, model files, rows as Parquet} into the folders of test/golden that
SETS names; the second prints the same of any model and rows (official columns), as JSON lines.

The harness's own task files, requests, tokenisation, truncation and metrics run (its data sets are
replaced by local rows, acc_norm is added to multiple choice that leaves it out), with a random
Llama whose tokenizer is trained on the rows: merges, a begin-of-text token that the tokenizer adds,
and, in lm-eval, a context that one question exceeds. The rows are written for this test.
"""

import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import lm_eval
import pyarrow as pa
import pyarrow.parquet as pq
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

GOLDEN = Path(__file__).resolve().parents[2] / "test" / "golden"
TASKS = {
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "siqa": "siqa/siqa.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "piqa": "piqa/piqa.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "winogrande": "winogrande/default.yaml",
    "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml",
    "truthfulqa_mc2": "truthfulqa/truthfulqa_mc2.yaml",
}
# acc_norm would be of the contexts (WinoGrande), or the task computes its own metric (mc2).
WITHOUT_NORM = ("winogrande", "truthfulqa_mc2")
# Folder: the model's context, and the file of each task.
SETS = {
    "lm-eval": (112, {name: name for name in ("arc_easy", "openbookqa", "siqa")}),
    "lm-eval-published": (
        768,
        {
            **{name: name for name in ("boolq", "piqa", "hellaswag", "winogrande")},
            "truthfulqa_mc1": "truthfulqa",
            "truthfulqa_mc2": "truthfulqa",
        },
    ),
}
CHAT = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '\n' + "
    "message['content'] + '<|end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)


def make_model(folder, context, texts):
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
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=480,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).float().eval().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def task_config(name, rows):
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / TASKS[name])
    config.update(
        task=name,
        dataset_path="json",
        dataset_name=None,
        dataset_kwargs={"data_files": {"test": str(rows)}},
        test_split="test",
        metric_list=[
            {"metric": metric, "aggregation": "mean"}
            for metric in (("acc",) if name in WITHOUT_NORM else ("acc", "acc_norm"))
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
                    "acc": round(float(sample["acc"]), 9)
                    if name == "truthfulqa_mc2"
                    else int(sample["acc"]),
                    **({"acc_norm": int(sample["acc_norm"])} if "acc_norm" in sample else {}),
                }
            )
    return items


def write(folder, context, sources):
    files = sorted(set(sources.values()))
    make_model(folder, context, [path.read_text() for path in files])
    if folder.name == "lm-eval-published":  # the hub has these sets as Parquet
        for path in files:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = {
        "plain": evaluate(model, tokenizer, sources),
        "chat": evaluate(model, tokenizer, sources, apply_chat_template=True),
    }
    lines = ",\n".join(
        f'"{kind}": [\n' + ",\n".join(json.dumps(item) for item in items) + "\n]"
        for kind, items in expected.items()
    )
    (folder / "expected.json").write_text(
        '{"lm_eval": ' + json.dumps(version("lm_eval")) + ",\n" + lines + "\n}\n"
    )
    for kind, items in expected.items():
        sums = {
            name: [
                sum(i.get(m, 0) for i in items if i["task"] == name) for m in ("acc", "acc_norm")
            ]
            for name in sources
        }
        print(folder.name, kind, sums, file=sys.stderr)


def main():
    logging.disable(logging.WARNING)
    if any("=" in argument for argument in sys.argv):
        sources = dict(argument.split("=", 1) for argument in sys.argv[2:])
        model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
        for item in evaluate(model, AutoTokenizer.from_pretrained(sys.argv[1]), sources):
            print(json.dumps(item))
        return
    for name in sys.argv[1:] or SETS:
        context, files = SETS[name]
        folder = GOLDEN / name
        write(folder, context, {task: folder / f"{file}.jsonl" for task, file in files.items()})


if __name__ == "__main__":
    main()
