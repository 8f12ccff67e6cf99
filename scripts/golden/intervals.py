"""Golden values of Wilson intervals and McNemar's exact test from scipy → test/golden/intervals.json.

    python scripts/golden/intervals.py
"""
import json
import pathlib

import scipy
from scipy.stats import binomtest

wilson = []
for correct, total in [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (37, 64), (500, 1000), (1, 1319), (1318, 1319)]:
    ci = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    wilson.append({"correct": correct, "total": total, "low": float(ci.low), "high": float(ci.high)})

mcnemar = []
for b, c in [(0, 0), (1, 0), (0, 5), (3, 4), (10, 2), (2, 10), (40, 60), (700, 600), (12, 1200)]:
    p = 1.0 if b + c == 0 else float(binomtest(b, b + c, 0.5).pvalue)
    mcnemar.append({"b": b, "c": c, "p": p})

path = pathlib.Path(__file__).resolve().parents[2] / "test" / "golden" / "intervals.json"
path.write_text(json.dumps({"scipy": scipy.__version__, "wilson": wilson, "mcnemar": mcnemar}, indent=1) + "\n")
print(f"{len(wilson)} intervals, {len(mcnemar)} tests")
