"""One CREAM iteration as a Python user would write it: generate with θ_t, log-probs under θ_t and
θ_{t-1} (two forward passes, for which the second model is loaded), rankings and pairs, then TRL's
DPO on a fresh copy of θ_t with precomputed reference log-probs, and a save. The clock starts when
the libraries are imported."""

import os
import sys
import time
from pathlib import Path

# peer.py is beside this folder; this file's own name must not hide the library
sys.path[0] = str(Path(__file__).parents[1])
from transformers import AutoTokenizer

# the libraries come first, then peer, which seeds torch and sets its threads
# isort: split
from peer import completion_logprobs, load, report, sample, seconds, spec
from peer_dpo import trainer


def rank(rewards):
    order = sorted(range(len(rewards)), key=lambda i: -rewards[i])
    ranks = [0] * len(rewards)
    for place, i in enumerate(order):
        ranks[i] = place
    return ranks


def kendall(a, b):
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    return sum(1 if (a[i] - a[j]) * (b[i] - b[j]) > 0 else -1 for i, j in pairs) / len(pairs)


def pairs_of(groups, current, previous):
    made, consistencies = [], []
    for g, (prompt, completions) in enumerate(groups):
        mine = slice(g * len(completions), (g + 1) * len(completions))
        now = rank([c - p for c, p in zip(current[mine], previous[mine], strict=True)])
        before = rank(
            [p / len(tokens) for p, tokens in zip(previous[mine], completions, strict=True)]
        )
        consistencies.append((kendall(now, before) + 1) / 2)
        made.append(
            dict(
                prompt=prompt,
                chosen=completions[now.index(0)],
                rejected=completions[now.index(len(now) - 1)],
            )
        )
    return made, sum(consistencies) / len(consistencies)


began = time.perf_counter()
work = os.path.dirname(spec["model"])
tokenizer = AutoTokenizer.from_pretrained(spec["model"])
prompts = [
    tokenizer.apply_chat_template(p["prompt"], add_generation_prompt=True, return_dict=False)
    for p in spec["prompts"]
]
model = load()
sampling, completions = seconds(
    lambda: sample(model, prompts, spec["newTokens"], spec["minNewTokens"], shared=True)
)
groups = list(zip(prompts, completions, strict=True))
scoring_began = time.perf_counter()
current = completion_logprobs(model, groups)
model = None  # frees its memory before the next one is loaded
model = load()
previous = completion_logprobs(model, groups)
model = None
scoring = time.perf_counter() - scoring_began
training_began = time.perf_counter()
pairs, consistency = pairs_of(groups, current, previous)
dpo, _ = trainer(pairs, load().train(), work, spec["batch"], autocast=False)
dpo.train()
dpo.model.generation_config.do_sample = True  # a temperature without sampling is refused
dpo.save_model(os.path.join(work, "trl-model"))
ended = time.perf_counter()
report(
    seconds=ended - began,
    tokens=sum(len(row) for rows in completions for row in rows),
    flops=spec["flops"],
    sampleSeconds=sampling,
    scoreSeconds=scoring,
    trainSeconds=ended - training_began,
)
