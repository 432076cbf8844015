"""Two points of one task, document by document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.integrations.lm_eval.results import Evaluation, Measured
from deltalens.stats.intervals import MIN_REPLICATES, Interval, make_t_interval

_LEVEL, _SAME_MEAN = 0.95, 1e-6

Documents = Mapping[str, float]
"""A document's hash -> its score."""


def difference(
    point: Evaluation, start: Evaluation, now: Measured, then: Measured
) -> tuple[Interval, float | None]:
    """`now - then`, its interval over documents, and its standard error.

    Paired where both points have their samples and the metric is their mean; otherwise the errors
    of the two add up, `sqrt(se1^2 + se0^2)`, which is too wide where the documents are the same.

    Raises:
        OptionError: if a file of samples cannot be read, or the documents differ.
    """
    one, other = documents(point, now), documents(start, then)
    if one is None or other is None:
        return _apart(now, then)
    if one.keys() != other.keys():
        raise OptionError(
            f"{shown(now.task)}: {point.label} and {start.label} were asked different documents "
            f"({len(one)} and {len(other)}); the same are needed"
        )
    change = np.array([one[key] - other[key] for key in one])
    n = len(change)
    reason = None
    if n < MIN_REPLICATES:
        reason = f"n = {n} documents: an interval needs at least {MIN_REPLICATES}"
    elif not np.ptp(change):
        reason = f"all {n} documents change by {change[0]:g}: an interval needs some spread"
    error = float(change.std(ddof=1) / math.sqrt(n)) if reason is None else None
    made = make_t_interval(
        estimate=float(change.mean()), standard_error=error, df=n - 1.0, n=n, level=_LEVEL,
        method="paired over documents", reason=reason, n_missing=0,
    )  # fmt: skip
    return made, error


def _apart(now: Measured, then: Measured) -> tuple[Interval, float | None]:
    n = min(now.n or 0, then.n or 0)
    reason, error = None, None
    if now.stderr is None or then.stderr is None:
        reason = "lm-eval gives no standard error of this metric"
    elif n < MIN_REPLICATES:
        reason = "how many documents there were is not known"
    else:
        error = math.hypot(now.stderr, then.stderr)
    made = make_t_interval(
        estimate=now.value - then.value, standard_error=error, df=max(n - 1.0, 1.0), n=n,
        level=_LEVEL, method="unpaired", reason=reason, n_missing=0,
    )  # fmt: skip
    return made, error


def documents(evaluation: Evaluation, measured: Measured) -> Documents | None:
    """Every document's score; None where there are none, or the metric is not their mean."""
    path = evaluation.samples(measured.task)
    if not path.is_file():
        return None
    found: dict[str, float] = {}
    with path.open(encoding="utf-8") as lines:
        for i, line in enumerate(lines, 1):
            held = _line(line, path, i)
            if held.get("filter", "none") != measured.filter:
                continue
            score = held.get(measured.metric)
            if not isinstance(score, int | float):
                return None
            key = f"{held.get('doc_id')} {held.get('doc_hash')}"
            if key in found:
                return None  # a document asked several times: not one score each
            found[key] = float(score)
    mean = math.fsum(found.values()) / len(found) if found else math.nan
    return found if abs(mean - measured.value) <= _SAME_MEAN else None


def _line(line: str, path: Path, i: int) -> dict[str, Any]:
    try:
        held: Any = json.loads(line)
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise OptionError(f"{shown(path)}: line {i} is no JSON object; lm-eval writes one a line")
    return held  # pyright: ignore[reportUnknownVariableType]
