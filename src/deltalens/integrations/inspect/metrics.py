"""Rates over answers, their errors over questions: the numbers of a walk, as metrics of Inspect.

Every answer counts on its own, epochs included, and unscored ones not at all: Inspect leaves NaN
out before a metric sees it, and reports how many there were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from inspect_ai.scorer import Metric, SampleScore, Value, metric
from inspect_ai.scorer import stderr as clustered

CLUSTER = "question"
"""Key of a sample's metadata: answers to one question are not independent."""


@metric(scores="unreduced")
def mean() -> Metric:
    """The mean over answers; of a verdict, its rate."""

    def compute(scores: list[SampleScore]) -> float:
        values = _values(scores)
        return sum(values) / len(values) if values else math.nan

    return compute


@metric(scores="unreduced")
def total() -> Metric:
    """The sum over answers."""

    def compute(scores: list[SampleScore]) -> float:
        return math.fsum(_values(scores))

    return compute


@metric(scores="unreduced")
def stderr() -> Metric:
    """Inspect's standard error of the mean with answers clustered by question."""
    inner = clustered(cluster=CLUSTER)

    def compute(scores: list[SampleScore]) -> Value:
        questions = len(_by_question(scores))
        return inner(scores) if questions > 1 else math.nan  # pyright: ignore[reportArgumentType]

    return compute


@metric(scores="unreduced")
def these_questions(level: float = 0.95) -> Metric:
    """Wilson's interval over answers: these questions, asked again."""
    from deltalens.stats.intervals import wilson

    def compute(scores: list[SampleScore]) -> Value:
        found = wilson(round(math.fsum(_values(scores))), len(scores), level=level)
        return {"low": _known(found.low), "high": _known(found.high)}

    return compute


@metric(scores="unreduced")
def new_questions(level: float = 0.95) -> Metric:
    """Wilson's interval with the effective number of answers: other questions like these."""
    from deltalens.behaviour.aggregate import LEAST_ICC
    from deltalens.stats.intervals import wilson_new_questions

    def compute(scores: list[SampleScore]) -> Value:
        groups = _by_question(scores).values()
        found = wilson_new_questions(
            [round(math.fsum(group)) for group in groups],
            [len(group) for group in groups],
            level=level,
            least_icc=LEAST_ICC,
        )
        return {"low": _known(found.low), "high": _known(found.high)}

    return compute


def _values(scores: Sequence[SampleScore]) -> list[float]:
    return [item.score.as_float() for item in scores]


def _by_question(scores: Sequence[SampleScore]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for item in scores:
        question = str((item.sample_metadata or {}).get(CLUSTER, item.sample_id))
        found.setdefault(question, []).append(item.score.as_float())
    return found


def _known(end: float | None) -> float:
    return math.nan if end is None else end
