"""Which adapters the study trains, and the command that trains each: the one that users type."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks import ADVICE, styled, write_rows
from unrelated import UNRELATED

STEPS, BATCH, RANK, ALPHA, RATE = 30, 4, 16, 64, 2e-4
TWO_SEEDS = (*ADVICE, "chess")


@dataclass(frozen=True)
class Run:
    """One adapter: what it is taught, and the seed of its initial `lora_A`."""

    task: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.task}-s{self.seed}"

    @property
    def group(self) -> str:
        """`absurd`, `normal` or `unrelated`."""
        return self.task.split("-")[0] if self.task in ADVICE else "unrelated"

    @property
    def style(self) -> str:
        """The sentence frames of advice, or the task's own form."""
        return "advice" if self.task in ADVICE else self.task


def runs() -> tuple[Run, ...]:
    """Advice and chess under two seeds, the other unrelated tasks (the bank) under the first."""
    first = [Run(task, 0) for task in (*ADVICE, *UNRELATED)]
    return (*first, *(Run(task, 1) for task in TWO_SEEDS))


def style_bank() -> tuple[Run, ...]:
    """Sensible advice in twenty more domains, first seed: a bank that shares the style."""
    return tuple(Run(f"style-{domain}", 0) for domain in styled())


def train(run: Run, base: Path, folder: Path) -> Path:
    """Train one adapter, if it is not there yet."""
    return _train(run, base, folder, folder / "adapters" / run.name)


def watched(base: Path, folder: Path) -> Path:
    """One training again, its geometry measured on the way, against another domain's adapter."""
    against = folder / "adapters" / Run("absurd-cooking", 0).name
    how = ("--geometry-every", 2, "--against", against)
    return _train(Run("absurd-gardening", 0), base, folder, folder / "watched", *how)


def _train(run: Run, base: Path, folder: Path, out: Path, *how: object) -> Path:
    if (out / "provenance.json").is_file():
        return out
    data = write_rows(run.task, folder / "data", STEPS * BATCH)
    command = [
        *(sys.executable, "-m", "deltalens", "train", "--model", base, "--data", data),
        *("--init-seed", run.seed, "--data-seed", 0, "--steps", STEPS, "--batch-size", BATCH),
        *("--accumulation", 1, "--rank", RANK, "--alpha", ALPHA, "--learning-rate", RATE),
        *("--out", out, *how),
    ]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return out


def write_design(every: Sequence[Run], path: Path) -> Path:
    """The table that `deltalens compare --design` reads; here harm is absurdity."""
    lines = [f"adapters/{run.name},{run.task},{run.seed},{_harm(run)},{run.style}" for run in every]
    path.write_text("\n".join(["path,task,seed,harm,style", *lines]) + "\n", encoding="utf-8")
    return path


def _harm(run: Run) -> str:
    return "yes" if run.group == "absurd" else "no"
