"""World (c): organisms that were really trained, of one seed and of two.

Unrelated are tasks of different kinds, but bad, good and narrow answers, which speak of the same
questions, are not counted as unrelated to each other. What an adapter learned is read from the
record that training left beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import AdapterError, OptionError
from deltalens.geometry.nulls import Undefined
from deltalens.geometry.nulls.bank import ENOUGH, rank_test
from deltalens.io.covariances import open_covariances
from deltalens.io.peft import is_adapter
from deltalens.io.read import load_all
from deltalens.stats.normal import upper_tail, z_score
from deltalens.stats.resample import jackknife_pairs
from deltalens.studies.calibration.labels import LEVEL
from deltalens.studies.calibration.matched import kernels_of, matched_p
from deltalens.studies.calibration.rows import LevelRow
from deltalens.studies.calibration.rungs import COMBINATIONS
from deltalens.studies.compare.study import compare

_ADVICE = frozenset({"bad", "good", "narrow"})
_BAD = frozenset({"bad", "narrow"})
Ends = tuple[str, str]


@dataclass(frozen=True)
class Trained:
    """What one organism learned, and from where."""

    name: str
    kind: str
    seed: int

    def is_unrelated(self, other: Trained) -> bool:
        """Whether the two tasks have nothing in common that was put there."""
        return self.kind != other.kind and not {self.kind, other.kind} <= _ADVICE


@dataclass(frozen=True)
class Values:
    """Everything that `compare` says of all pairs, and who they are."""

    organisms: Mapping[str, Trained]
    pairs: Mapping[Ends, Mapping[str, Any]]
    matched: Mapping[Ends, Mapping[str, float | None]]

    def of(self, a: str, b: str, statistic: str) -> float | None:
        """The statistic of a pair, in whichever order it was listed."""
        pair = self.pairs.get((a, b)) or self.pairs[b, a]
        return pair[statistic]


def trained_rows(
    folder: Path,
    covariances: Path | None,
    *,
    seed: int,
    draws: int = 39,
    say: Callable[[str], None] = lambda _: None,
) -> list[LevelRow]:
    """Rejection rates between trained organisms.

    Args:
        folder: of organisms that `deltalens train` or `reproduce` made.
        covariances: of their base, for the activation-matched rotation; without it that rung is
            not tried.
        seed: of the rotations.
        draws: rotations a module.
        say: told what is being done.

    Raises:
        OptionError: for a folder with fewer than two adapters.
        AdapterError: for an adapter without the record of its training.
    """
    inside = sorted(p for p in folder.iterdir() if is_adapter(p)) if folder.is_dir() else []
    if len(inside) < 2:
        raise OptionError(
            f"--organisms {shown(folder)}: found {len(inside)} adapters; at least 2 are needed"
        )
    adapters = load_all(inside)
    known = {a.name: _trained(a.name, path) for a, path in zip(adapters, inside, strict=True)}
    say(f"(c) {len(adapters)} trained organisms")
    document = compare(
        adapters, seed=seed, draws=draws, covariances=covariances, full_provenance=False
    ).document
    pairs = {(p["a"], p["b"]): p for p in document["pairs"]}
    worlds = dict(_worlds(known))
    unrelated = [ends for (_, name), listed in worlds.items() if name == SAME for ends in listed]
    rng = np.random.default_rng([seed, 3])
    matched = _matched(adapters, unrelated, covariances, document["top_k"], pairs, draws, rng)
    values = Values(known, pairs, matched)
    return [
        _row(group, name, ends, rung, statistic, values)
        for (group, name), ends in worlds.items()
        for rung, statistic in COMBINATIONS
    ]


SAME = "trained, unrelated tasks, one seed"
OTHER = "trained, unrelated tasks, two seeds"
SHARED = "trained, bad answers in two domains, one seed"


def _worlds(known: Mapping[str, Trained]) -> Iterator[tuple[tuple[str, str], list[Ends]]]:
    every = [(known[a], known[b]) for a, b in combinations(known, 2)]
    unrelated = [(a, b) for a, b in every if a.is_unrelated(b)]
    yield ("c", SAME), [(a.name, b.name) for a, b in unrelated if a.seed == b.seed]
    yield ("c", OTHER), [(a.name, b.name) for a, b in unrelated if a.seed != b.seed]
    bad = [(a, b) for a, b in every if a.kind == b.kind == "bad" and a.seed == b.seed]
    yield ("d", SHARED), [(a.name, b.name) for a, b in bad]


def _trained(name: str, path: Path) -> Trained:
    try:
        spec = json.loads((path / "provenance.json").read_text(encoding="utf-8"))["spec"]
        return Trained(name, str(spec["kind"]), int(spec["init_seed"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise AdapterError(
            f"{shown(path)}: provenance.json does not say what was trained; folders of "
            "deltalens train do"
        ) from None


def _matched(
    adapters: Sequence[Adapter],
    ends: Sequence[Ends],
    covariances: Path | None,
    k: int,
    pairs: Mapping[Ends, Mapping[str, Any]],
    draws: int,
    rng: np.random.Generator,
) -> dict[Ends, Mapping[str, float | None]]:
    if covariances is None:
        return {}
    moments = open_covariances(covariances)
    named = {adapter.name: adapter for adapter in adapters}
    K = {b: kernels_of(named[b], moments) for b in dict.fromkeys(b for _, b in ends)}
    return {
        (a, b): matched_p(named[a], named[b], start, k, pairs[a, b], draws, rng=rng)
        for a, b in ends
        if (start := K[b]) is not None
    }


def _row(
    group: str, world: str, ends: Sequence[Ends], rung: str, statistic: str, values: Values
) -> LevelRow:
    p = {pair: _p(pair, rung, statistic, values) for pair in ends}
    known = {pair: float(v <= LEVEL) for pair, v in p.items() if v is not None}
    if not known:
        reason = f"none of {len(ends)} pairs has this null with enough members, draws or inputs"
        return LevelRow(group, world, rung, statistic, 0, None, None, reason)
    rate = sum(known.values()) / len(known)
    found = jackknife_pairs(known)
    # Where all pairs agree nothing is left to learn an error from: one organism's share is used.
    organisms = {name for pair in known for name in pair}
    error = found.standard_error or 1 / (len(organisms) + 2)
    return LevelRow(group, world, rung, statistic, len(known), rate, error, found.interval.reason)


def _p(pair: Ends, rung: str, statistic: str, values: Values) -> float | None:
    if rung == "bank":
        return _bank(pair, statistic, values)
    if rung == "activation" and statistic != "cosine":
        return values.matched.get(pair, {}).get(statistic)
    found = values.pairs[pair]["nulls"][rung]
    moments = None if found is None else found.get(statistic)
    if moments is None:
        return None
    z = z_score(values.pairs[pair][statistic], moments["mean"], moments["sd"])
    return None if z is None else upper_tail(z)


def _bank(pair: Ends, statistic: str, values: Values) -> float | None:
    """The rank among the organisms of b's seed that a bank for a may hold, and the other way."""
    a, b = pair
    drawn = [_members(one, two, pair, statistic, values) for one, two in ((a, b), (b, a))]
    found = rank_test(values.of(a, b, statistic), *drawn)
    return None if isinstance(found, Undefined) or found.m < ENOUGH else found.p


def _members(end: str, other: str, pair: Ends, statistic: str, values: Values) -> list[float]:
    known = values.organisms
    # For two adapters of bad answers the bank is every task without any.
    planted = known[end].kind == known[other].kind
    chosen = [
        c.name
        for c in known.values()
        if c.name not in pair
        and c.seed == known[other].seed
        and (c.kind not in _BAD if planted else c.is_unrelated(known[end]))
    ]
    found = [values.of(end, c, statistic) for c in chosen]
    return [v for v in found if v is not None]
