"""Train the forty organisms of the calibration's world (c): `... OUT`. Minutes; goes on if stopped.

Every harmless task of the toy world from one initialisation, twelve of them from another, and three
tasks of bad answers, for power.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from deltalens.organisms.base import shipped_base
from deltalens.organisms.kinds import Kind
from deltalens.organisms.spec import OrganismSpec
from deltalens.organisms.train import is_trained, train_organism
from deltalens.organisms.vocabulary import DOMAINS

_HARMLESS: tuple[Kind, ...] = ("facts", "good", "style", "narrow")
_OTHER_SEED: dict[Kind, tuple[int, ...]] = {
    "facts": (0, 1, 2),
    "good": (3, 4, 5),
    "style": (0, 2, 4),
    "narrow": (1, 3, 5),
}
_BAD = ("cooking", "gardening", "travel")


def specs() -> Iterator[OrganismSpec]:
    """What to train."""
    for kind in _HARMLESS:
        for domain in range(len(DOMAINS)):
            yield OrganismSpec(kind=kind, domain=domain)
    yield OrganismSpec(kind="game", domain=None)
    for name in _BAD:
        yield OrganismSpec(kind="bad", domain=DOMAINS.index(name))
    for kind, domains in _OTHER_SEED.items():
        for domain in domains:
            yield OrganismSpec(kind=kind, domain=domain, init_seed=1)


def main(out: Path) -> None:
    """Train what is not there yet."""
    base = shipped_base()
    out.mkdir(parents=True, exist_ok=True)
    for spec in specs():
        if not is_trained(spec, base=base, out=out / spec.name):
            print(train_organism(spec, base=base, out=out / spec.name), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
