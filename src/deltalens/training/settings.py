"""What decides the weights of a fine-tune."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from deltalens.core.shapes import Array, Int
from deltalens.errors import OptionError
from deltalens.organisms.base import PROJECTIONS
from deltalens.organisms.files import sha256_json

RECIPE: Final = 1
"""Raised when training changes in a way that the settings do not show."""

DTYPES: Final = ("float32", "bfloat16")
ALL_LINEAR: Final = "all-linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """A fine-tune; the defaults are those of the published organisms (docs/training.md).

    Attributes:
        init_seed: of the initial `lora_A` (and of dropout, where the model itself has any).
        data_seed: of the rows' order, and of nothing else.
        rank: r of the adapter.
        alpha: the adapter's scaling is `alpha / sqrt(rank)` (rsLoRA).
        targets: last names of the modules that get an adapter, or `all-linear`.
        learning_rate: peak rate, after the warm-up; it falls linearly to 0.
        epochs: passes over the data, each in an order of its own.
        steps: optimiser steps, in place of epochs.
        batch_size: rows of a forward pass.
        accumulation: forward passes of a step.
        warmup: steps of warm-up.
        weight_decay: of AdamW.
        max_length: most tokens of a row.
        dtype: of the base's weights; the adapter's are float32 always. None: float32 on a CPU,
            bfloat16 elsewhere.
    """

    init_seed: int = 0
    data_seed: int = 0
    rank: int = 32
    alpha: int = 64
    targets: tuple[str, ...] = PROJECTIONS
    learning_rate: float = 1e-5
    epochs: int = 1
    steps: int | None = None
    batch_size: int = 2
    accumulation: int = 8
    warmup: int = 5
    weight_decay: float = 0.01
    max_length: int = 2048
    dtype: str | None = None

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "epochs", "batch_size", "accumulation", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{_option(name)} must be 1 or more, found {value}")
        for name in ("init_seed", "data_seed"):
            if not 0 <= getattr(self, name) < 2**32:
                raise OptionError(
                    f"{_option(name)} must be from 0 to 4294967295, found {getattr(self, name)}"
                )
        if self.warmup < 0:
            raise OptionError(f"--warmup must be 0 or more, found {self.warmup}")
        if self.max_length < 2:
            raise OptionError(f"--max-length must be 2 or more, found {self.max_length}")
        if not 0 < self.learning_rate < 1:
            raise OptionError(f"--learning-rate must be in (0, 1), found {self.learning_rate}")
        if not 0 <= self.weight_decay < 1:
            raise OptionError(f"--weight-decay must be in [0, 1), found {self.weight_decay}")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise OptionError(f"--dtype is {self.dtype!r}; allowed: {', '.join(DTYPES)}")
        if not self.targets or not all(self.targets):
            raise OptionError("--targets names no module; give names such as q_proj,v_proj")

    @property
    def rows_a_step(self) -> int:
        """Rows of one optimiser step."""
        return self.batch_size * self.accumulation

    def total_steps(self, n_rows: int) -> int:
        """Optimiser steps in all; the last may be of fewer rows."""
        return self.steps or math.ceil(n_rows * self.epochs / self.rows_a_step)

    def order(self, n_rows: int) -> Int[Array, " drawn"]:
        """Which row comes when: every pass is a permutation, from the data seed and its number."""
        drawn = self.steps * self.rows_a_step if self.steps else n_rows * self.epochs
        passes = [
            np.random.default_rng([self.data_seed, number]).permutation(n_rows)
            for number in range(math.ceil(drawn / n_rows))
        ]
        return np.concatenate(passes)[:drawn]

    def digest(self, base_hash: str, data_hash: str) -> str:
        """SHA-256 over everything that decides the weights, hardware and versions aside."""
        return sha256_json(
            {"recipe": RECIPE, "settings": asdict(self), "base": base_hash, "data": data_hash}
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
