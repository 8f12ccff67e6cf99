"""Golden values of Wilson intervals, McNemar's exact test, the paired bootstrap and Tango's score
interval from scipy → test/golden/intervals.json.

The bootstrap twice: scipy's own resampling, and the distribution that resampling approaches (an
n-fold convolution), whose percentiles are exact.

    python scripts/golden/intervals.py
"""

import json
import pathlib

import numpy as np
import scipy
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, bootstrap, norm

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


def tango(n, b, c):
    """Inverts the score test, with P(lost) from a numerical maximum of the likelihood."""

    def statistic(delta):
        def loss(q):
            cells = [(b, q), (c, q + delta), (n - b - c, 1 - 2 * q - delta)]
            return -sum(k * np.log(max(p, 1e-300)) for k, p in cells if k > 0)

        least, most = max(0.0, -delta), (1 - delta) / 2
        found = minimize_scalar(
            loss, bounds=(least, most), method="bounded", options={"xatol": 1e-13}
        )
        q = min((least, found.x, most), key=loss)
        return (c - b - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))

    z, edge = norm.ppf(0.975), 1 - 1e-9
    ends = []
    for limit, at_edge in ((z, -1.0), (-z, 1.0)):
        low, high = statistic(-edge) - limit, statistic(edge) - limit
        inside = low * high < 0
        ends.append(
            brentq(lambda d, limit=limit: statistic(d) - limit, -edge, edge) if inside else at_edge
        )
    return [float(end) for end in ends]


# Fagerland, Lydersen and Laake (2014) give −0.517, −0.026 for the first.
score = []
for n, b, c in [(21, 7, 1), (96, 0, 1), (96, 4, 1), (40, 0, 4), (50, 0, 0), (1000, 3, 6)]:
    low, high = tango(n, b, c)
    score.append({"n": n, "b": b, "c": c, "low": low, "high": high})

path = pathlib.Path(__file__).resolve().parents[2] / "test" / "golden" / "intervals.json"
path.write_text(
    json.dumps(
        {
            "scipy": scipy.__version__,
            "wilson": wilson,
            "mcnemar": mcnemar,
            "bootstrap": resampled,
            "score": score,
        },
        indent=1,
    )
    + "\n"
)
counts = [len(values) for values in (wilson, mcnemar, resampled, score)]
print("{} Wilson, {} tests, {} bootstraps, {} scores".format(*counts))
