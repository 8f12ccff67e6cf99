"""TRL's DPOTrainer on pairs of token ids with the fastest settings: precomputed reference
log-probs, no gradient checkpointing, no logging in the measured steps. TRL 1.16 itself switches
padding_free off."""

import os
import time

import torch
from datasets import Dataset
from peer import device, setting, spec, synchronize
from transformers import AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

# pairs of one forward pass: on a CPU 4 need less padding than 8, at the same speed per token
PER_DEVICE = 4 if device.type == "cpu" else 8


class StepTimes(TrainerCallback):
    """Records when each optimizer step began and ended."""

    def __init__(self):
        self.began, self.ended = [], []

    def on_step_begin(self, *_, **__):
        if len(self.began) in (0, spec.get("warmUpSteps")):
            synchronize()  # not at every step: kernels may run while the next batch is made
        self.began.append(time.perf_counter())

    def on_step_end(self, _, state, *__, **___):
        if state.global_step == state.max_steps:
            synchronize()
        self.ended.append(time.perf_counter())


class TokenDPOTrainer(DPOTrainer):
    """Takes prompt_ids, chosen_ids and rejected_ids unchanged, and reference log-probs if the data
    contain them."""

    def _prepare_dataset(self, dataset, *_, **__):
        return dataset

    def _precompute_ref_logps(self, dataset, name, batch_size):
        return (
            dataset
            if "ref_chosen_logps" in dataset.column_names
            else super()._precompute_ref_logps(dataset, name, batch_size)
        )


def trainer(pairs, model, work, batch, autocast):
    """Trains on `pairs` in their order, one epoch of `batch` pairs per step. Pure bf16 has bf16
    optimizer states and no masters; with `autocast` the weights are fp32 and the products bf16, as
    in cream's step."""
    columns = dict(
        prompt_ids="prompt",
        chosen_ids="chosen",
        rejected_ids="rejected",
        ref_chosen_logps="referenceChosen",
        ref_rejected_logps="referenceRejected",
    )
    data = Dataset.from_list(
        [{column: pair[name] for column, name in columns.items() if name in pair} for pair in pairs]
    )
    per_device = min(PER_DEVICE, batch)
    config = DPOConfig(
        output_dir=os.path.join(work, "trl"),
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=batch // per_device,
        num_train_epochs=1,
        learning_rate=spec["learningRate"],
        beta=spec["beta"],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        weight_decay=0.01,
        max_length=None,
        bf16=autocast,
        use_cpu=device.type == "cpu",
        gradient_checkpointing=False,
        precompute_ref_log_probs=True,
        train_sampling_strategy="sequential",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=spec["seed"],
    )
    times = StepTimes()
    made = TokenDPOTrainer(
        model=model,
        args=config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        callbacks=[times],
    )
    return made, times


def dtype():
    return torch.float32 if setting.get("autocast") else torch.bfloat16
