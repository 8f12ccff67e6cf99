"""The keys that transformers writes to config.json by default, of a small model of every family,
for test/native/model/config_keys_test.cpp.

    python scripts/golden/configs.py

writes test/golden/configs/transformers-N.json, N being the major version that is installed; the
committed files are of 5.23.0 and 4.57.6.
"""

import json
from pathlib import Path

import transformers
from transformers import CONFIG_MAPPING

GOLDEN = Path(__file__).resolve().parents[2] / "test" / "golden" / "configs"

FAMILIES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "ministral": "MinistralForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "olmo3": "Olmo3ForCausalLM",
    "granite": "GraniteForCausalLM",
}
SHAPE = dict(
    vocab_size=70,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
# Sizes and switches without which another key of the family would have no effect.
EXTRA = {
    "head_dim": 16,
    "sliding_window": 16,
    "use_sliding_window": True,
    "max_window_layers": 1,
    "no_rope_layer_interval": 2,
    "original_max_position_embeddings": 64,
}


def written(model_type, architecture):
    known = CONFIG_MAPPING[model_type]().to_dict()
    extra = {key: value for key, value in EXTRA.items() if key in known}
    config = CONFIG_MAPPING[model_type](**SHAPE, **extra, architectures=[architecture])
    return config.to_dict()


if __name__ == "__main__":
    major = transformers.__version__.split(".")[0]
    found = {
        model_type: written(model_type, architecture)
        for model_type, architecture in FAMILIES.items()
        if model_type in CONFIG_MAPPING
    }
    GOLDEN.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, sort_keys=True)
    (GOLDEN / f"transformers-{major}.json").write_text(text + "\n")
    print(f"{transformers.__version__}: {', '.join(found)}")
