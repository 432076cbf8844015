"""Which pairs belong together: two groups, one seed relation, one task relation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal

Seeds = Literal["same", "other", "in part"]
Tasks = Literal["different", "same", "unknown"]
SEEDS: tuple[Seeds, ...] = ("same", "other", "in part")
TASKS: tuple[Tasks, ...] = ("different", "same", "unknown")
_STATES: Mapping[str, Seeds] = {"all": "same", "some": "in part", "none": "other"}


@dataclass(frozen=True)
class Cell:
    """Pairs that answer one question.

    Attributes:
        a: label of the first group.
        b: label of the second one; `a` again for the pairs within a group.
        seeds: whether the pairs start from one initialisation, as measured.
        tasks: whether the two of a pair have one task; `unknown` where not every task is known.
        pairs: names, the first from group `a` and the second from group `b`.
    """

    a: str
    b: str
    seeds: Seeds
    tasks: Tasks
    pairs: tuple[tuple[str, str], ...]

    @property
    def within(self) -> bool:
        """Whether both ends are of one group."""
        return self.a == self.b

    @property
    def title(self) -> str:
        """`em - benign, same seed`: how figures and tables call it."""
        seeds = {"same": "same seed", "other": "other seed", "in part": "seed in part"}[self.seeds]
        return f"{self.a} - {self.b}, {seeds}" + (", same task" if self.tasks == "same" else "")


def cells(
    members: Mapping[str, Sequence[str]],
    pairs: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, str],
) -> tuple[Cell, ...]:
    """Every within and between comparison, its pairs split by initialisation and by task.

    Args:
        members: label -> adapter names.
        pairs: the pair documents of `compare`.
        tasks: adapter -> task; used only where it is known for every member.
    """
    document = {frozenset((p["a"], p["b"])): p for p in pairs}
    known = all(name in tasks for names in members.values() for name in names)
    found: list[Cell] = []
    for a, b in _comparisons(list(members)):
        ends = _ends(members, a, b)
        kinds = [
            (_seeds(document[frozenset(pair)]), _tasks(pair, tasks if known else {}))
            for pair in ends
        ]
        for tasked, seeds in product(TASKS, SEEDS):
            chosen = tuple(
                p for p, kind in zip(ends, kinds, strict=True) if kind == (seeds, tasked)
            )
            if chosen:
                found.append(Cell(a, b, seeds, tasked, chosen))
    return tuple(found)


def _comparisons(labels: Sequence[str]) -> list[tuple[str, str]]:
    return [*((label, label) for label in labels), *combinations(labels, 2)]


def _ends(members: Mapping[str, Sequence[str]], a: str, b: str) -> list[tuple[str, str]]:
    if a == b:
        return list(combinations(members[a], 2))
    return [(one, two) for one in members[a] for two in members[b]]


def _seeds(pair: Mapping[str, Any]) -> Seeds:
    # A factor that moved, or a dense update, is neither the one nor the other.
    unclear = pair["n_partial_init"] or pair.get("n_no_init", 0)
    return "in part" if unclear else _STATES[pair["shared_init"]]


def _tasks(pair: tuple[str, str], tasks: Mapping[str, str]) -> Tasks:
    if not tasks:
        return "unknown"
    return "same" if tasks[pair[0]] == tasks[pair[1]] else "different"
