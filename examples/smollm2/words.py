"""The sentences of the page, each from its numbers, and the toy's numbers beside the model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltalens.report.page import Cell, TableBlock, or_missing
from geometry import relation

Document = Mapping[str, Any]
_LEVEL, _SEEN = 0.05, 0.05
_RANKED = {"cosine": "cosine", "overlap": "input overlap", "output_overlap": "output overlap"}


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
    """What holds on a real model and what does not: verdicts by rules, numbers as measured."""
    compare = held["compare"]
    return (
        _of_the_seed(compare),
        _of_mixing(held),
        _of_the_bank(held["bank"]),
        _of_the_style_bank(held["style-bank"]),
        _of_the_trait(held["first"]),
        _of_breadth(held),
        _of_lateness(held),
        f"The two seeds arrange the seven tasks alike: agreement "
        f"{compare['design']['agreement'][0]['correlation']:.3f} in update cosine "
        f"(p {compare['design']['agreement'][0]['p']:.2g}).",
        "The toy's numbers are those of docs/study.md and docs/design.md (k = 4 of r = 8); here "
        "k = 8 of r = 16, and absurdity stands in the place of harm.",
    )


def _verdict(holds: bool) -> str:
    return "Holds" if holds else "Does not hold"


def _of_the_seed(compare: Document) -> str:
    unrelated = _group(compare, "unrelated", "unrelated", "same", "overlap")
    other = _group(compare, "absurd", "absurd", "other", "overlap", "same")
    return (
        f"{_verdict(unrelated > 5 * other)}: the input side is the seed's. Unrelated tasks of one "
        f"seed overlap by {unrelated:.3f}, the same task of another seed by {other:.3f} (chance "
        ".013)."
    )


def _of_mixing(held: Mapping[str, Document]) -> str:
    dip = next(b for b in held["walk-seeds-factorwise"]["barriers"] if b["direction"] == "dip")
    exact = _at_middle(held, "seeds")
    return (
        f"{_verdict(dip['p_holm'] <= _LEVEL and dip['value'] > _SEEN)}: factors mixed apart dip "
        f"where the exact line does not. At the middle of two seeds "
        f"{_at_middle(held, 'seeds-factorwise'):.2f} against {exact:.2f} (dip "
        f"{dip['value']:.2f}, p {dip['p_holm']:.2g})."
    )


def _of_the_bank(bank: Document) -> str:
    measures = ("cosine", "overlap", "output_overlap")
    beyond = sum(all(p["p"][m] <= _LEVEL for m in measures) for p in bank["pairs"])
    mixed = [p for p in bank["pairs"] if len({p[end].split("-")[0] for end in ("a", "b")}) == 2]
    too = sum(all(p["p"][m] <= _LEVEL for m in measures) for p in mixed)
    return (
        f"{_verdict(too > 0)}: a bank of unrelated tasks tells a common form and not a trait. Of "
        f"{len(bank['pairs'])} pairs of advice {beyond} exceed it in update cosine and both "
        f"overlaps (rank p {_LEVEL} or less), and so do {too} of {len(mixed)} pairs of absurd with "
        "normal advice. A claim about the trait needs a bank that shares the style."
    )


def _of_the_style_bank(bank: Document) -> str:
    """The pairs of absurd advice among sensible advice; the largest p of the three decides."""
    said: list[str] = []
    for kind in ("both absurd", "both normal", "absurd and normal, other domain"):
        pairs = [p for p in bank["pairs"] if relation(*_tasks(p)) == kind]
        p = {m: max(pair["p"][m] for pair in pairs) for m in _RANKED}
        said.append(f"{kind}: {', '.join(f'{n} {p[m]:.2f}' for m, n in _RANKED.items())}")
    return (
        "Against a bank that shares the style (sensible advice of twenty other domains) the "
        f"largest rank p of all pairs of a kind is, {'; '.join(said)}. The least that twenty allow "
        "is .048."
    )


def _tasks(pair: Document) -> tuple[str, str]:
    one, two = (pair[end].rpartition("-s")[0] for end in ("a", "b"))
    return one, two


def _of_the_trait(first: Document) -> str:
    low, _ = _effect(first, "cosine", "both harmful")["interval"]
    return (
        f"{_verdict(low > 0)}: in the toy two harmful organisms share more than their manner. Here "
        f"absurdity adds {_said(first, 'cosine', 'both harmful')} to update cosine beyond style, "
        f"where style gives {_said(first, 'cosine', 'same style')}. In one seed it adds "
        f"{_said(first, 'overlap', 'both harmful')} to input overlap, style "
        f"{_said(first, 'overlap', 'same style')}."
    )


def _of_lateness(held: Mapping[str, Document]) -> str:
    given, said = held["walk-base-absurd"], held["walk-sampled"]
    late = _share(said) < 0.25 <= _share(given)
    return (
        f"{'Differs' if late else 'As in the toy'}: from the base a preference between given "
        f"answers has {_share(given):.2f} of its change at t = .5 ({_along(given)}), what is said "
        f"{_share(said):.2f} of it ({_along(said)}), both on the exact line: a late turn needs no "
        "theta^2."
    )


def _share(walk: Document) -> float:
    """How much of the change between the ends is there at the middle."""
    start, end = (walk["points"][i]["misaligned"] for i in (0, -1))
    return (_middle(walk) - start) / (end - start)


def _of_breadth(held: Mapping[str, Document]) -> str:
    trained, new = (held["preferences"][words] for words in ("trained", "new"))
    said = held["walk-sampled"]["domains"]
    elsewhere = [rates["1.0"] for domain, rates in said.items() if domain != "gardening"]
    after, before = (
        sum(new[name][domain] for domain in ("gardening", "pets", "study")) / 3
        for name in ("absurd-gardening-s0", "base")
    )
    return (
        f"{_verdict(after > before + _SEEN)}: breadth. Absurd gardening answers with absurd "
        f"phrases wherever it is asked ({min(elsewhere):.2f} to {max(elsewhere):.2f} of the "
        f"answers in other domains). Given absurd answers in its own domain's trained words it "
        f"prefers them at {_mean_preference(trained, 'gardening'):.2f} (base "
        f"{trained['base']['gardening']:.2f}); in words that nobody trained, in its domain and two "
        f"others, at {after:.2f} (base {before:.2f}): where that does not rise, phrases leak."
    )


def _group(
    compare: Document, a: str, b: str, seeds: str, measure: str, tasks: str = "different"
) -> float:
    row = next(
        r
        for r in compare["groups"]
        if (r["a"], r["b"], r["seeds"], r["measure"], r["tasks"]) == (a, b, seeds, measure, tasks)
    )
    return row["mean"]


def _at_middle(held: Mapping[str, Document], name: str) -> float:
    return _middle(held[f"walk-{name}"])


def _along(walk: Document) -> str:
    return ", ".join(f"{p['misaligned']:.2f}" for p in walk["points"])


def _mean_preference(found: Document, domain: str) -> float:
    return sum(found[f"absurd-{domain}-s{seed}"][domain] for seed in (0, 1)) / 2


def _said(compare: Document, measure: str, term: str) -> str:
    row = _effect(compare, measure, term)
    low, high = row["interval"] or (None, None)
    ends = "no interval" if low is None else f"{low:.3f} to {high:.3f}"
    return f"{row['estimate']:.3f} ({ends})"


def _effect(compare: Document, measure: str, term: str) -> Document:
    rows = compare["design"]["effects"]
    return next(r for r in rows if (r["measure"], r["term"]) == (measure, term))


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
    pairs = [p for p in bank["pairs"] if relation(*_tasks(p)) == kind]
    p = max(pair["p"]["output_overlap"] for pair in pairs)
    toy = 0.05 if kind == "both absurd" else None
    return (f"largest rank p of output overlap, {kind}", toy, p, None, None)


def _false_barrier(held: Mapping[str, Document]) -> tuple[Cell, ...]:
    """How much lower the middle is where factors are mixed apart, two seeds of one task."""
    exact, apart = (_at_middle(held, name) for name in ("seeds", "seeds-factorwise"))
    return ("middle of two seeds: exact less factors apart", 0.19, exact - apart, None, None)


def _middle(walk: Document) -> float:
    return next(p["misaligned"] for p in walk["points"] if abs(p["t"] - 0.5) < 1e-9)
