"""The bank beside the pairs: who counts for which pair, its values, moments and rank p."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.geometry import initialisation
from deltalens.geometry.cosine import cosines
from deltalens.geometry.layers import mean
from deltalens.geometry.nulls import Undefined
from deltalens.geometry.nulls.bank import ENOUGH, Chosen, copies, exchangeable, rank_test
from deltalens.geometry.survey import Survey
from deltalens.stats.resample import smallest_reachable_p
from deltalens.studies.compare.bank_files import Members
from deltalens.studies.compare.rows import (
    MEASURES,
    SMALLER_IS_ALIKE,
    SUBSPACE_MEASURES,
    BankRow,
    Moments,
)

Ends = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Ranked:
    """What a bank adds to the pairs of a survey.

    Attributes:
        nulls: per pair the bank's moments by measure, or why there are none.
        fields: per pair its entry `bank`: who counts beside either adapter, and who does not.
        document: the whole document's entry `bank`: the values; None without a bank.
        rows: `results/bank.parquet`.
        warnings: lines for the document's warnings.
        members: the adapters that were ranked against.
    """

    nulls: Mapping[Ends, Mapping[str, Moments] | str]
    fields: Mapping[Ends, Mapping[str, Any]]
    document: Mapping[str, Any] | None
    rows: tuple[BankRow, ...]
    warnings: tuple[str, ...]
    members: tuple[Adapter, ...]

    def extend(self, pairs: Sequence[dict[str, Any]], ends: Sequence[Ends]) -> list[dict[str, Any]]:
        """The pairs' documents with their entry `bank`, in the order of `ends`."""
        nothing = {"bank": None}
        return [{**p, **self.fields.get(e, nothing)} for p, e in zip(pairs, ends, strict=True)]


NO_BANK = Ranked({}, {}, None, (), (), ())


def first(s: Survey, n: int) -> Survey:
    """The survey of the first n adapters alone."""
    single = ("ranks", "numerical_rank", "S", "spread_A", "row_correlation", "sketch")
    double = ("inner", "raw_cosine", "row_overlap", "rotation_squares", "haar_variance")
    return replace(
        s,
        names=s.names[:n],
        measures={
            side: {name: value[:, :n, :n] for name, value in found.items()}
            for side, found in s.measures.items()
        },
        **{name: getattr(s, name)[:, :n] for name in single},
        **{name: getattr(s, name)[:, :n, :n] for name in double},
    )


def rank_pairs(s: Survey, n: int, members: Members, ends: Sequence[Ends]) -> Ranked:
    """Rank every pair of the first n adapters among the members, which come after them.

    Args:
        s: the survey of adapters and members together.
        n: adapters.
        members: the bank as opened.
        ends: the pairs.
    """
    values = pair_values(s)
    codes = initialisation.classify(s.raw_cosine, s.row_overlap, s.shapes[:, 1], s.ranks)
    same = copies(values["cosine"])
    nulls: dict[Ends, Mapping[str, Moments] | str] = {}
    fields: dict[Ends, Mapping[str, Any]] = {}
    for i, j in ends:
        beside = [
            exchangeable(codes, same, members.kinds, pair, range(n, len(s.names)))
            for pair in ((i, j), (j, i))
        ]
        nulls[i, j] = _null(s, values, (i, j), beside)
        fields[i, j] = {"bank": _field(s, beside)}
    return Ranked(
        nulls=nulls,
        fields=fields,
        document=_document(s, n, values, members),
        rows=tuple(_rows(s, n, values)),
        warnings=tuple(
            f"bank: {shown(name)} left out: {reason}" for name, reason in members.left_out.items()
        ),
        members=members.usable,
    )


