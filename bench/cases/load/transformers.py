"""from_pretrained of a safetensors folder, and until the first logits are there. The libraries are
imported before."""

import sys
from pathlib import Path

# beside peer.py; this file's own name must not hide the library
sys.path[0] = str(Path(__file__).parents[1])
import torch

# the model's module, which from_pretrained would import otherwise
from transformers import LlamaForCausalLM  # noqa: F401

# the libraries first, then peer, which seeds torch and sets its threads
# isort: split
from peer import device, load, report, seconds, spec

time, model = seconds(load)
with torch.inference_mode():
    first, _ = seconds(
        lambda: model(torch.tensor([spec["prompt"]], device=device), use_cache=False)
    )
report(seconds=time, tokens=0, readySeconds=time + first)
