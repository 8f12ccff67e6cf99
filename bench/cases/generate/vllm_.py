"""Sampling through vLLM, all prompts in one call; its prefix cache computes a prompt once for its
samples."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # beside peer.py
from vllm import LLM, SamplingParams

# the libraries come first, then peer, which seeds torch and sets its threads
# isort: split
from peer import in_use, report, seconds, spec

longest = max(map(len, spec["prompts"])) + spec["newTokens"] + 8
llm = LLM(
    model=spec["model"],
    dtype="bfloat16",
    seed=spec["seed"],
    max_model_len=longest,
    max_num_seqs=max(256, spec["samples"] * len(spec["prompts"])),
    skip_tokenizer_init=True,
)


def run(prompts, new_tokens, at_least):
    params = SamplingParams(
        n=spec["samples"],
        temperature=spec["sampling"]["temperature"],
        top_p=spec["sampling"]["topP"],
        max_tokens=new_tokens,
        min_tokens=at_least,
        stop_token_ids=spec["eos"],
        detokenize=False,
        seed=spec["seed"],
    )
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False
    )
    return sum(len(each.token_ids) for output in outputs for each in output.outputs)


few = min(4, spec["newTokens"])
run(spec["prompts"], few, few)
llm.reset_prefix_cache()
time, tokens = seconds(lambda: run(spec["prompts"], spec["newTokens"], spec["minNewTokens"]))
report(seconds=time, tokens=tokens, flops=spec.get("flops"), peakDevice=in_use())
