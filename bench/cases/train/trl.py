"""DPO steps through TRL's DPOTrainer on the same batches in the same order; the time from the first
measured step to the end of the last."""

import os
import sys
from pathlib import Path

# peer.py is beside this folder; this file's own name must not hide the library
sys.path[0] = str(Path(__file__).parents[1])
from peer import in_use, load, report, setting, spec
from peer_dpo import dtype, trainer

dpo, times = trainer(
    spec["pairs"],
    load(dtype()).train(),
    os.path.dirname(spec["model"]),
    spec["batch"],
    bool(setting.get("autocast")),
)
result = dpo.train()
report(
    seconds=times.ended[-1] - times.began[spec["warmUpSteps"]],
    tokens=spec["tokens"],
    flops=spec["flops"],
    check=result.training_loss,
    peakDevice=in_use(),
)
