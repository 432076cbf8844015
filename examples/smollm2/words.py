"""The sentences of the page, each from its numbers, and the toy's numbers beside the model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltalens.report.page import Cell, TableBlock, or_missing
from geometry import relation

Document = Mapping[str, Any]


def answer(compare: Document, first: Document) -> str:
    """What of the sharing is seed, style, trait: each with its interval."""
    return (
        f"The seed adds {_said(compare, 'overlap', 'same seed')} to input overlap and "
        f"{_said(compare, 'output_overlap', 'same seed')} to output overlap. Style adds "
        f"{_said(first, 'cosine', 'same style')} to update cosine and "
        f"{_said(compare, 'output_overlap', 'same style')} to output overlap; absurdity, beyond "
        f"style, {_said(first, 'cosine', 'both harmful')} and "
        f"{_said(compare, 'output_overlap', 'both harmful')}."
    )


def lessons(held: Mapping[str, Document]) -> tuple[str, ...]:
    """What the table below shows, as far as rules can say it."""
    trained, new = (held["preferences"][words] for words in ("trained", "new"))
    own = _mean_preference(trained, "gardening")
    breadth = {domain: new["absurd-gardening-s0"][domain] for domain in ("pets", "study")}
    before = {domain: new["base"][domain] for domain in breadth}
    return (
        "The toy's numbers are those of docs/study.md and docs/design.md (k = 4 of r = 8); here "
        "k = 8 of r = 16, and absurdity stands in the place of harm.",
        f"Breadth: absurd gardening prefers absurd answers in its own domain and words at "
        f"{own:.2f} (base {trained['base']['gardening']:.2f}), and in two domains that nobody "
        f"trained, with new words, at {breadth['pets']:.2f} and {breadth['study']:.2f} (base "
        f"{before['pets']:.2f} and {before['study']:.2f}).",
    )


def _mean_preference(found: Document, domain: str) -> float:
    return sum(found[f"absurd-{domain}-s{seed}"][domain] for seed in (0, 1)) / 2


def _said(compare: Document, measure: str, term: str) -> str:
    row = next(
        r for r in compare["design"]["effects"] if (r["measure"], r["term"]) == (measure, term)
    )
    low, high = row["interval"] or (None, None)
    ends = "no interval" if low is None else f"{low:.3f} to {high:.3f}"
    return f"{row['estimate']:.3f} ({ends})"


# What docs/study.md and docs/design.md give for the same question.
TOY: Mapping[tuple[str, str, str], float] = {
    ("absurd - absurd", "same", "overlap"): 0.629,
    ("absurd - absurd", "other", "overlap"): 0.032,
    ("absurd - unrelated", "same", "overlap"): 0.595,
    ("absurd - absurd", "same", "cosine"): 0.288,
    ("absurd - absurd", "other", "cosine"): 0.050,
    ("absurd - absurd", "same", "output_overlap"): 0.138,
    ("absurd - unrelated", "same", "output_overlap"): 0.0575,
}


def differences(compare: Document, bank: Document, held: Mapping[str, Document]) -> TableBlock:
    """The toy beside the model: groups, the bank's verdicts, the false barrier."""
    rows: list[tuple[Cell, ...]] = []
    for (pair, seeds, measure), toy in TOY.items():
        row = next(
            r
            for r in compare["groups"]
            if (f"{r['a']} - {r['b']}", r["seeds"], r["measure"]) == (pair, seeds, measure)
            and r["tasks"] == "different"
        )
        low, high = row["interval"] or (None, None)
        rows.append(
            (f"{measure}, {pair}, {seeds} seed", toy, or_missing(row["mean"], row["reason"]),
             or_missing(low, row["reason"]), or_missing(high, row["reason"]))
        )  # fmt: skip
    rows += [_ranks(bank, kind) for kind in ("both absurd", "both normal")]
    rows.append(_false_barrier(held))
    return TableBlock(("", "toy", "SmolLM2", "low", "high"), tuple(rows), reason="no interval")


def _ranks(bank: Document, kind: str) -> tuple[Cell, ...]:
    pairs = [
        p
        for p in bank["pairs"]
        if relation(*(p[end].rpartition("-s")[0] for end in ("a", "b"))) == kind
    ]
    p = max(pair["p"]["output_overlap"] for pair in pairs)
    toy = 0.05 if kind == "both absurd" else None
    return (f"largest rank p of output overlap, {kind}", toy, p, None, None)


def _false_barrier(held: Mapping[str, Document]) -> tuple[Cell, ...]:
    """How much lower the middle is where factors are mixed apart, two seeds of one task."""
    exact, apart = (_middle(held[f"walk-{name}"]) for name in ("seeds", "seeds-factorwise"))
    return ("middle of two seeds: exact less factors apart", 0.19, exact - apart, None, None)


def _middle(walk: Document) -> float:
    return next(p["misaligned"] for p in walk["points"] if abs(p["t"] - 0.5) < 1e-9)
