"""What lm-eval left on disk: `results_DATE.json`, and `samples_TASK_DATE.jsonl` beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.integrations.lm_eval.arguments import BASE, RESULTS
from deltalens.io import fields
from deltalens.io.strict_json import read_object

_POINT = re.compile(r"t-(-?[0-9].*)")
_MOST_BYTES = 256 * 2**20
_STDERR = "_stderr"


@dataclass(frozen=True)
class Measured:
    """One metric of one task at one point.

    Attributes:
        task: its name.
        metric: its name, `acc` for example.
        filter: which answers it is of, `none` for example.
        value: the metric.
        stderr: its standard error as lm-eval gives it, or None.
        n: documents; None where the file does not say.
        higher_is_better: None where the file does not say.
    """

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    n: int | None
    higher_is_better: bool | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What is compared between points."""
        return self.task, self.metric, self.filter


@dataclass(frozen=True)
class Evaluation:
    """One run of lm-eval.

    Attributes:
        label: `base`, or the point's folder.
        t: the position; None for the base.
        file: the results.
        measured: every metric that has a number.
        alike: what must be the same in two runs that are compared, by name.
    """

    label: str
    t: float | None
    file: Path
    measured: tuple[Measured, ...]
    alike: Mapping[str, str]

    def samples(self, task: str) -> Path:
        """The file of a task's documents, whether it is there or not."""
        date = self.file.stem.removeprefix("results_")
        return self.file.with_name(f"samples_{task}_{date}.jsonl")


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Every evaluation of a folder that `lm_eval.sh` filled: the base first, then by position.

    Raises:
        OptionError: if there is none, a point has several, or two cannot be compared.
    """
    root = folder / RESULTS if (folder / RESULTS).is_dir() else folder
    found = [_evaluation(label, t, one) for label, t, one in _labels(root)]
    if not found:
        raise OptionError(
            f"{shown(root)}: no results of lm-eval; they are in {RESULTS}/t-T/ after sh lm_eval.sh"
        )
    for other in found[1:]:
        _require_alike(found[0], other)
    return sorted(found, key=lambda one: (one.t is not None, one.t or 0.0))


def _labels(root: Path) -> Iterator[tuple[str, float | None, Path]]:
    for child in sorted(root.iterdir()) if root.is_dir() else ():
        t = _position(child.name)
        if not child.is_dir() or (t is None and child.name != BASE):
            continue
        files = sorted(child.rglob("results_*.json"))
        if len(files) > 1:
            raise OptionError(
                f"{shown(child)}: holds {len(files)} results ({shown(files[0].name)}, ...); one is "
                "needed: which one speaks of the point?"
            )
        if files:
            yield child.name, t, files[0]


def _position(name: str) -> float | None:
    found = _POINT.fullmatch(name)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


def _evaluation(label: str, t: float | None, file: Path) -> Evaluation:
    held, where = read_object(file, _MOST_BYTES), shown(file)
    results = fields.mapping(held.get("results"), "results", where)
    measured = tuple(
        one
        for task in results
        for one in _metrics(task, fields.mapping(results[task], task, where), held, where)
    )
    if not measured:
        raise OptionError(f"{where}: results hold no number; lm-eval writes TASK: METRIC,FILTER")
    return Evaluation(label, t, file, measured, _alike(held, where))


def _metrics(
    task: str, found: Mapping[str, Any], held: Mapping[str, Any], where: str
) -> Iterator[Measured]:
    better = fields.mapping(held.get("higher_is_better"), "higher_is_better", where)
    counts = fields.mapping(held.get("n-samples"), "n-samples", where)
    count = fields.mapping(counts.get(task), "n-samples", where).get("effective")
    for name, value in found.items():
        metric, comma, filtered = name.partition(",")
        if not comma or metric.endswith(_STDERR) or _number(value) is None:
            continue
        best: Any = fields.mapping(better.get(task), "higher_is_better", where).get(metric)
        yield Measured(
            task=task,
            metric=metric,
            filter=filtered,
            value=cast("float", _number(value)),
            stderr=_number(found.get(f"{metric}{_STDERR},{filtered}")),
            n=count if type(count) is int else None,
            higher_is_better=best if isinstance(best, bool) else None,
        )


def _number(value: object) -> float | None:
    """A finite number; lm-eval writes "N/A" for an unknown error."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _alike(held: Mapping[str, Any], where: str) -> dict[str, str]:
    config = fields.mapping(held.get("config"), "config", where)
    named = {name: held.get(name) for name in ("versions", "n-shot", "n-samples")}
    named |= {"limit": config.get("limit"), "chat template": held.get("chat_template_sha")}
    named |= {"version of lm-eval": held.get("lm_eval_version")}
    return {name: json.dumps(value, sort_keys=True) for name, value in named.items()}


def _require_alike(one: Evaluation, other: Evaluation) -> None:
    for name, value in one.alike.items():
        if other.alike[name] != value:
            raise OptionError(
                f"{one.label} and {other.label} were evaluated differently: {name} is "
                f"{shown(value, 120)} and {shown(other.alike[name], 120)}"
            )
