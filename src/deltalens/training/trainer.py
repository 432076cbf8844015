"""transformers' Trainer, kept to itself: our loss, our order of rows, our files to go on from.

Needs transformers when it is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deltalens._extras import require
from deltalens.core.shapes import Array, Int
from deltalens.training.answers import Example
from deltalens.training.lora import WEIGHTS, adapter_state, set_adapter_state, write_tensors
from deltalens.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from transformers import Trainer
else:
    Trainer = require("transformers", extra="models", purpose="training").Trainer

_UNLEARNT = -100


class AdapterTrainer(Trainer):
    """A Trainer whose checkpoints hold an adapter's tensors, and neither pickles nor cards of it.

    The optimiser's, the schedule's and the generators' states are the Trainer's own files; they
    are read with torch's reader that opens tensors and plain values only.
    """

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        folder = Path(str(output_dir or self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(adapter_state(self.model), folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        set_adapter_state(model or self.model, Path(resume_from_checkpoint) / WEIGHTS)


class Ordered:
    """Rows in the order in which they are learnt, as a data set of torch."""

    def __init__(self, examples: Sequence[Example], order: Int[Array, " drawn"]) -> None:
        self._examples, self._order = examples, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Example:
        return self._examples[self._order[index]]


def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Rows as one batch, padded on the right with id 0, which the mask and the labels hide."""
    import torch

    width = max(len(example.ids) for example in examples)
    ids = np.zeros((len(examples), width), dtype=np.int64)
    mask, labels = np.zeros_like(ids), np.full_like(ids, _UNLEARNT)
    for row, (tokens, learnt) in enumerate(examples):
        n = len(tokens)
        ids[row, :n], mask[row, :n] = tokens, 1
        labels[row, :n] = np.where(learnt, tokens, _UNLEARNT)
    named = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in named.items()}


def answer_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy of the learnt tokens in nats, over their number in the whole step."""
    from torch.nn.functional import cross_entropy

    following = labels[:, 1:]
    learnt = following != _UNLEARNT
    logits = outputs.logits[:, :-1][learnt].float()
    total = cross_entropy(logits, following[learnt], reduction="sum")
    return total / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)


def arguments(
    settings: TrainSettings, folder: Path, *, steps: int, save_every: int, device: str
) -> Any:
    """What the Trainer is told: no tracker, no bars, every step logged, NaN not filtered."""
    transformers = require("transformers", extra="models", purpose="training")
    on_cpu = device == "cpu"
    made = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        max_steps=steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch",
        seed=settings.init_seed,
        train_sampling_strategy="sequential",
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=not on_cpu,
        use_cpu=on_cpu,
        bf16=settings.dtype == "bfloat16" and not on_cpu,
    )
    # One device, whatever else the machine has: replicas would change what a step is.
    made._n_gpu = min(made.n_gpu, 1)
    return made
