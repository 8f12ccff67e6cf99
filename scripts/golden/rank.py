"""Golden values of rank correlations from scipy, ties and constant sides included → test/golden/rank.json.

    python scripts/golden/rank.py

Rewards are small integers or rounded floats, so that JSON holds them exactly; NaN is written as null.
"""
import json
import math
import pathlib
import random

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
    cases.append({
        "x": x,
        "y": y,
        "kendall": number(stats.kendalltau(x, y).statistic),
        "spearman": number(stats.spearmanr(x, y).statistic),
        "ranks": [int(r) for r in stats.rankdata([-v for v in x], method="ordinal")],
    })

path = pathlib.Path(__file__).resolve().parents[2] / "test" / "golden" / "rank.json"
body = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
path.write_text(f'{{"scipy":"{scipy.__version__}","cases":[\n{body}\n]}}\n')
print(f"{len(cases)} cases, {path.stat().st_size} bytes")
