"""Golden values of every model family from transformers, in fp32, for test/engine/families.test.ts
and test/native/model/families_test.cpp.

    python scripts/golden/families.py [NAME…]
    python scripts/golden/families.py --check FOLDER GOLDEN …

The first writes test/golden/families/NAME/; the second asks whether transformers loads each FOLDER
as the model that GOLDEN describes.

Each model is random and tiny, but every term that its family adds is large enough to be missed:
norms and biases are random, windows are shorter than the sequences, caps are near the scores, RoPE
is scaled at the positions that are read. Weights are stored as bf16, in which they are exact.
expected.json has the logits of one sequence, the log-probs of two completions of one prompt, a
greedy continuation, and the gradients of a preference loss that chooses between the completions: of
every parameter its norm, its projection on a fixed wave and a few of its entries.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "golden" / "families"
VOCAB, PROMPT, CHOSEN, REJECTED, GREEDY, ENTRIES = 64, 10, 14, 9, 10, 12
BETA, CONSISTENCY = 0.5, 0.8

SHAPE = dict(
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=64,
    initializer_range=0.25,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)

FAMILIES = {
    "llama-linear": (
        "llama",
        dict(
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.5),
        ),
    ),
    "llama-dynamic": (
        "llama",
        dict(
            rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0),
            num_hidden_layers=1,
        ),
    ),
    "llama-3.2": (
        "llama",
        dict(
            head_dim=32,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            rope_parameters=LLAMA3,
        ),
    ),
    "llama-yarn": (
        "llama",
        dict(
            num_hidden_layers=1,
            rope_parameters=dict(
                YARN, mscale=1.2, mscale_all_dim=0.7, beta_fast=4.0, beta_slow=1.0
            ),
        ),
    ),
    "mistral": (
        "mistral",
        dict(sliding_window=6, rope_parameters=dict(rope_type="default", rope_theta=100000.0)),
    ),
    "qwen2": (
        "qwen2",
        dict(
            head_dim=8,
            num_attention_heads=4,
            use_sliding_window=True,
            sliding_window=5,
            max_window_layers=1,
            tie_word_embeddings=True,
            rope_parameters=YARN,
        ),
    ),
    "qwen3": (
        "qwen3",
        dict(
            head_dim=32,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=1e6),
        ),
    ),
    "smollm3": (
        "smollm3",
        dict(
            head_dim=8,
            num_hidden_layers=4,
            no_rope_layer_interval=2,
            rope_parameters=dict(YARN, rope_theta=5e4),
        ),
    ),
    "smollm3-window": (
        "smollm3",
        dict(
            head_dim=8,
            num_hidden_layers=2,
            no_rope_layers=[0, 1],
            use_sliding_window=True,
            sliding_window=7,
            mlp_bias=True,
            attention_bias=True,
            rope_parameters=dict(rope_type="default", rope_theta=5e4),
        ),
    ),
    "gemma2": (
        "gemma2",
        dict(
            query_pre_attn_scalar=24,
            sliding_window=6,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=4.0,
        ),
    ),
    "gemma3": (
        "gemma3_text",
        dict(
            query_pre_attn_scalar=24,
            sliding_window=6,
            num_hidden_layers=3,
            final_logit_softcapping=None,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", rope_theta=1e6, factor=2.0),
                sliding_attention=dict(rope_type="default", rope_theta=1e4),
            ),
        ),
    ),
    "phi3": (
        "phi3",
        dict(
            num_attention_heads=2,
            num_key_value_heads=2,
            sliding_window=7,
            original_max_position_embeddings=64,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0),
        ),
    ),
    "phi4-mini": (
        "phi3",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            max_position_embeddings=256,
            original_max_position_embeddings=64,
            rope_parameters=dict(
                rope_type="longrope",
                rope_theta=10000.0,
                partial_rotary_factor=0.75,
                short_factor=[1.0, 1.2, 1.5, 1.9, 2.2, 3.0],
                long_factor=[2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            ),
        ),
    ),
    # Positions beyond max_position_embeddings, which YaRN's factor allows.
    "mistral-yarn": (
        "mistral",
        dict(
            sliding_window=None,
            max_position_embeddings=16,
            rope_parameters=dict(YARN, attention_factor=1.3, truncate=False),
        ),
    ),
    # transformers loads a mistral with layer_types as a ministral.
    "mistral-mixed": (
        "ministral",
        dict(sliding_window=6, layer_types=["full_attention", "sliding_attention"]),
        dict(model_type="mistral", architectures=["MistralForCausalLM"]),
    ),
    "olmo2": (
        "olmo2",
        dict(num_attention_heads=2, num_key_value_heads=1, attention_bias=True),
    ),
    "olmo3": (
        "olmo3",
        dict(
            num_attention_heads=2,
            num_key_value_heads=2,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters=dict(
                full_attention=dict(YARN, attention_factor=1.2),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            ),
        ),
    ),
    "granite": (
        "granite",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            mlp_bias=True,
            attention_multiplier=0.4,
            embedding_multiplier=3.0,
            residual_multiplier=0.7,
            logits_scaling=1.7,
        ),
    ),
    "ministral": (
        "ministral",
        dict(sliding_window=6, layer_types=["sliding_attention", "full_attention"]),
    ),
    "ministral3": (
        "ministral3",
        dict(
            rope_parameters=dict(
                YARN,
                original_max_position_embeddings=8,
                beta_fast=32.0,
                beta_slow=1.0,
                mscale=1.0,
                mscale_all_dim=1.0,
                llama_4_scaling_beta=0.4,
            ),
        ),
    ),
    "gemma3-vision": (
        "gemma3",
        dict(
            text_config=dict(
                SHAPE,
                num_hidden_layers=2,
                query_pre_attn_scalar=24,
                sliding_window=6,
                layer_types=["sliding_attention", "full_attention"],
                rope_parameters=dict(
                    full_attention=dict(rope_type="linear", rope_theta=1e6, factor=2.0),
                    sliding_attention=dict(rope_type="default", rope_theta=1e4),
                ),
            ),
            vision_config=dict(
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=1,
                image_size=28,
                patch_size=14,
            ),
            mm_tokens_per_image=4,
            image_token_index=VOCAB - 1,
            boi_token_index=VOCAB - 2,
            eoi_token_index=VOCAB - 3,
        ),
    ),
    "mistral3-vision": (
        "mistral3",
        dict(
            text_config=dict(SHAPE, model_type="mistral", sliding_window=None, rope_theta=1e6),
            vision_config=dict(
                model_type="pixtral",
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=1,
                head_dim=8,
                image_size=28,
                patch_size=14,
            ),
            spatial_merge_size=2,
            tie_word_embeddings=False,
            image_token_index=VOCAB - 1,
        ),
    ),
}


def rounded(tensor, digits=6):
    return [round(float(x), digits) for x in tensor.flatten()]


def auto_class(model_type):
    """Mistral 3 is registered as an image-text model only, Gemma 3 also as a causal one."""
    return AutoModelForImageTextToText if model_type == "mistral3" else AutoModelForCausalLM


def load(folder):
    model_type = json.loads((Path(folder) / "config.json").read_text())["model_type"]
    return (
        auto_class(model_type)
        .from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        .eval()
    )


def random_model(model_type, extra, seed):
    torch.manual_seed(seed)
    shape = dict(extra) if "text_config" in extra else dict(SHAPE, **extra)
    if (
        "head_dim" in shape
        and shape["hidden_size"] == shape["num_attention_heads"] * shape["head_dim"]
        and model_type != "qwen3"
    ):
        del shape["head_dim"]  # absent, as in most files of these families
    model = (
        auto_class(model_type)
        .from_config(AutoConfig.for_model(model_type, **shape), attn_implementation="eager")
        .float()
    )
    gemma = model_type.startswith("gemma")
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and "norm" in name:
            parameter.data.uniform_(-0.5, 0.5) if gemma else parameter.data.uniform_(0.5, 1.5)
        elif parameter.dim() == 1:
            parameter.data.normal_(0, 0.3)
        elif gemma and "embed" in name:
            parameter.data.mul_(0.5)
        parameter.data.copy_(parameter.data.bfloat16())
    return model


def logprobs_of(model, prompt, completion):
    logits = model(torch.tensor([prompt + completion])).logits[0].float()
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return rows.gather(1, torch.tensor(completion)[:, None])[:, 0]


def wave(n):
    """A fixed direction that a permuted or shifted gradient does not share."""
    return torch.cos(torch.arange(n, dtype=torch.float64) * 0.7)


def preference_loss(model, prompt, chosen, rejected, reference, beta, consistency):
    """C·DPO + (1 − C)·reverse DPO (the paper's consistency-regularised loss)."""
    rewards = [
        logprobs_of(model, prompt, c).sum() - r
        for c, r in zip((chosen, rejected), reference, strict=True)
    ]
    z = beta * (rewards[0] - rewards[1])
    return -consistency * torch.nn.functional.logsigmoid(z) - (
        1 - consistency
    ) * torch.nn.functional.logsigmoid(-z)


def gradients_of(model, loss):
    model.zero_grad()
    loss.backward()
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:  # the vision part
            continue
        name = name.replace("language_model.", "")
        flat = parameter.grad.flatten().double()
        step = max(1, flat.numel() // ENTRIES)
        found[name] = {
            "norm": float(flat.norm()),
            "projection": float(flat @ wave(flat.numel())),
            "step": step,
            "entries": [float(f"{x:.7g}") for x in flat[::step][:ENTRIES]],
        }
    return found


def greedy(model, prompt, count):
    tokens, past, logprobs, step = [], None, [], torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(count):
            out = model(step, past_key_values=past, use_cache=True)
            past, row = out.past_key_values, out.logits[0, -1].float()
            tokens.append(int(row.argmax()))
            logprobs.append(float(row.log_softmax(-1)[tokens[-1]]))
            step = torch.tensor([[tokens[-1]]])
    return tokens, logprobs


def write(name, seed):
    model_type, extra, *renamed = FAMILIES[name]
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    random_model(model_type, extra, seed).bfloat16().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if renamed:
        config = json.loads((folder / "config.json").read_text()) | renamed[0]
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = load(folder)

    def draw(n):
        return torch.randint(3, VOCAB, (n,)).tolist()

    prompt, chosen, rejected = draw(PROMPT), draw(CHOSEN), draw(REJECTED)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + chosen])).logits[0]
        values = [rounded(logprobs_of(model, prompt, c)) for c in (chosen, rejected)]
    continuation, continuation_logprobs = greedy(model, prompt, GREEDY)
    reference = [round(sum(v) + shift, 3) for v, shift in zip(values, (-0.7, 0.9), strict=True)]
    loss = preference_loss(model, prompt, chosen, rejected, reference, BETA, CONSISTENCY)
    expected = {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "logits": rounded(logits),
        "logprobs": values,
        "greedy": continuation,
        "greedy_logprobs": [round(x, 6) for x in continuation_logprobs],
        "beta": BETA,
        "consistency": CONSISTENCY,
        "reference": reference,
        "loss": float(loss),
        "gradients": gradients_of(model, loss),
    }
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(
        f"{name}: {size / 1000:.0f} kB, "
        f"logits {float(logits.min()):.2f} … {float(logits.max()):.2f}"
    )


def check(folder, golden):
    expected = json.loads((Path(golden) / "expected.json").read_text())
    model, source = load(folder), load(golden)
    # The text part of a multimodal checkpoint is saved as a model of its own.
    name = type(source).__name__.replace("Mistral3For", "MistralFor")
    name = name.replace("ForConditionalGeneration", "ForCausalLM")
    assert type(model).__name__ == name, f"{folder} loads as {type(model).__name__}, not as {name}"
    with torch.no_grad():
        logits = model(torch.tensor([expected["prompt"] + expected["chosen"]])).logits[0]
    worst = float((logits.flatten() - torch.tensor(expected["logits"])).abs().max())
    assert worst <= 1e-4, f"{folder}: logits differ by {worst}"
    print(f"{Path(golden).name}: {worst:.1e}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        for folder, golden in zip(sys.argv[2::2], sys.argv[3::2], strict=False):
            check(folder, golden)
    else:
        for name in sys.argv[1:] or FAMILIES:
            write(name, 1000 + list(FAMILIES).index(name))
