"""TRL's own preference losses on given log-probs → test/golden/loss.json.

    python scripts/golden/loss.py

`rows` are of DPO: C = 1 is `sigmoid`, C < 1 is `aot` with label_smoothing = 1 - C, fed one pair at
a time so that its sort does nothing. `losses` are of the others, regularised as this engine defines
it: C times TRL's loss, and 1 - C times TRL's loss with the roles of the two completions swapped.
The losses are computed by DPOTrainer._compute_loss (ipo, robust), KTOTrainer._compute_loss and
CPOTrainer.cpo_loss (simpo) themselves: the model is replaced by one that returns the given
log-probs.
"""

import json
import pathlib
import random
from collections import defaultdict
from types import SimpleNamespace

import torch
import trl
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

rng = random.Random(20241012)


def same(x):  # one process: gathering is the identity
    return x


ACCELERATOR = SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same)


def batch_of(logps, tokens):
    """A batch of completions behind one prompt token, and the model's outputs for it. The first
    token of a completion has its whole log-prob; the others have 0."""
    count, length = len(logps), max(tokens)
    per_token = torch.zeros(count, length, dtype=torch.float64)
    for i, logp in enumerate(logps):
        per_token[i, 0] = logp
    per_token.requires_grad_()
    mask = torch.tensor([[0] + [1] * n + [0] * (length - n) for n in tokens])
    zeros = torch.zeros(count, length)
    outputs = SimpleNamespace(
        log_probs=per_token, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), loss=None
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
    }
    return per_token, outputs, inputs


def result_of(loss, per_token, metrics):
    loss.backward()
    rewards = [metrics["train"][f"rewards/{side}"][0] for side in ("chosen", "rejected")]
    return [loss.item(), per_token.grad[0, 0].item(), per_token.grad[1, 0].item(), *rewards]


def dpo_trainer(kind, case, tokens=(1, 1)):
    """[loss, d loss / d log p(chosen), d loss / d log p(rejected), both rewards]"""
    per_token, outputs, inputs = batch_of(case["logps"], tokens)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=case["beta"],
        label_smoothing=case["label_smoothing"],
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        accelerator=ACCELERATOR,
    )
    for side, reference in zip(("chosen", "rejected"), case["references"], strict=True):
        inputs[f"ref_{side}_logps"] = torch.tensor([reference], dtype=torch.float64)
    loss = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    return result_of(loss, per_token, trainer._metrics)


def kto_trainer(case, tokens):
    """As dpo_trainer; `kl` is what the mismatched completions give."""
    per_token, outputs, inputs = batch_of(case["logps"], tokens)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        calculate_KL=True,
        loss_type="kto",
        beta=case["beta"],
        desirable_weight=1.0,
        undesirable_weight=1.0,
        _compute_kl_logps=lambda *_: torch.tensor([case["kl"], case["kl"]], dtype=torch.float64),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        accelerator=ACCELERATOR,
    )
    inputs |= {
        "label": torch.tensor([True, False]),
        "ref_logps": torch.tensor(case["references"], dtype=torch.float64),
        "ref_KL_logps": torch.zeros(2, dtype=torch.float64),
    }
    loss = KTOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    return result_of(loss, per_token, trainer._metrics)


def cpo_trainer(case, tokens):
    """As dpo_trainer, for SimPO. CPOTrainer averages the log-probs before it calls cpo_loss."""
    logps = torch.tensor(case["logps"], dtype=torch.float64, requires_grad=True)
    means = logps / torch.tensor(tokens)
    trainer = SimpleNamespace(
        alpha=0.0,
        loss_type="simpo",
        simpo_gamma=case["simpo_gamma"],
        beta=case["beta"],
        label_smoothing=0.0,
        accelerator=ACCELERATOR,
    )
    losses, chosen, rejected = CPOTrainer.cpo_loss(trainer, means[:1], means[1:])
    losses.mean().backward()
    return [losses.mean().item(), *logps.grad.tolist(), chosen.item(), rejected.item()]


def weighted(name, case, tokens, c):
    """C · TRL's loss + (1 - C) · TRL's loss of the swapped pair, and its derivatives."""
    compute = {
        "ipo": lambda *a: dpo_trainer("ipo", *a),
        "robust": lambda *a: dpo_trainer("robust", *a),
        "kto": kto_trainer,
        "simpo": cpo_trainer,
    }[name]
    swapped = {**case, "logps": case["logps"][::-1], "references": case["references"][::-1]}
    forward, reverse = compute(case, tokens), compute(swapped, tokens[::-1])
    return {
        "name": name,
        "logp_chosen": case["logps"][0],
        "logp_rejected": case["logps"][1],
        "reference_chosen": case["references"][0],
        "reference_rejected": case["references"][1],
        "tokens_chosen": tokens[0],
        "tokens_rejected": tokens[1],
        **{key: case[key] for key in ("beta", "simpo_gamma", "label_smoothing", "kl")},
        "consistency": c,
        "loss": c * forward[0] + (1 - c) * reverse[0],
        "dlogp_chosen": c * forward[1] + (1 - c) * reverse[2],
        "dlogp_rejected": c * forward[2] + (1 - c) * reverse[1],
        "reward_chosen": forward[3],
        "reward_rejected": forward[4],
    }


def drawn(spread):
    reference = [round(rng.gauss(-60, 20), 4) for _ in range(2)]
    return [round(r + rng.gauss(0, spread), 4) for r in reference], reference


rows = []
for c in (1.0, 0.9, 0.5, 0.1, 0.0):
    for beta in (0.1, 0.5):
        for spread in (0.0, 1.0, 40.0):
            policy, reference = drawn(spread)
            case = {"logps": policy, "references": reference, "beta": beta}
            case["label_smoothing"] = 1 - c
            loss, gradient, *_ = dpo_trainer("sigmoid" if c == 1 else "aot", case)
            rows.append(
                {
                    "logp_chosen": policy[0],
                    "logp_rejected": policy[1],
                    "reference_chosen": reference[0],
                    "reference_rejected": reference[1],
                    "beta": beta,
                    "consistency": c,
                    "loss": loss,
                    "dlogp_chosen": gradient,
                }
            )
losses = []
for name in ("ipo", "simpo", "kto", "robust"):
    for c in (1.0, 0.8, 0.5, 0.1):
        for beta, spread in ((0.1, 1.0), (0.5, 10.0), (2.0, 3.0)):
            policy, reference = drawn(spread)
            case = {
                "logps": policy,
                "references": reference,
                "beta": beta,
                "simpo_gamma": rng.choice((0.0, 0.5, 1.6)),
                "label_smoothing": rng.choice((0.0, 0.1, 0.3)),
                "kl": rng.choice((0.0, 0.4, 2.5)),
            }
            tokens = [rng.randint(1, 40) for _ in range(2)]
            losses.append(weighted(name, case, tokens, c))
path = pathlib.Path(__file__).parents[2] / "test/golden/loss.json"
text = json.dumps({"trl": trl.__version__, "rows": rows, "losses": losses}, indent=1)
path.write_text(text + "\n")
