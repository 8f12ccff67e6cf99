"""Log-probs of completions by transformers' forward pass, bf16, sdpa."""

import sys
from pathlib import Path

# beside peer.py; this file's own name must not hide the library
sys.path[0] = str(Path(__file__).parents[1])
from peer import completion_logprobs, in_use, load, report, seconds, spec

model = load()
groups = [(group["prompt"], group["completions"]) for group in spec["groups"]]
completion_logprobs(model, groups[:2], spec["batch"])
time, sums = seconds(lambda: completion_logprobs(model, groups, spec["batch"]))
report(
    seconds=time,
    tokens=spec["tokens"],
    flops=spec["flops"],
    check=sum(sums) / len(sums),
    peakDevice=in_use(),
)
