"""TRL's own DPO losses on given log-probs → test/golden/loss.json.

    python scripts/golden/loss.py

C = 1 is `sigmoid`. C < 1 is `aot` with label_smoothing = 1 - C, fed one pair at a time so that its
sort does nothing. The losses are computed by DPOTrainer._compute_loss itself: the model is replaced
by one that returns the given log-probs.
"""

import json
import pathlib
import random
from collections import defaultdict
from types import SimpleNamespace

import torch
import trl
from trl.trainer.dpo_trainer import DPOTrainer

rng = random.Random(20241012)


def trl_loss(
    chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, beta: float, c: float
) -> tuple[float, float]:
    """Loss and d loss / d log p(chosen). One row a completion, one prompt token, one completion
    token."""
    logps = torch.tensor([[chosen], [rejected]], dtype=torch.float64, requires_grad=True)
    zeros = torch.zeros(2, 1)
    outputs = SimpleNamespace(
        log_probs=logps, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), loss=None
    )

    def same(x):  # one process: gathering is the identity
        return x

    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid" if c == 1 else "aot"],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=1 - c,
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        accelerator=SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same),
    )
    inputs = {
        "input_ids": torch.zeros(2, 2, dtype=torch.long),
        "attention_mask": torch.ones(2, 2, dtype=torch.long),
        "completion_mask": torch.tensor([[0, 1], [0, 1]]),
        "ref_chosen_logps": torch.tensor([ref_chosen], dtype=torch.float64),
        "ref_rejected_logps": torch.tensor([ref_rejected], dtype=torch.float64),
    }
    loss = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    loss.backward()
    return loss.item(), logps.grad[0, 0].item()


rows = []
for c in (1.0, 0.9, 0.5, 0.1, 0.0):
    for beta in (0.1, 0.5):
        for spread in (0.0, 1.0, 40.0):
            reference = [round(rng.gauss(-60, 20), 4) for _ in range(2)]
            policy = [round(r + rng.gauss(0, spread), 4) for r in reference]
            loss, gradient = trl_loss(*policy, *reference, beta, c)
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
path = pathlib.Path(__file__).parents[2] / "test/golden/loss.json"
path.write_text(json.dumps({"trl": trl.__version__, "rows": rows}, indent=1) + "\n")
