"""Ten steps of torch.optim.AdamW in fp32, with and without weight decay and gradient clipping
→ test/golden/adamw.json.

    python scripts/golden/adamw.py
"""

import json
import pathlib

import torch

N, STEPS = 37, 10  # not a multiple of 16: the kernel's tail is exercised
CASES = [
    {
        "lr": 1e-2,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
    },
    {
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-6,
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
    },
    {
        "lr": 1e-6,
        "beta1": 0.8,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.01,
        "max_grad_norm": 100.0,
    },
]


def run(case: dict, start: torch.Tensor, gradients: torch.Tensor) -> dict:
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW(
        [parameter],
        lr=case["lr"],
        betas=(case["beta1"], case["beta2"]),
        eps=case["eps"],
        weight_decay=case["weight_decay"],
        foreach=False,
        fused=False,
    )
    norms, values = [], []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        bound = case["max_grad_norm"] or float("inf")
        norms.append(torch.nn.utils.clip_grad_norm_([parameter], bound).item())
        optimizer.step()
        values.append(parameter.detach().tolist())
    return {**case, "norms": norms, "values": values}


generator = torch.Generator().manual_seed(7)
start = torch.randn(N, generator=generator)
gradients = torch.randn(STEPS, N, generator=generator) * torch.logspace(-3, 1, STEPS)[:, None]
golden = {
    "torch": torch.__version__,
    "start": start.tolist(),
    "gradients": gradients.tolist(),
    "cases": [run(case, start, gradients) for case in CASES],
}
path = pathlib.Path(__file__).parents[2] / "test/golden/adamw.json"
path.write_text(json.dumps(golden) + "\n")