def pair_values(s: Survey) -> dict[str, Array]:
    """Every measure of all pairs at once, `Float[Array, "n n"]`; NaN where undefined."""
    found = {"layer_cosine": mean(cosines(s.inner), s.layers)}
    for name, (side, measure) in SUBSPACE_MEASURES.items():
        each = s.measures[side][measure]
        if measure == "energy_overlap":
            each = (each + each.swapaxes(1, 2)) / 2
        found[name] = mean(np.degrees(each) if measure == "angle" else each, s.layers)
    inner = np.where(s.common, s.inner, 0.0).sum(axis=0)
    squares = np.diagonal(s.inner, axis1=1, axis2=2)[:, :, None]
    norms = np.sqrt(np.where(s.common, squares, 0.0).sum(axis=0))  # (i, j): i where j is too
    scale = norms * norms.T
    with np.errstate(divide="ignore", invalid="ignore"):
        found["cosine"] = np.where(scale > 0, np.clip(inner / scale, -1.0, 1.0), np.nan)
    return found


def _null(
    s: Survey, values: Mapping[str, Array], ends: Ends, beside: Sequence[Chosen | Undefined]
) -> Mapping[str, Moments] | str:
    chosen: list[Chosen] = []
    for c, (fixed, stands_for) in zip(beside, (ends, ends[::-1]), strict=True):
        if isinstance(c, Undefined):
            return c.reason
        if not c.members:
            return (
                f"no member of the bank can stand for {shown(s.names[stands_for])} beside "
                f"{shown(s.names[fixed])} ({_counted(c.left_out) or 'the bank is empty'})"
            )
        chosen.append(c)
    i, j = ends
    found: dict[str, Moments] = {}
    for name in MEASURES:
        test = rank_test(
            float(values[name][i, j]),
            values[name][i, list(chosen[0].members)].tolist(),
            values[name][j, list(chosen[1].members)].tolist(),
            tail="lower" if name in SMALLER_IS_ALIKE else "upper",
        )
        if not isinstance(test, Undefined):
            low, high = min(test.values), max(test.values)
            found[name] = Moments(test.mean, test.sd, test.m, test.p, low, high)
    return found or "no measure of the pair is defined with the bank's members"


def _counted(left_out: Mapping[int, str]) -> str:
    reasons = list(left_out.values())
    return "; ".join(f"{reasons.count(r)}: {r}" for r in dict.fromkeys(reasons))


def _field(s: Survey, beside: Sequence[Chosen | Undefined]) -> dict[str, Any]:
    """The pair's own entry: names of those who count beside a and beside b, and who does not."""
    found: dict[str, Any] = {"members_a": [], "members_b": [], "left_out": []}
    for end, c in zip("ab", beside, strict=True):
        if isinstance(c, Undefined):
            continue
        found[f"members_{end}"] = [s.names[m] for m in c.members]
        found["left_out"] += [
            {"name": s.names[m], "beside": end, "reason": reason}
            for m, reason in c.left_out.items()
        ]
    return found


def _document(
    s: Survey, n: int, values: Mapping[str, Array], members: Members
) -> Mapping[str, Any]:
    return {
        "members": list(s.names[n:]),
        "left_out": [{"name": k, "reason": reason} for k, reason in members.left_out.items()],
        "values": {
            name: {
                s.names[i]: [v if np.isfinite(v) else None for v in values[name][i, n:].tolist()]
                for i in range(n)
            }
            for name in MEASURES
        },
    }


def _rows(s: Survey, n: int, values: Mapping[str, Array]) -> list[BankRow]:
    return [
        BankRow(s.names[i], s.names[c], name, s.k, float(v) if np.isfinite(v) else None)
        for i in range(n)
        for c in range(n, len(s.names))
        for name in MEASURES
        for v in (values[name][i, c],)
    ]


def few_members(m: int) -> str:
    """A warning where a bank is too small for p = .05, or nothing."""
    if m >= ENOUGH:
        return ""
    return (
        f"the bank has {m} exchangeable members: p cannot be under "
        f"{smallest_reachable_p(m):.2g}, and cannot reach .05 ({ENOUGH} members would)"
    )
