"""Shared by the Python trials: the specification, peak memory, the output line, and the fastest use
of transformers that we know."""

import json
import os
import resource
import sys
import time

import torch

with open(sys.argv[1]) as file:
    spec = json.load(file)
setting = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
torch.set_num_threads(spec["threads"])
device = torch.device(spec["device"])
torch.manual_seed(spec["seed"])


def peak_rss():
    """Peak resident set of this process in bytes, measured as in the Node trials."""
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_use():
    """Bytes of the device in use by the driver's count, as in the Node trials; None on the CPU."""
    if device.type == "cpu":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def synchronize():
    if device.type != "cpu":
        torch.cuda.synchronize(device)


def report(**result):
    known = {name: value for name, value in result.items() if value is not None}
    print("\n" + json.dumps({**known, "peakRss": peak_rss()}), flush=True)


def seconds(work):
    synchronize()
    began = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - began, result


def load(dtype=torch.bfloat16):
    from transformers import AutoModelForCausalLM

    return (
        AutoModelForCausalLM.from_pretrained(spec["model"], dtype=dtype, attn_implementation="sdpa")
        .to(device)
        .eval()
    )


def pad_left(sequences):
    """Ids and attention mask, [rows, longest]."""
    longest = max(map(len, sequences))
    pad = spec["eos"][0]
    ids = torch.tensor([[pad] * (longest - len(s)) + list(s) for s in sequences])
    mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences])
    return ids.to(device), mask.to(device)


@torch.inference_mode()
def sample(model, prompts, new_tokens, min_new_tokens, shared):
    """`samples` completions of each prompt, in batches of prompts of similar length. With `shared`,
    a prompt's keys and values are computed once and repeated for its samples, which generate()
    itself does not do. Returns completions by prompt, including the end of sequence."""
    from transformers import DynamicCache

    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    completions = [None] * len(prompts)
    for start in range(0, len(order), spec["batchPrompts"]):
        batch = order[start : start + spec["batchPrompts"]]
        ids, mask = pad_left([prompts[i] for i in batch])
        options = dict(
            do_sample=True,
            temperature=spec["sampling"]["temperature"],
            top_p=spec["sampling"]["topP"],
            top_k=0,
            eos_token_id=spec["eos"],
            pad_token_id=spec["eos"][0],
            max_new_tokens=new_tokens,
            min_new_tokens=min_new_tokens,
        )
        if shared:
            cache = DynamicCache(config=model.config)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            model(
                input_ids=ids[:, :-1],
                attention_mask=mask[:, :-1],
                position_ids=positions[:, :-1],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache.batch_repeat_interleave(spec["samples"])
            out = model.generate(
                ids.repeat_interleave(spec["samples"], 0),
                attention_mask=mask.repeat_interleave(spec["samples"], 0),
                past_key_values=cache,
                **options,
            )
        else:
            out = model.generate(
                ids, attention_mask=mask, num_return_sequences=spec["samples"], **options
            )
        rows = [ended(row) for row in out[:, ids.shape[1] :].tolist()]
        for k, i in enumerate(batch):
            completions[i] = rows[k * spec["samples"] : (k + 1) * spec["samples"]]
    return completions


def ended(row):
    """A row up to and including its first end-of-sequence token."""
    for i, token in enumerate(row):
        if token in spec["eos"]:
            return row[: i + 1]
    return row


@torch.inference_mode()
def completion_logprobs(model, groups, batch=8):
    """Summed log-probs in the order of groups and their completions. Rows of similar length are
    computed together, and logits only at completion positions."""
    rows = [(prompt, completion) for prompt, completions in groups for completion in completions]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    sums = [0.0] * len(rows)
    for start in range(0, len(order), batch):
        taken = order[start : start + batch]
        ids, mask = pad_left([list(rows[i][0]) + list(rows[i][1]) for i in taken])
        longest = max(len(rows[i][1]) for i in taken)
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=longest + 1,
        ).logits
        targets = ids[:, -longest:]
        for row, i in enumerate(taken):
            length = len(rows[i][1])
            of = logits[row, longest - length : longest].float()
            sums[i] = (
                (
                    of.gather(1, targets[row, longest - length :].unsqueeze(1)).squeeze(1)
                    - of.logsumexp(1)
                )
                .sum()
                .item()
            )
    return sums
