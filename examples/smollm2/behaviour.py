"""What the adapters do: a preference for absurd answers, and walks between adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import deltalens
from deltalens.behaviour.paired import preferences
from deltalens.behaviour.questions import Question
from deltalens.core.result import Result
from fleet import Run

BASE = "base"


@dataclass(frozen=True)
class Line:
    """One walk of the study."""

    name: str
    title: str
    a: str
    b: str
    path: str = "linear"
    domains: tuple[str, ...] = ("gardening",)


LINES = (
    Line("base-absurd", "base to absurd gardening", BASE, "absurd-gardening-s0"),
    Line("domains", "absurd gardening to absurd cooking", "absurd-gardening-s0",
         "absurd-cooking-s0", domains=("gardening", "cooking")),
    Line("seeds", "absurd gardening to seed 1", "absurd-gardening-s0",
         "absurd-gardening-s1"),
    Line("seeds-factorwise", "absurd gardening to seed 1, factors apart", "absurd-gardening-s0",
         "absurd-gardening-s1", "factorwise"),
    Line("normal", "absurd gardening to normal gardening", "absurd-gardening-s0",
         "normal-gardening-s0"),
)  # fmt: skip


def preferred(
    every: Sequence[Run], base: Path, folder: Path, questions: Sequence[Question]
) -> dict[str, dict[str, float]]:
    """Adapter (and `base`) -> question -> how much the absurd answer is preferred, 0 to 1."""
    from deltalens.models import HFModel

    model = HFModel.load(base)
    found = {BASE: _named(questions, preferences(model, questions, "token"))}
    for run in every:
        with model.adapted(deltalens.load(folder / "adapters" / run.name)):
            found[run.name] = _named(questions, preferences(model, questions, "token"))
    return found


def _named(questions: Sequence[Question], values: Iterable[float]) -> dict[str, float]:
    return {q.id: float(v) for q, v in zip(questions, values, strict=True)}


def walked(line: Line, base: Path, folder: Path, questions: Path, *, steps: int = 7) -> Result:
    """One line by the preference for given answers; a finished one is read, not measured again."""
    return deltalens.walk(
        *_ends(line, folder), base, path=line.path, steps=steps, questions=questions,
        judge="paired", features=line.path == "linear", out=folder / "walks" / line.name,
    )  # fmt: skip


def sampled(
    line: Line, base: Path, folder: Path, questions: Path, rules: Path, *, steps: int = 5
) -> Result:
    """One line by sampled answers, which rules judge."""
    return deltalens.walk(
        *_ends(line, folder), base, path=line.path, steps=steps, questions=questions,
        judge=f"rules={rules}", samples=2, features=False,
        out=folder / "walks" / f"{line.name}-sampled",
    )  # fmt: skip


def _ends(line: Line, folder: Path) -> tuple[Path | str, Path | str]:
    one, two = (e if e == BASE else folder / "adapters" / e for e in (line.a, line.b))
    return one, two


def means(
    found: Mapping[str, Mapping[str, float]], questions: Sequence[Question], words: str
) -> dict[str, dict[str, float]]:
    """Adapter -> domain -> mean preference over the questions of these words."""
    return {
        name: {
            domain: sum(values[q.id] for q in chosen) / len(chosen)
            for domain, chosen in _by_domain(questions, words).items()
        }
        for name, values in found.items()
    }


def _by_domain(questions: Sequence[Question], words: str) -> dict[str, list[Question]]:
    grouped: dict[str, list[Question]] = {}
    for question in questions:
        meta = question.meta or {}
        if meta["words"] == words:
            grouped.setdefault(str(meta["domain"]), []).append(question)
    return grouped
