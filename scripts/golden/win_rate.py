"""Length-controlled win rates by scikit-learn, for test/evaluate/win-rate.test.ts.

    python scripts/golden/win_rate.py

The regression is that of AlpacaEval's glm_winrate.py without the difficulty of instructions:
preferences between 0 and 1 are fitted by giving each row twice, as a win with weight p and as a
loss with weight 1 - p. The penalty is the test's own, L2 with 1 / C = 1e-4.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

GOLDEN = Path(__file__).resolve().parents[2] / "test" / "golden" / "win-rate.json"


def controlled(p, delta):
    x = np.tanh(delta / delta.std(ddof=1))
    design = np.column_stack([np.ones_like(x), x])
    model = LogisticRegression(C=1e4, fit_intercept=False, tol=1e-12, max_iter=10_000)
    model.fit(
        np.vstack([design, design]),
        np.repeat([1, 0], len(p)),
        sample_weight=np.concatenate([p, 1 - p]),
    )
    theta, phi = model.coef_[0]
    return float(theta), float(phi), float(1 / (1 + np.exp(-theta)))


def case(rng, n, theta, phi, kind):
    before = rng.integers(20, 900, n)
    after = before + rng.normal(120, 200, n).round().astype(int)
    after = np.maximum(after, 1)
    delta = (after - before).astype(float)
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(delta / delta.std(ddof=1)))))
    if kind == "soft":
        p = np.clip(chance + rng.normal(0, 0.1, n), 0, 1).round(4)
    else:
        p = (rng.random((2, n)) < chance).mean(axis=0)
    fitted = controlled(p, delta)
    return {
        "preference": p.tolist(),
        "before_length": before.tolist(),
        "after_length": after.tolist(),
        "theta": fitted[0],
        "phi": fitted[1],
        "rate": fitted[2],
    }


def main():
    rng = np.random.default_rng(11)
    cases = [
        case(rng, 40, 0.3, 1.5, "soft"),
        case(rng, 60, -0.5, 2.5, "hard"),
        case(rng, 25, 0.0, 0.0, "hard"),
        case(rng, 80, 1.5, -1.0, "soft"),
    ]
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(one) for one in cases) + "\n]\n")


if __name__ == "__main__":
    main()
