"""Golden values of LoRA adapters from PEFT, in fp32, for test/engine/lora.test.ts, and PEFT's
judgement of an adapter that we saved.

    python scripts/golden/lora.py
    python scripts/golden/lora.py check ADAPTER BASE TOKENS LOGITS

The first writes test/golden/lora/: a random adapter on test/golden/tiny-gqa-untied with its logits,
the gradients of its A and B under a mean NLL, the same adapter after AdamW steps, and the logits of
the merged model; and a rank-stabilised one on some modules. The second loads ADAPTER on BASE and
compares its logits for TOKENS (a JSON list) with LOGITS (a JSON list, row-major): it prints the
largest difference, and fails above 1e-4.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "golden"
BASE = GOLDEN / "tiny-gqa-untied"
STEPS, RATE, DECAY = 3, 1e-2, 0.01
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "all": dict(r=4, lora_alpha=8, target_modules=ALL),
    "rslora": dict(
        r=3, lora_alpha=5, use_rslora=True, target_modules=["k_proj", "up_proj", "o_proj"]
    ),
}


def rounded(tensor, digits=5):
    return [float(f"{float(x):.{digits}g}") for x in tensor.flatten()]


def base_model():
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()


def short(name):
    """The engine's name of a PEFT parameter."""
    return (
        name.removeprefix("base_model.model.model.").replace(".default", "").removesuffix(".weight")
    )


def loss_of(model, prompt, completion):
    """Mean NLL of the completion's tokens."""
    ids = torch.tensor([prompt + completion])
    logprobs = model(ids).logits[0].log_softmax(-1)
    rows = torch.arange(len(prompt) - 1, ids.shape[1] - 1)
    return -logprobs[rows, ids[0, len(prompt) :]].mean()


def adapter(name, options, index):
    torch.manual_seed(100 + index)
    model = get_peft_model(
        base_model(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **options)
    ).eval()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    for _, parameter in trained:  # B away from 0, so that a wrong scale shows
        parameter.data.normal_(0, 0.15)
    folder = GOLDEN / "lora" / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "../../tiny-gqa-untied"
    config["target_modules"] = sorted(
        config["target_modules"]
    )  # a set: its order changes from run to run
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    tokens = torch.randint(3, 64, (24,)).tolist()
    prompt, completion = tokens[:9], tokens[9:20]
    logits = model(torch.tensor([tokens])).logits[0].detach()
    loss = loss_of(model, prompt, completion)
    loss.backward()
    some = [
        (n, p) for n, p in trained if ".layers.1." in n or "q_proj" in n
    ]  # the files stay small; the losses see the rest
    gradients = {short(n): rounded(p.grad) for n, p in some}
    optimizer = torch.optim.AdamW([p for _, p in trained], lr=RATE, weight_decay=DECAY)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        step_loss = loss_of(model, prompt, completion)
        step_loss.backward()
        optimizer.step()
        losses.append(round(float(step_loss), 6))
    stepped = {short(n): rounded(p.data) for n, p in some}

    merged = PeftModel.from_pretrained(base_model(), folder).merge_and_unload()
    with torch.no_grad():
        merged_logits = merged(torch.tensor([tokens])).logits[0]
    write(
        folder / "expected.json",
        {
            "tokens": tokens,
            "logits": rounded(logits, 6),
            "merged": rounded(merged_logits, 6),
            "prompt": prompt,
            "completion": completion,
            "loss": round(float(loss), 6),
            "gradients": gradients,
            "learning_rate": RATE,
            "weight_decay": DECAY,
            "losses": losses,
            "stepped": stepped,
        },
    )


def write(path, value):
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def check(folder, base, tokens, logits):
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder
    ).eval()
    unset = [
        k
        for k, v in load_file(Path(folder) / "adapter_model.safetensors").items()
        if not torch.isfinite(v).all()
    ]
    with torch.no_grad():
        theirs = model(torch.tensor([json.loads(tokens)])).logits[0].flatten()
    difference = float((theirs - torch.tensor(json.loads(logits))).abs().max())
    print(
        json.dumps({"difference": difference, "active": model.active_adapter, "not_finite": unset})
    )
    return difference <= 1e-4 and not unset


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        sys.exit(0 if check(*sys.argv[2:6]) else 1)
    for index, (name, options) in enumerate(ADAPTERS.items()):
        adapter(name, options, index)
