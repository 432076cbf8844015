"""One sentence for each row of a group comparison, from fixed rules.

In order:
1. no mean: undefined, and why;
2. no null, or no test: the mean, and why nothing can be said (with the number needed);
3. against a benign bank: more alike than, or not shown to be, unrelated adapters of one seed;
4. an input-side measure under a shared initialisation: the seed's, not interpretable;
5. the update cosine against rotation or Haar: a screen;
6. an output-side measure against Haar: unrelated tasks exceed it, too;
7. an input-side measure of other initialisations against Haar: more, or no more, than chance.
"""

from __future__ import annotations

from deltalens.studies.compare.rows import COSINES, INPUT_SIDE
from deltalens.studies.groups.rows import GroupRow

LEVEL, BANK = 0.05, "bank"
_TITLES = {"cosine": "update cosine", "layer_cosine": "update cosine by layer"}


def sentence(row: GroupRow) -> str:
    """What can be said of a row; p is Holm's where there is one."""
    if row.mean is None:
        return f"Undefined: {row.reason}."
    what = f"{_TITLES.get(row.measure, row.measure.replace('_', ' '))} {row.mean:.3g}"
    if row.null is None or row.null_mean is None:
        return f"{what}, without a null: {row.null_reason}.{_seed(row)}"
    against = f"{what} against {row.null_mean:.3g} ({row.null}"
    if row.p is None:
        return f"{against}), without a test: {row.null_reason}.{_seed(row)}"
    p = row.p if row.p_holm is None else row.p_holm
    opening = f"{against}, p {p:.2g} after Holm)"
    more = p < LEVEL
    if row.null == BANK:
        than = "more alike than" if more else "not shown to be more alike than"
        return f"{opening}: {than} unrelated adapters of the bank."
    if row.measure in INPUT_SIDE and row.seeds != "other":
        return f"{opening}.{_seed(row)}"
    if row.measure in COSINES:
        return f"{opening}: {'above' if more else 'not above'} its null, a screen and not a claim."
    if row.measure in INPUT_SIDE:
        return f"{opening}: {'above' if more else 'not above'} random subspaces."
    return (
        f"{opening}: {'above' if more else 'not above'} random subspaces, which gradients of "
        "unrelated tasks exceed, too: no evidence about the task."
    )


def _seed(row: GroupRow) -> str:
    if row.measure not in INPUT_SIDE or row.seeds == "other":
        return ""
    shared = "Shared" if row.seeds == "same" else "Partly shared"
    return f" {shared} initialisation: the input side is not interpretable."
