"""Golden values of rank correlations from scipy, ties and constant sides included, and of what
CREAM makes of them → test/golden/rank.json.

    python scripts/golden/rank.py

`top_order` and the pair are numpy's argmax and argmin, the first of equals. `sets` are some prompts
each, with the weights that `avg` and `dyn` give the pairs by every method: the mean over the
prompts that make one, or each its own.

Rewards are small integers or rounded floats, so that JSON holds them exactly; NaN is written as
null.
"""

import json
import math
import pathlib
import random

import numpy
import scipy
from scipy import stats

rng = random.Random(20241012)


def values(n: int, kind: str) -> list[float]:
    if kind == "constant":
        return [rng.randint(-3, 3)] * n
    if kind == "tied":
        return [rng.randint(-2, 2) for _ in range(n)]
    if kind == "few_ties":
        return [rng.randint(-n, n) for _ in range(n)]
    return [round(rng.gauss(-40, 15), 4) for _ in range(n)]


def number(x: float) -> float | None:
    return None if math.isnan(x) else float(x)


cases = []
for i in range(320):
    n = rng.choice([2, 3, 4, 5, 5, 5, 8, 16, 33])
    kinds = ["continuous", "tied", "few_ties", "continuous" if i % 8 else "constant"]
    x, y = values(n, rng.choice(kinds)), values(n, rng.choice(kinds))
    if i % 20 == 0:
        y = list(x)
    if i % 20 == 1:
        y = [-v for v in x]
    cases.append(
        {
            "x": x,
            "y": y,
            "kendall": number(stats.kendalltau(x, y).statistic),
            "spearman": number(stats.spearmanr(x, y).statistic),
            "ranks": [int(r) for r in stats.rankdata([-v for v in x], method="ordinal")],
            "best": int(numpy.argmax(x)),
            "worst": int(numpy.argmin(x)),
            "top_order": int(
                numpy.argmax(x) == numpy.argmax(y) and numpy.argmin(x) == numpy.argmin(y)
            ),
        }
    )


def consistency(case: dict, method: str) -> float:
    if method == "top_order":
        return float(case["top_order"])
    value = case[method]
    if value is None:  # a constant side: both constant agree, one says nothing
        value = 1.0 if len(set(case["x"])) == len(set(case["y"])) == 1 else 0.0
    return (value + 1) / 2


def weights(kept: list[dict], method: str) -> dict:
    own = [consistency(c, method) for c in kept]
    return {"avg": float(numpy.mean(own)), "dyn": own}


sets, at = [], 0
while at < len(cases):
    size = rng.choice([1, 2, 5, 9])
    members = list(range(at, min(at + size, len(cases))))
    at += size
    kept = [i for i in members if len(set(cases[i]["x"])) > 1]
    if kept:
        sets.append(
            {
                "cases": members,
                "kept": kept,
                **{
                    m: weights([cases[i] for i in kept], m)
                    for m in ("kendall", "spearman", "top_order")
                },
            }
        )

path = pathlib.Path(__file__).resolve().parents[2] / "test" / "golden" / "rank.json"
body = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
of_sets = ",\n".join(json.dumps(s, separators=(",", ":")) for s in sets)
path.write_text(f'{{"scipy":"{scipy.__version__}","cases":[\n{body}\n],"sets":[\n{of_sets}\n]}}\n')
print(f"{len(cases)} cases, {len(sets)} sets, {path.stat().st_size} bytes")
