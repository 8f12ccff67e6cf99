"""Sampling through transformers' generate(), bf16, dynamic cache, sdpa."""

import sys
from pathlib import Path

# peer.py is beside this folder; this file's own name must not hide the library
sys.path[0] = str(Path(__file__).parents[1])
from peer import in_use, load, report, sample, seconds, setting, spec

model = load()
shared = bool(setting.get("shared"))
few = min(4, spec["newTokens"])
sample(model, spec["prompts"][: spec["batchPrompts"]], few, few, shared)
time, completions = seconds(
    lambda: sample(model, spec["prompts"], spec["newTokens"], spec["minNewTokens"], shared)
)
report(
    seconds=time,
    tokens=sum(len(row) for rows in completions for row in rows),
    flops=spec.get("flops"),
    peakDevice=in_use(),
)
