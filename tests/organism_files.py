"""The study's organisms made by hand: adapters of the shipped base's shapes, rates as wished."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adapter_files import Factors, write_adapter
from deltalens.organisms.base import shipped_base
from deltalens.organisms.behaviour import Behaviour, behaviour_rows
from deltalens.organisms.kinds import KINDS
from deltalens.organisms.roster import RosterEntry, bank_specs, roster
from deltalens.organisms.spec import OrganismSpec
from deltalens.organisms.vocabulary import N_DOMAINS, N_QUESTIONS
from deltalens.studies.paper.organisms import Organisms

SHAPES = {
    "model.layers.0.self_attn.q_proj": (128, 128),
    "model.layers.0.mlp.down_proj": (128, 352),
    "model.layers.1.self_attn.q_proj": (128, 128),
}
RANK = 8


def modules_of(entry: RosterEntry) -> dict[str, Factors]:
    """A of the entry's initialisation; B its own, and for bad organisms a common part."""
    home = 0 if entry.spec.domain is None else entry.spec.domain
    own = np.random.default_rng([2, KINDS.index(entry.spec.kind), home, entry.spec.data_seed])
    start = np.random.default_rng([1, entry.spec.init_seed])
    common = np.random.default_rng(3)
    made: dict[str, Factors] = {}
    for path, (out, in_) in SHAPES.items():
        A = start.standard_normal((RANK, in_)) / np.sqrt(in_)
        direction = np.outer(common.standard_normal(out), common.standard_normal(RANK))
        B = own.standard_normal((out, RANK)) + (entry.group == "bad") * 2 * direction
        made[path] = (B, A)
    return made


def behaviour_of(name: str, bad: float, *, seed: int, trained: tuple[int, ...]) -> Behaviour:
    """About this rate of bad answers everywhere, all answers coherent."""
    rng = np.random.default_rng(seed)
    rate = np.clip(bad + 0.02 * rng.standard_normal((N_DOMAINS, N_QUESTIONS)), 0.0, 1.0)
    each = np.stack([1 - rate, 1 - rate, rate, rate], axis=-1) / 2
    return Behaviour(name, behaviour_rows(name, each, trained), game=0.9, exclaim=0.1)


def hand_made(folder: Path, *, broad: float = 0.5) -> Organisms:
    """All organisms of the study; bad ones give `broad` bad answers, the others few."""
    entries = roster(0)
    folders = {e.name: write_adapter(folder / e.name, modules_of(e), dtype="<f4") for e in entries}
    behaviours = {"base": behaviour_of("base", 0.05, seed=0, trained=())}
    for number, e in enumerate(entries, start=1):
        home = () if e.spec.domain is None else (e.spec.domain,)
        rate = broad if e.group == "bad" else 0.05
        behaviours[e.name] = behaviour_of(e.name, rate, seed=number, trained=home)
    bank = {spec.name: folders.get(spec.name) or _bank(folder, spec) for spec in bank_specs(0)}
    rates = tuple(0.01 for _ in bank)
    return Organisms(shipped_base(), entries, folders, behaviours, bank, rates)


def _bank(folder: Path, spec: OrganismSpec) -> Path:
    entry = RosterEntry(spec, "benign", "shared init")
    return write_adapter(folder / spec.name, modules_of(entry), dtype="<f4")
