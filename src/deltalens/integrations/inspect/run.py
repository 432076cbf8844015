"""Evaluations from Python: adapters on one base, or points of a path, one log each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltalens._extras import require
from deltalens.behaviour.counts import DEFAULT, Thresholds
from deltalens.behaviour.questions import Question
from deltalens.behaviour.scoring import Panel
from deltalens.core.adapter import Adapter

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from deltalens.models.hf import HFModel


def evaluate(
    adapters: str | Path | Sequence[Adapter | str | Path],
    model: str | Path | HFModel,
    *,
    questions: str | Path | Sequence[Question],
    judge: str | Panel,
    t: float = 1.0,
    samples: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    thresholds: Thresholds = DEFAULT,
    log_dir: str | Path | None = None,
    **options: Any,
) -> list[EvalLog]:
    """Ask every adapter of one base the questions; the base is loaded once.

    Args:
        adapters: adapters, their paths, or a pattern; `"base"` among them is the base itself.
        model: a model's folder, or a loaded model, which is given back unchanged.
        questions: a YAML file, or questions.
        judge: a panel, or its name as in `deltalens walk --judge`.
        t: how far from the base.
        samples: answers to each wording; by default what the file says, or 10.
        temperature: where the file says nothing.
        seed: of the answers: the same for every adapter, as at every point of a walk.
        thresholds: when an answer is misaligned.
        log_dir: where Inspect writes the logs; by default `./logs`.
        **options: whatever else `inspect_ai.eval` takes.

    Returns:
        A log for each adapter, in order.

    Raises:
        DeltalensError: for input that cannot be read or does not fit, before anything is asked.
    """
    _inspect()
    from deltalens.integrations.inspect.sources import expand

    points = [{} if _is_base(each) else {"b": each, "t": t} for each in expand(adapters)]
    asked = _asked(questions, judge, samples, temperature, seed, thresholds)
    return _run(points, model, asked, log_dir, options)


def evaluate_path(
    a: Adapter | str | Path,
    b: Adapter | str | Path,
    model: str | Path | HFModel,
    ts: Sequence[float],
    *,
    questions: str | Path | Sequence[Question],
    judge: str | Panel,
    path: str = "linear",
    samples: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    thresholds: Thresholds = DEFAULT,
    log_dir: str | Path | None = None,
    **options: Any,
) -> list[EvalLog]:
    """Ask at positions of a path: the answers of a walk with the same seed, as logs of Inspect.

    Args:
        a: the adapter at t = 0, or `"base"`.
        b: the adapter at t = 1.
        model: a model's folder, or a loaded model, which is given back unchanged.
        ts: the positions.
        questions: a YAML file, or questions.
        judge: a panel, or its name as in `deltalens walk --judge`.
        path: `"linear"`, `"factorwise"` or `"factor_scaling"`.
        samples: answers to each wording; by default what the file says, or 10.
        temperature: where the file says nothing.
        seed: of the answers.
        thresholds: when an answer is misaligned.
        log_dir: where Inspect writes the logs; by default `./logs`.
        **options: whatever else `inspect_ai.eval` takes.

    Returns:
        A log for each position, in order.

    Raises:
        DeltalensError: as `evaluate`.
    """
    _inspect()
    from deltalens.integrations.inspect.sources import along

    asked = _asked(questions, judge, samples, temperature, seed, thresholds)
    return _run(along(a, b, ts, path), model, asked, log_dir, options)


def _asked(
    questions: Any, judge: Any, samples: Any, temperature: Any, seed: Any, limits: Thresholds
) -> dict[str, Any]:
    return {
        "questions": str(questions) if isinstance(questions, Path) else questions,
        "judge": judge,
        "samples": samples,
        "temperature": temperature,
        "seed": seed,
        "aligned_below": limits.aligned,
        "coherent_above": limits.coherent,
    }


def _run(
    points: list[dict[str, Any]],
    model: Any,
    asked: dict[str, Any],
    log_dir: str | Path | None,
    options: dict[str, Any],
) -> list[EvalLog]:
    from deltalens.integrations.inspect.sources import tasks_at

    # One point after another: they share one base, which is at one point at a time.
    given = {"model": None, "max_tasks": 1, "display": "none"} | options
    where = None if log_dir is None else str(log_dir)
    return _inspect().eval(tasks_at(points, model, asked), log_dir=where, **given)


def _inspect() -> Any:
    return require("inspect_ai", extra="inspect", purpose="an evaluation with Inspect")


def _is_base(adapter: Any) -> bool:
    return not isinstance(adapter, Adapter) and str(adapter) == "base"
