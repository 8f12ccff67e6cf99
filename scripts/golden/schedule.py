"""Learning rates of transformers' schedules with warm-up
→ test/golden/schedule.json.

    python scripts/golden/schedule.py
"""

import json
import pathlib

import torch
import transformers

LR = 3e-6
CASES = [
    ("constant", 0, 5),
    ("constant", 3, 8),
    ("linear", 0, 7),
    ("linear", 4, 20),
    ("cosine", 0, 9),
    ("cosine", 2, 20),
    ("cosine", 1, 1),
    ("linear", 5, 5),
]


def rates(name: str, warmup: int, total: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    make = getattr(transformers, f"get_{name}_schedule_with_warmup")
    scheduler = make(optimizer, warmup) if name == "constant" else make(optimizer, warmup, total)
    seen = []
    for _ in range(total):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


golden = {
    "transformers": transformers.__version__,
    "learning_rate": LR,
    "cases": [
        {"schedule": n, "warmup_steps": w, "total_steps": t, "rates": rates(n, w, t)}
        for n, w, t in CASES
    ],
}
path = pathlib.Path(__file__).parents[2] / "test/golden/schedule.json"
path.write_text(json.dumps(golden) + "\n")
