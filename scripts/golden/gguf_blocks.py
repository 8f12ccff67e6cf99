"""Writes test/golden/gguf_blocks.json: blocks of every GGUF element type that the engine reads, and
the floats that the gguf package makes of them. Bytes come from a fixed generator, so the file only
changes when the oracle does.

    python scripts/golden/gguf_blocks.py        # needs: pip install gguf
"""

import json
import pathlib

import numpy as np
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as T
from gguf.quants import dequantize

BLOCKS = 3
# Where each layout keeps its fp16 scales: random exponents would give infinities, which no real
# file holds.
HALVES = {
    T.F16: [0],
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
}
PLAIN = {T.F32, T.F16, T.BF16}


def blocks(kind: T, rng: np.random.Generator) -> np.ndarray:
    """[blocks, bytes] of uint8."""
    count = 16 if kind in PLAIN else BLOCKS
    if kind in (T.F32, T.BF16):
        values = rng.normal(0, 0.1, count).astype(np.float32)
        raw = values.view(np.uint8).reshape(count, 4)
        return raw if kind == T.F32 else np.ascontiguousarray(raw[:, 2:])
    raw = rng.integers(0, 256, (count, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for at in HALVES[kind]:
        raw[:, at : at + 2] = (
            rng.normal(0, 0.05, count).astype(np.float16).view(np.uint8).reshape(count, 2)
        )
    return raw


def shortest(value: np.float32) -> float:
    """A double whose JSON text is short and which rounds back to `value`."""
    short = float(str(value))
    assert np.float32(short) == value
    return short


def main() -> None:
    rng = np.random.default_rng(135)
    golden = {}
    for name in sorted({kind.name for kind in [*PLAIN, *HALVES]}):
        raw = blocks(T[name], rng)
        floats = dequantize(raw, T[name]).astype(np.float32).ravel()
        assert np.isfinite(floats).all()
        golden[name] = {"hex": raw.tobytes().hex(), "floats": [shortest(value) for value in floats]}
    path = pathlib.Path(__file__).parents[2] / "test" / "golden" / "gguf_blocks.json"
    path.write_text(json.dumps(golden, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
