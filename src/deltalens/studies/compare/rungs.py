"""Which rungs of the ladder a pair has, which are missing, and what would supply them."""

from __future__ import annotations

from typing import Any

from deltalens.geometry.nulls import TABLE
from deltalens.studies.compare.rows import Pair

_ELSEWHERE = {
    "ceiling": "needs pairs that share their data: two adapters do not say which those are",
    "labels": "needs several tasks a label: a pair has none",
}


def rungs(pair: Pair) -> dict[str, Any]:
    """`{"given": [NULL...], "missing": {NULL: {"reason", "supply"}}}`, in the ladder's order."""
    found = {name: pair.nulls.get(name, _ELSEWHERE.get(name, "")) for name in TABLE}
    return {
        "given": [name for name, null in found.items() if not isinstance(null, str)],
        "missing": {
            name: {"reason": null, "supply": TABLE[name].supply}
            for name, null in found.items()
            if isinstance(null, str)
        },
    }


def ladder() -> dict[str, dict[str, str]]:
    """The ladder as the document carries it: what each rung computes, assumes and supports."""
    return {
        name: {
            "formula": null.formula,
            "assumes": null.assumes,
            "valid_for": null.valid_for,
            "supports": null.supports,
            "source": null.source,
        }
        for name, null in TABLE.items()
    }
