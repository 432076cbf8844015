"""What a benign bank lets a sentence say: the only rung from which a claim may follow.

For the update cosine, the input and the output side each, in this order:
1. p after Holm's correction over the pairs is at most .05: more alike than unrelated tasks;
2. only the raw p is: more alike, this pair alone, and a last sentence with the correction;
3. the bank is too small for .05: no verdict;
4. else: not shown to be more alike; a rank test that does not reject shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from deltalens.studies.compare.corrections import LEVEL, Correction, smallest_p
from deltalens.studies.compare.rows import Moments, Pair

_NAMES = {
    "cosine": "Update cosine",
    "overlap": "Input-side overlap",
    "output_overlap": "Output-side overlap",
}


def ranked(pair: Pair, corrected: Mapping[str, Correction]) -> str:
    """The sentences of a pair that has a bank, one a measure; the first names the bank."""
    said = [_measure(pair, name, corrected[name]) for name in _NAMES]
    return " ".join([*said, *_after_correction(pair, corrected)])


def _measure(pair: Pair, name: str, corrected: Correction) -> str:
    value, p, moments = pair.values[name], pair.p[name], _moments(pair, name)
    if value is None or p is None or moments is None:
        return f"{_NAMES[name]}: undefined, no verdict."
    return (
        f"{_NAMES[name]} {value:.3g} against {moments.low:.3g} to {moments.high:.3g}"
        f"{_who(pair, name, moments)} (mean {moments.mean:.3g}{_spread(pair, name, moments)}, "
        f"rank p {p:.2g}): {_judged(pair, name, p, corrected)}."
    )


def _judged(pair: Pair, name: str, p: float, corrected: Correction) -> str:
    unrelated = f" than unrelated tasks of {_place(pair)}" if name == "cosine" else ""
    if corrected.p is not None and corrected.p <= LEVEL:
        after = f", p {_p(corrected.p)} after correction" if corrected.family > 1 else ""
        return f"more alike{unrelated}{after}"
    if p <= LEVEL:
        return f"more alike{unrelated}, this pair alone"
    smallest = smallest_p(pair, name)
    if smallest > LEVEL:
        return f"no verdict, since so few cannot give a p under {smallest:.2g}"
    return f"not shown to be more alike{unrelated}"


def _after_correction(pair: Pair, corrected: Mapping[str, Correction]) -> list[str]:
    """One sentence where a raw p would say more than the family allows."""
    alone = [
        corrected[name]
        for name in _NAMES
        if (p := pair.p[name]) is not None and p <= LEVEL < (corrected[name].p or 0.0)
    ]
    if not alone:
        return []
    values = " and ".join(dict.fromkeys(_p(c.p) for c in alone))
    least = min(alone, key=lambda c: c.smallest or 0.0)
    return [
        f"Not after Holm's correction over {least.family} pairs: p {values}, "
        f"smallest possible {_p(least.smallest)}."
    ]


def _who(pair: Pair, name: str, moments: Moments) -> str:
    """The members; named once, and again where another number of them is defined."""
    first = _moments(pair, "cosine")
    if name != "cosine" and first is not None and first.draws == moments.draws:
        return ""
    adapters = "adapter" if moments.draws == 1 else "adapters"
    return f" for {moments.draws} unrelated {adapters} of {_place(pair)}"


def _place(pair: Pair) -> str:
    return "this initialisation" if pair.shared_init == "all" else "these initialisations"


def _spread(pair: Pair, name: str, moments: Moments) -> str:
    if not math.isfinite(moments.sd):
        return ""
    z = pair.z[name]
    return f", sd {moments.sd:.2g}" + ("" if z is None else f", z {z:.1f}")


def _p(p: float | None) -> str:
    return "undefined" if p is None else f"{p:.2g}"


def _moments(pair: Pair, name: str) -> Moments | None:
    bank = pair.nulls["bank"]
    return None if isinstance(bank, str) else bank.get(name)
