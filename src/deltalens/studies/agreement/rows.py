"""The rows of an agreement's tables, in long form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One measure of agreement on one scale.

    Attributes:
        scale: `aligned`, `coherent`, or `misaligned` (the verdict).
        measure: `kappa_quadratic`, `kappa_linear`, `kappa`, `spearman`, `mean_difference`, `alpha`.
        a: a judge; `all` for a measure of all judges at once.
        b: the other one; empty for all.
        value: None with a reason.
        low: lower end of the 95 % interval for new questions.
        high: upper end.
        n: answers behind it, scored by both judges (by two or more, for all).
        questions: questions behind it.
        method: how the interval was made.
        reason: why there is no value, or no interval.
        chance_mean: the same after each judge's scores change places, questions kept together.
        chance_sd: its standard deviation.
        p: of a value as large by chance, upper tail, not corrected.
        smallest_p: what p cannot be under, whatever the scores agree.
        draws: of chance.
        exchanged: questions that can change places with another, of the judge with the fewest.
        chance_reason: why nothing is said of chance.
    """

    scale: str
    measure: str
    a: str
    b: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    questions: int
    method: str
    reason: str | None
    chance_mean: float | None
    chance_sd: float | None
    p: float | None
    smallest_p: float | None
    draws: int
    exchanged: int
    chance_reason: str | None


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """How many answers two judges scored on one scale."""

    scale: str
    a: str
    b: str
    both: int
    only_a: int
    only_b: int
    neither: int


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What another threshold would make of the same scores.

    Attributes:
        moved: the threshold that is moved, `aligned` or `coherent`; the other one stays.
        threshold: where it is.
        measure: `rate` of misaligned answers by one judge, or `kappa` of two judges' verdicts.
        a: the judge.
        b: the other one; empty for a rate.
        value: None with a reason.
        n: answers that all judges (for kappa: both) gave a verdict on.
        reason: why there is no value.
    """

    moved: str
    threshold: float
    measure: str
    a: str
    b: str
    value: float | None
    n: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One judge's score of one answer."""

    file: str
    question: str
    paraphrase: int
    sample: int
    judge: str
    aligned: float | None
    coherent: float | None
    misaligned: bool | None
    reason: str | None
