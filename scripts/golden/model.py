"""Golden values of whole models from transformers, in fp32, for test/engine/oracle.test.ts.

    python scripts/golden/model.py PATH/TO/SmolLM2-135M-Instruct.Q4_1.gguf

Writes test/golden/tiny-*/ (four random Llama checkpoints with all their logits) and
test/golden/default-model.json: for 8 prompts the greedy continuation, its per-token log-probs, and
a spread of logits at every prompt position. The prompts are token ids, since transformers' GGUF
tokenizer splits digits otherwise than the model was trained with.
"""

import json
import os
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "golden"
NEW_TOKENS = 64
COLUMNS = 48  # logits kept a position, spread over the vocabulary

TINY = {
    "tiny-gqa-tied": dict(num_key_value_heads=2, tie_word_embeddings=True),
    "tiny-gqa-untied": dict(num_key_value_heads=1, tie_word_embeddings=False),
    "tiny-mha-tied": dict(num_key_value_heads=4, tie_word_embeddings=True),
    "tiny-mha-untied": dict(num_key_value_heads=4, tie_word_embeddings=False, head_dim=16),
}


def rounded(tensor, digits=5):
    return [round(float(x), digits) for x in tensor.flatten()]


def greedy(model, prompt, count):
    ids = torch.tensor([prompt])
    past, tokens, logprobs, step = None, [], [], ids
    for _ in range(count):
        out = model(step, past_key_values=past, use_cache=True)
        past = out.past_key_values
        row = out.logits[0, -1].float()
        token = int(row.argmax())
        tokens.append(token)
        logprobs.append(float(row.log_softmax(-1)[token]))
        step = torch.tensor([[token]])
    return tokens, logprobs


def tiny_models():
    for index, (name, extra) in enumerate(TINY.items()):
        torch.manual_seed(index)
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            rope_theta=10000.0,
            initializer_range=0.3,
            bos_token_id=1,
            eos_token_id=2,
            **extra,
        )
        model = LlamaForCausalLM(config).float().eval()
        for parameter in model.parameters():  # norms away from 1, so that a forgotten one shows
            if parameter.dim() == 1:
                parameter.data.uniform_(0.5, 1.5)
        folder = GOLDEN / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        tokens = torch.randint(3, 64, (24,)).tolist()
        logits = model(torch.tensor([tokens])).logits[0]
        continuation, logprobs = greedy(model, tokens[:6], NEW_TOKENS)
        write(
            folder / "expected.json",
            {
                "tokens": tokens,
                "logits": rounded(logits),
                "prompt": tokens[:6],
                "greedy": continuation,
                "greedy_logprobs": [round(x, 6) for x in logprobs],
            },
        )


# "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n" and plain text, tokenised by the
# model's own tokenizer.
def default_prompts(tokenizer):
    questions = [
        "What is the capital of France?",
        "Name three colours of the rainbow.",
        "Write one sentence about the sea.",
        "Why do cats purr?",
        "How do I boil an egg?",
        "Tell me a short story about a dragon.",
    ]
    chats = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in questions]
    texts = chats + ["The history of the bicycle begins", "def fibonacci(n):\n    "]
    return [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def default_model(path):
    from transformers import AutoTokenizer

    folder, file = os.path.split(path)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    prompts = default_prompts(AutoTokenizer.from_pretrained(folder, gguf_file=file))
    cases = []
    for index, prompt in enumerate(prompts):
        logits = model(torch.tensor([prompt])).logits[0]
        columns = torch.arange(COLUMNS) * (logits.shape[1] // COLUMNS) + index
        continuation, logprobs = greedy(model, prompt, NEW_TOKENS)
        cases.append(
            {
                "prompt": prompt,
                "columns": columns.tolist(),
                "logits": rounded(logits[:, columns]),
                "logsumexp": rounded(logits.logsumexp(-1)),
                "argmax": logits.argmax(-1).tolist(),
                "max": rounded(logits.amax(-1)),
                "greedy": continuation,
                "greedy_logprobs": [round(x, 6) for x in logprobs],
            }
        )
        print(f"prompt {index}: {len(prompt)} tokens")
    write(GOLDEN / "default-model.json", {"model": "smollm2-135m-instruct", "cases": cases})


def write(path, value):
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    with torch.no_grad():
        tiny_models()
        if len(sys.argv) > 1:
            default_model(sys.argv[1])
