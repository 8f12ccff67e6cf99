"""from_pretrained of a safetensors folder, up to the first logits. The libraries are imported
before."""

import sys
from pathlib import Path

# peer.py is beside this folder; this file's own name must not hide the library
sys.path[0] = str(Path(__file__).parents[1])
import torch

# from_pretrained would otherwise import the model's module
from transformers import LlamaForCausalLM  # noqa: F401

# the libraries come first, then peer, which seeds torch and sets its threads
# isort: split
from peer import device, load, report, seconds, spec

time, model = seconds(load)
with torch.inference_mode():
    first, _ = seconds(
        lambda: model(torch.tensor([spec["prompt"]], device=device), use_cache=False)
    )
report(seconds=time, tokens=0, readySeconds=time + first)
