"""The comparison: groups, the factorial design, and the bank, each by one call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import deltalens
from deltalens.core.result import Result
from fleet import Run, write_design
from tasks import ADVICE, TRAINED

GROUPS = ("absurd", "normal", "unrelated")
_TOKENS = 20_000


def covariances(base: Path, folder: Path) -> Path:
    """Input covariances of the base over the conversations of all tasks."""
    out = folder / "covariances.safetensors"
    if not out.is_file():
        texts = folder / "conversations.jsonl"
        held = sorted((folder / "data").glob("*.jsonl"))
        texts.write_text("".join(path.read_text() for path in held), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "deltalens", "covariances", "--model", base, "--texts", texts),
            *("--max-tokens", _TOKENS, "--out", out),
        ]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return out


def compared(every: Sequence[Run], folder: Path, weights: Path) -> Result:
    """All pairs, in groups and as a design of seed, task, absurdity and style."""
    adapters = folder / "adapters"
    groups = {
        group: [adapters / run.name for run in every if run.group == group] for group in GROUPS
    }
    design = write_design(every, folder / "design.csv")
    return deltalens.compare([], groups=groups, design=design, covariances=weights)


def within_one_seed(every: Sequence[Run], folder: Path, weights: Path) -> Result:
    """The design on the first seed alone, where other seeds do not hide update cosine."""
    first = [run for run in every if run.seed == 0]
    design = write_design(first, folder / "design-first-seed.csv")
    return deltalens.compare([], design=design, covariances=weights)


def ranked(every: Sequence[Run], folder: Path, weights: Path) -> Result:
    """The advice of the first seed, ranked among the unrelated tasks of that seed."""
    adapters = folder / "adapters"
    first = [run for run in every if run.seed == 0]
    advice = [adapters / run.name for run in first if run.task in ADVICE]
    bank = [adapters / run.name for run in first if run.task not in ADVICE]
    return deltalens.compare(advice, bank=bank, covariances=weights)


def ranked_in_style(every: Sequence[Run], bank: Sequence[Run], folder: Path) -> Result:
    """The same advice, ranked among sensible advice of other domains in the same frames."""
    adapters = folder / "adapters"
    advice = [adapters / run.name for run in every if run.seed == 0 and run.task in ADVICE]
    return deltalens.compare(advice, bank=[adapters / run.name for run in bank])


def relation(a: str, b: str) -> str:
    """How two kinds of advice are related, from their tasks' names."""
    kinds, domains = zip(*(task.split("-") for task in (a, b)), strict=True)
    same = domains[0] == domains[1]
    if len(set(kinds)) == 2:
        return f"absurd and normal, {'same' if same else 'other'} domain"
    return f"both {kinds[0]}" if not same else "same task"


def domains() -> tuple[str, ...]:
    """Those that adapters were trained in."""
    return TRAINED
