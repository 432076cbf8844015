"""What the benign bank says of bad-answer pairs of one seed, beside Haar and rotation.

The rank test is the only rung that supports a claim (SCIENCE section 4). A claim about a group of
pairs is that every one of them is more alike than unrelated tasks are: its p is the largest of
theirs, an intersection-union test, which needs no correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltalens.report.page import Cell, Missing, Section, TableBlock, or_missing
from deltalens.stats.normal import upper_tail, z_score
from deltalens.stats.resample import monte_carlo_p
from deltalens.studies.compare.rows import SMALLER_IS_ALIKE
from deltalens.studies.paper.claim import Claim
from deltalens.studies.paper.estimates import Estimate
from deltalens.studies.paper.verdicts import Verdict, ranked

BANK_CLAIMS: Mapping[str, tuple[str, str]] = {
    "cosine": ("bank-cosine", "Update cosine exceeds that of unrelated tasks of the seed"),
    "overlap": ("bank-input", "Input overlap exceeds that of unrelated tasks of the seed"),
    "output_overlap": ("bank-output", "Output overlap exceeds that of unrelated tasks of the seed"),
}
_OTHERS = ("haar", "rotation")


@dataclass(frozen=True)
class RankedPair:
    """One pair and one measure against every null.

    Attributes:
        a: a bad-answer organism.
        b: another one of the same seed.
        measure: name as in the document of `compare`.
        value: of the pair; None if undefined.
        mean: of the bank's values beside either organism.
        low: least of them.
        high: largest.
        members: of the bank, those that count.
        p: by rank, both directions, the larger.
        others: null -> p from its moments; None where that null does not apply.
        reason: why there is no rank p.
    """

    a: str
    b: str
    measure: str
    value: float | None
    mean: float | None
    low: float | None
    high: float | None
    members: int
    p: float | None
    others: Mapping[str, float | None]
    reason: str


def rank_pairs(
    document: Mapping[str, Any], pairs: Sequence[tuple[str, str]], measure: str
) -> tuple[RankedPair, ...]:
    """One row a pair, from the document of a comparison with a bank."""
    held = {frozenset((p["a"], p["b"])): p for p in document["pairs"]}
    return tuple(_row(held[frozenset(pair)], pair, measure) for pair in pairs)


def _row(pair: Mapping[str, Any], ends: tuple[str, str], measure: str) -> RankedPair:
    nulls, used = pair["nulls"], pair["null_used"].get(measure)
    moments = (nulls["bank"] or {}).get(measure, {})
    by_rank = used == "bank"
    return RankedPair(
        a=ends[0],
        b=ends[1],
        measure=measure,
        value=pair[measure],
        mean=moments.get("mean"),
        low=moments.get("low"),
        high=moments.get("high"),
        members=moments.get("draws", 0),
        p=pair["p"][measure] if by_rank else None,
        others={name: _tail(pair[measure], (nulls[name] or {}).get(measure), measure)
                for name in _OTHERS},
        reason="" if by_rank else str(pair["null_reasons"].get("bank", "not ranked")),
    )  # fmt: skip


def _tail(value: float | None, moments: Mapping[str, Any] | None, measure: str) -> float | None:
    if moments is None or moments["sd"] is None:
        return None
    z = z_score(value, moments["mean"], moments["sd"])
    if z is None:
        return None
    return upper_tail(-z if measure in SMALLER_IS_ALIKE else z)


@dataclass(frozen=True)
class Control:
    """A harmless organism beside others of its own kind: the bank tells any common kind.

    Attributes:
        name: the organism.
        kind: what it was trained on.
        measure: named as in the document of `compare`.
        mean: with the bank's organisms of its kind.
        low: least of these.
        others: largest value with the bank's organisms of other kinds.
        p: largest rank p of its kind among the other kinds, in this one direction.
        members: of other kinds.
    """

    name: str
    kind: str
    measure: str
    mean: float
    low: float
    others: float
    p: float
    members: int


def controls(document: Mapping[str, Any], kinds: Mapping[str, str]) -> tuple[Control, ...]:
    """Every organism that has others of its kind in the bank, measure by measure.

    Args:
        document: of a comparison with a bank.
        kinds: organism -> kind, of those to look at and of the bank's.
    """
    bank = document["bank"]
    found: list[Control] = []
    for measure in BANK_CLAIMS:
        for name, values in bank["values"][measure].items():
            if name not in kinds:
                continue
            held = [
                (kinds[member], value)
                for member, value in zip(bank["members"], values, strict=True)
                if member != name and value is not None
            ]
            alike = [v for kind, v in held if kind == kinds[name]]
            other = [v for kind, v in held if kind != kinds[name]]
            if alike and other:
                p = monte_carlo_p(min(alike), other)
                assert p is not None  # there are draws, and all are numbers
                mean = sum(alike) / len(alike)
                found.append(
                    Control(name, kinds[name], measure, mean, min(alike), max(other), p, len(other))
                )
    return tuple(found)


def bank_claim(
    measure: str, rows: Sequence[RankedPair], found: Estimate, beside: Sequence[Control]
) -> Claim:
    """The claim that every pair is more alike than unrelated tasks of its seed."""
    name, text = BANK_CLAIMS[measure]
    p_values, means = [r.p for r in rows], [r.mean for r in rows if r.mean is not None]
    mean = sum(means) / len(means) if means else None
    members = min((r.members for r in rows), default=0)
    verdict: Verdict = ranked(p_values, members, found.mean, mean)
    worst = max((p for p in p_values if p is not None), default=None)
    said = "; ".join(f"{null} {_largest(rows, null)}" for null in _OTHERS)
    return Claim(
        id=name,
        figure="ours",
        text=text,
        claimed=None,
        obtained=found.mean,
        interval=found.interval,
        null=mean,
        verdict=verdict,
        note=f"Rank among {members} harmless organisms of the same initialisation, both "
        f"directions; the null is their mean. Largest p of the {len(rows)} pairs: {_number(worst)} "
        f"(least possible {1 / (members + 1):.3g}). Largest p by other nulls: "
        f"{said}. {_of_kinds(beside, measure)}",
        lead=measure != "cosine",
    )


def _of_kinds(beside: Sequence[Control], measure: str) -> str:
    """What the control says of this measure: a common kind is told, whether harmful or not."""
    held = [c for c in beside if c.measure == measure]
    if not held:
        return "No control of a harmless kind."
    closer = sum(c.low > c.others for c in held)
    return (
        f"Control: {closer} of {len(held)} harmless organisms are closer to each of their own kind "
        "than to any other; what a bank tells is a common kind, not harm."
    )


def bank_section(
    rows: Mapping[str, Sequence[RankedPair]],
    harmless: Sequence[float],
    beside: Sequence[Control],
) -> Section:
    """Every pair and measure: the bank's verdict beside what Haar and rotation would have said."""
    columns = (
        "pair", "measure", "value", "bank mean", "bank range", "p, bank", "p, Haar", "p, rotation",
    )  # fmt: skip
    table = TableBlock(
        columns,
        tuple(_cells(row) for each in rows.values() for row in each),
        "Same-seed pairs of bad-answer organisms. p by rank: larger of both directions. Haar and "
        "rotation: upper tail of the normal with their moments. The rotation does not move the "
        "output side.",
        reason="this null does not apply",
    )
    count = max((r.members for each in rows.values() for r in each), default=0)
    text = (
        f"The bank holds {count} harmless organisms of the same initialisation, recipe and format, "
        f"one a task: at most {max(harmless, default=0.0):.1%} of their answers are bad. A pair is "
        "ranked among what its organisms have in common with them. Haar is beaten by everything "
        "that shares a seed or an input; rotation by everything that was trained on similar "
        "inputs: neither supports a claim about the task."
    )
    own_kind = TableBlock(
        ("organism", "kind", "measure", "mean with its kind", "least", "largest with others", "p"),
        tuple((c.name, c.kind, c.measure, c.mean, c.low, c.others, c.p) for c in beside),
        "Control: harmless organisms beside the bank's others of their own kind, ranked among the "
        "other kinds (one direction; the largest p of the kind). What the bank tells is a common "
        "kind, harmless or not.",
    )
    return Section("Against unrelated tasks of the same seed", (text,), (table, own_kind))


def _cells(row: RankedPair) -> tuple[Cell, ...]:
    span = Missing(row.reason) if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
    mean, p = or_missing(row.mean, row.reason), or_missing(row.p, row.reason)
    others = (_small(row.others[name]) for name in _OTHERS)
    return (f"{row.a} - {row.b}", row.measure, row.value, mean, span, p, *others)


def _small(p: float | None) -> Cell:
    return None if p is None else "< 1e-12" if p < 1e-12 else f"{p:.2g}"


def _largest(rows: Sequence[RankedPair], null: str) -> str:
    known = [p for r in rows if (p := r.others[null]) is not None]
    return str(_small(max(known))) if known else "not applicable"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"
