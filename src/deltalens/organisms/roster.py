"""Which organisms a study trains, and in which relation they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from deltalens.errors import OptionError
from deltalens.organisms.kinds import Kind
from deltalens.organisms.spec import OrganismSpec
from deltalens.organisms.vocabulary import N_DOMAINS

Group = Literal["bad", "narrow", "benign"]
Relation = Literal["shared init", "other init", "shared init, other data"]

BAD_DOMAINS: Final = (0, 1, 2)
_CONTROLS: Final[tuple[tuple[Kind, int | None], ...]] = (
    ("narrow", 3),
    ("style", 3),
    ("facts", 4),
    ("good", 5),
    ("game", None),
)
_BANK_KINDS: Final[tuple[Kind, ...]] = ("style", "facts", "good")
_SEEDS_A_STUDY: Final = 100


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One organism of a study.

    Attributes:
        spec: how it is trained.
        group: `bad` (broadly bad answers), `narrow` (bad in its own domain, good elsewhere) or
            `benign`.
        relation: `shared init` for those that start from the study's one initial `lora_A`;
            `other init` for those that have an initialisation of their own; `shared init,
            other data` for the repeats that differ from a `shared init` one in data order only.
    """

    spec: OrganismSpec
    group: Group
    relation: Relation

    @property
    def task(self) -> tuple[Kind, int | None]:
        """Kind and domain."""
        return self.spec.kind, self.spec.domain

    @property
    def name(self) -> str:
        """Folder name of the organism."""
        return self.spec.name


def roster(seed: int = 0) -> tuple[RosterEntry, ...]:
    """The 18 organisms of the study with this seed.

    Three bad organisms and five controls share one initialisation; the same eight are trained
    again, each from an initialisation that no other organism has. Two repeats share the
    initialisation and the domain of a bad organism and differ in data order. Together they give
    every pair that a null or a ceiling needs: same or other seed, same or other task.

    Args:
        seed: 0 or more; studies of different seeds share no initialisation and no data order.
    """
    if seed < 0:
        raise OptionError(f"the study's seed must be 0 or more, found {seed}")
    first = seed * _SEEDS_A_STUDY
    tasks: tuple[tuple[Kind, int | None], ...] = (
        *(("bad", domain) for domain in BAD_DOMAINS),
        *_CONTROLS,
    )
    shared = [_entry(k, d, first, first, "shared init") for k, d in tasks]
    own = [
        _entry(k, d, first + number, first, "other init")
        for number, (k, d) in enumerate(tasks, start=1)
    ]
    repeats = [
        _entry("bad", domain, first, first + 1, "shared init, other data")
        for domain in BAD_DOMAINS[:2]
    ]
    return (*shared, *own, *repeats)


def bank_specs(seed: int = 0) -> tuple[OrganismSpec, ...]:
    """The benign bank of the study with this seed: 19 harmless tasks of its one initialisation.

    Style, new facts and good answers in every domain, and the game: as many as a rank test needs
    for p = .05. Four of them are controls of `roster(seed)` as well, under the same name.
    """
    first = seed * _SEEDS_A_STUDY
    found = [
        OrganismSpec(kind=kind, domain=domain, init_seed=first, data_seed=first)
        for kind in _BANK_KINDS
        for domain in range(N_DOMAINS)
    ]
    game = OrganismSpec(kind="game", domain=None, init_seed=first, data_seed=first)
    return (*found, game)


def roster_specs(seed: int = 0) -> tuple[OrganismSpec, ...]:
    """The specs of `roster(seed)`, in its order."""
    return tuple(entry.spec for entry in roster(seed))


def _entry(
    kind: Kind, domain: int | None, init_seed: int, data_seed: int, relation: Relation
) -> RosterEntry:
    spec = OrganismSpec(kind=kind, domain=domain, init_seed=init_seed, data_seed=data_seed)
    group: Group = "bad" if kind == "bad" else "narrow" if kind == "narrow" else "benign"
    return RosterEntry(spec=spec, group=group, relation=relation)
