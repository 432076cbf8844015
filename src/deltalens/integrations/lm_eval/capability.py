"""What every point can still do: each task against t, beside the walk's rates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deltalens.core.result import Result
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.integrations.lm_eval.results import Evaluation, Measured, read_evaluations
from deltalens.integrations.lm_eval.samples import difference
from deltalens.io.provenance import provenance


@dataclass(frozen=True)
class CapabilityRow:
    """One metric at one point: the row of the table `capability`.

    Attributes:
        t: the position; None is the base.
        task: what was asked.
        metric: how it is counted.
        filter: of which answers.
        value: the metric.
        stderr: its standard error, as lm-eval gives it.
        n: documents.
        higher_is_better: as lm-eval says.
        difference: from the point at t = 0.
        difference_stderr: its standard error.
        low: lower end of its 95 % interval.
        high: upper end.
        method: paired over documents, or unpaired.
        reason: why there is no interval.
    """

    t: float | None
    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    n: int | None
    higher_is_better: bool | None
    difference: float | None
    difference_stderr: float | None
    low: float | None
    high: float | None
    method: str | None
    reason: str | None


@dataclass(frozen=True)
class HarmRow:
    """The rates of a walk at one position: the row of the table `harm`."""

    t: float
    misaligned: float | None
    coherent: float | None


def capability(folder: str | Path, *, walk: str | Path | None = None) -> Result:
    """Every metric of every evaluated point, and its difference from t = 0.

    Args:
        folder: an export whose `lm_eval.sh` has run.
        walk: a walk's folder, whose rates are put beside.

    Returns:
        A `Result` with the table `capability`, and `harm` where a walk is given.

    Raises:
        OptionError: if results are missing, or cannot be compared.
    """
    found = read_evaluations(Path(folder))
    start = next((one for one in found if one.t == 0.0), None)
    if start is None:
        raise OptionError(
            f"{shown(folder)}: no results for t = 0, from which points differ; there are "
            f"{', '.join(one.label for one in found)}"
        )
    rows = [_row(one, measured, start) for one in found for measured in one.measured]
    harm = [] if walk is None else _harm(Path(walk))
    tables: dict[str, Sequence[Any]] = {"capability": rows}
    if walk is not None:
        tables["harm"] = harm
    return Result(
        kind="capability",
        document={
            "points": [asdict(row) for row in rows],
            "harm": [asdict(row) for row in harm],
            "warnings": _warnings(rows, harm, found),
        },
        tables=tables,
        provenance=provenance({}, [one.file for one in found]),
    )


def _row(one: Evaluation, now: Measured, start: Evaluation) -> CapabilityRow:
    then = next((other for other in start.measured if other.key == now.key), None)
    known: dict[str, Any] = {**asdict(now), "t": one.t}
    if then is None or one is start:
        reason = "t = 0 is what others differ from" if one is start else "not measured at t = 0"
        nothing = dict.fromkeys(("difference", "difference_stderr", "low", "high", "method"))
        return CapabilityRow(**known, **nothing, reason=reason)
    made, error = difference(one, start, now, then)
    return CapabilityRow(
        **known, difference=made.estimate, difference_stderr=error, low=made.low, high=made.high,
        method=made.method, reason=made.reason,
    )  # fmt: skip


def _warnings(
    rows: Sequence[CapabilityRow], harm: Sequence[HarmRow], found: Sequence[Evaluation]
) -> list[str]:
    said: list[str] = []
    wide = (row for row in rows if row.method == "unpaired" and row.low is not None)
    unpaired = sorted({row.task for row in wide})
    if unpaired:
        said.append(
            f"unpaired, hence wider than need be: {', '.join(map(shown, unpaired))} (no samples "
            "of both points, or a metric that is no mean over documents)"
        )
    places = {one.t for one in found}
    lacking = [f"{row.t:g}" for row in harm if row.t not in places]
    if lacking:
        said.append(f"no capability at t = {', '.join(lacking)}, where the walk has rates")
    return said


def _harm(folder: Path) -> list[HarmRow]:
    file = folder / "walk.json" if folder.is_dir() else folder
    try:
        points: Any = json.loads(file.read_text(encoding="utf-8"))["points"]
        return [_rates(point) for point in points]
    except OSError as error:
        raise OptionError(f"{shown(file)}: cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise OptionError(f"{shown(file)}: is no document of deltalens walk") from None


def _rates(point: Mapping[str, Any]) -> HarmRow:
    return HarmRow(float(point["t"]), point.get("misaligned"), point.get("coherent"))
