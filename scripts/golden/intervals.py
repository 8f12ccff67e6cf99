"""Golden values of Wilson intervals, McNemar's exact test and the paired bootstrap from scipy
→ test/golden/intervals.json.

The bootstrap twice: scipy's own resampling, and the distribution that resampling approaches (an
n-fold convolution), whose percentiles are exact.

    python scripts/golden/intervals.py
"""

import json
import pathlib

import numpy as np
import scipy
from scipy.stats import binomtest, bootstrap

wilson = []
for correct, total in [
    (0, 1),
    (1, 1),
    (0, 10),
    (3, 10),
    (10, 10),
    (37, 64),
    (500, 1000),
    (1, 1319),
    (1318, 1319),
]:
    ci = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    wilson.append(
        {"correct": correct, "total": total, "low": float(ci.low), "high": float(ci.high)}
    )

mcnemar = []
for b, c in [(0, 0), (1, 0), (0, 5), (3, 4), (10, 2), (2, 10), (40, 60), (700, 600), (12, 1200)]:
    p = 1.0 if b + c == 0 else float(binomtest(b, b + c, 0.5).pvalue)
    mcnemar.append({"b": b, "c": c, "p": p})


def exact_percentiles(n, b, c):
    one, law = np.array([b, n - b - c, c]) / n, np.array([1.0])
    for _ in range(n):
        law = np.convolve(law, one)
    cumulative = np.cumsum(law)
    return [float((np.searchsorted(cumulative, q) - n) / n) for q in (0.025, 0.975)]


resampled = []
for n, b, c in [
    (10, 1, 3),
    (64, 0, 5),
    (100, 12, 20),
    (500, 40, 61),
    (1000, 150, 151),
    (1319, 3, 90),
]:
    differences = np.array([-1] * b + [1] * c + [0] * (n - b - c))
    ci = bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    low, high = exact_percentiles(n, b, c)
    resampled.append(
        {"n": n, "b": b, "c": c, "scipy": [float(ci.low), float(ci.high)], "exact": [low, high]}
    )

path = pathlib.Path(__file__).resolve().parents[2] / "test" / "golden" / "intervals.json"
path.write_text(
    json.dumps(
        {"scipy": scipy.__version__, "wilson": wilson, "mcnemar": mcnemar, "bootstrap": resampled},
        indent=1,
    )
    + "\n"
)
print(f"{len(wilson)} intervals, {len(mcnemar)} tests, {len(resampled)} bootstraps")
