"""Golden values of sequence-classification models (reward models) from transformers, in fp32, for
test/engine/classifier.test.ts.

    python scripts/golden/classifier.py

Writes test/golden/classifier-*/: tiny random checkpoints and the logits at the last token of some
sequences, each run alone.
"""

import json
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "golden"
COMMON = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    initializer_range=0.3,
    bos_token_id=1,
    eos_token_id=2,
)

# The number of labels reaches config.json as id2label, and 2, transformers' default, not at all.
MODELS = {
    "classifier-llama": (LlamaConfig, LlamaForSequenceClassification, dict(num_labels=3)),
    "classifier-qwen2": (
        Qwen2Config,
        Qwen2ForSequenceClassification,
        dict(num_labels=1, tie_word_embeddings=True),
    ),
    "classifier-qwen3": (
        Qwen3Config,
        Qwen3ForSequenceClassification,
        dict(num_labels=2, head_dim=8),
    ),
}


def main():
    for index, (name, (config, model_class, extra)) in enumerate(MODELS.items()):
        torch.manual_seed(20 + index)
        model = model_class(config(**COMMON, **extra)).float().eval()
        for parameter in model.parameters():  # norms away from 1, so that a forgotten one shows
            if parameter.dim() == 1:
                parameter.data.uniform_(0.5, 1.5)
        folder = GOLDEN / name
        model.save_pretrained(folder)
        sequences = [torch.randint(3, 64, (length,)).tolist() for length in (1, 7, 24, 3)]
        logits = [
            [float(f"{x:.6g}") for x in model(torch.tensor([ids])).logits[0]] for ids in sequences
        ]
        path = folder / "expected.json"
        path.write_text(
            json.dumps({"sequences": sequences, "logits": logits}, separators=(",", ":")) + "\n"
        )
        print(f"{path.relative_to(ROOT)}: labels {model.num_labels}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    with torch.no_grad():
        main()
