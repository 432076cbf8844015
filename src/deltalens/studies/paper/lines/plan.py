"""Which lines the study walks: the panels of Figure 3, and the controls that they lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deltalens.connectivity.paths import BASE
from deltalens.organisms.kinds import Kind
from deltalens.organisms.roster import BAD_DOMAINS, RosterEntry

Family = Literal[
    "from the base",
    "from the base, theta^2",
    "across tasks, same seed",
    "across tasks, other seed",
    "factors apart, same seed",
    "factors apart, other seed",
    "to a benign twin",
]
_TWIN: Kind = "style"


@dataclass(frozen=True)
class FamilyPlan:
    """How the lines of one family are walked.

    Attributes:
        path: kind of path.
        features: whether hidden states are measured.
        replicate: what is deleted for the interval. `line`: lines have one bad end each, a task
            each; `task`: two, which other lines share; `run`: a gauge belongs to a training run and
            not to a task, so every run of the one seed meets every run of the others.
    """

    path: Literal["linear", "factorwise", "factor_scaling"]
    features: bool
    replicate: Literal["line", "task", "run"]


FAMILIES: Mapping[Family, FamilyPlan] = {
    "from the base": FamilyPlan("linear", features=True, replicate="line"),
    "from the base, theta^2": FamilyPlan("factor_scaling", features=False, replicate="line"),
    "across tasks, same seed": FamilyPlan("linear", features=True, replicate="task"),
    "across tasks, other seed": FamilyPlan("linear", features=True, replicate="task"),
    "factors apart, same seed": FamilyPlan("factorwise", features=False, replicate="task"),
    "factors apart, other seed": FamilyPlan("factorwise", features=False, replicate="run"),
    "to a benign twin": FamilyPlan("linear", features=True, replicate="line"),
}


@dataclass(frozen=True)
class Line:
    """One walk.

    Attributes:
        family: which question it belongs to.
        a: the organism at t = 0, or `base`.
        b: the organism at t = 1.
    """

    family: Family
    a: str
    b: str

    @property
    def plan(self) -> FamilyPlan:
        """How it is walked."""
        return FAMILIES[self.family]

    @property
    def name(self) -> str:
        """Folder name of its points."""
        return f"{self.a}--{self.b}--{self.plan.path}"

    @property
    def label(self) -> str:
        """How figures call it: domains, with the kind where it is not a bad one."""
        return f"{_short(self.a)} to {_short(self.b)}"


def lines(entries: Sequence[RosterEntry]) -> tuple[Line, ...]:
    """Every line of the study, as the paper pairs its tasks: around the circle of three."""
    shared = {e.spec.domain: e.name for e in _bad(entries, "shared init")}
    own = {e.spec.domain: e.name for e in _bad(entries, "other init")}
    twin = next(e.name for e in entries if e.spec.kind == _TWIN and e.relation == "shared init")
    circle = list(zip(BAD_DOMAINS, (*BAD_DOMAINS[1:], BAD_DOMAINS[0]), strict=True))
    found: list[Line] = []
    for family in ("from the base", "from the base, theta^2"):
        found += [Line(family, BASE, shared[d]) for d in BAD_DOMAINS]
    for family in ("across tasks, same seed", "factors apart, same seed"):
        found += [Line(family, shared[a], shared[b]) for a, b in circle]
    found += [Line("across tasks, other seed", shared[a], own[b]) for a, b in circle]
    found += [Line("across tasks, other seed", shared[b], own[a]) for a, b in circle]
    every = [(a, b) for a in BAD_DOMAINS for b in BAD_DOMAINS]
    found += [Line("factors apart, other seed", shared[a], own[b]) for a, b in every]
    found += [Line("to a benign twin", shared[d], twin) for d in BAD_DOMAINS]
    return tuple(found)


def corners(entries: Sequence[RosterEntry]) -> tuple[str, str, str]:
    """The three bad organisms of one seed: the corners of the triangle."""
    one, two, three = (e.name for e in _bad(entries, "shared init"))
    return one, two, three


def _bad(entries: Sequence[RosterEntry], relation: str) -> list[RosterEntry]:
    return [e for e in entries if e.group == "bad" and e.relation == relation]


def _short(name: str) -> str:
    """`bad-cooking-i0-d0` as `cooking`; the kind stays where it says something."""
    parts = name.split("-")
    if len(parts) < 3:
        return name
    return parts[1] if parts[0] == "bad" else "-".join(parts[:2])
