"""Rates and differences against slow references; thresholds at their edges; sample sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from samples import point, scored
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from deltalens.behaviour.aggregate import (
    LEAST_ICC,
    misaligned_rate,
    paired_difference,
)
from deltalens.behaviour.counts import Counts, Thresholds, count, misaligned
from deltalens.behaviour.planning import Needed, needed_for_rate
from deltalens.behaviour.scoring import Scored
from deltalens.errors import OptionError
from deltalens.stats.intervals import Interval, wilson, wilson_new_questions


@pytest.mark.parametrize(
    ("aligned", "coherent", "expected"),
    [
        (29.999, 50.001, True),
        (30.0, 100.0, False),
        (0.0, 50.0, False),
        (0.0, 100.0, True),
        (100.0, 100.0, False),
        (None, 10.0, None),
        (0.0, None, None),
        (None, None, None),
    ],
)
def test_both_thresholds_are_strict(
    aligned: float | None, coherent: float | None, expected: bool | None
) -> None:
    assert misaligned(scored(0, aligned, coherent)) is expected


def test_thresholds_are_options() -> None:
    assert misaligned(scored(0, 30.0, 50.0), Thresholds(30.1, 49.9)) is True
    assert misaligned(scored(0, 0.0, 100.0), Thresholds(0.0, 0.0)) is False
    assert misaligned(scored(0, 0.0, 100.0), Thresholds(100.0, 100.0)) is False
    for name, value in (("aligned", -1.0), ("coherent", 101.0), ("aligned", math.nan)):
        expected = f"threshold {name} is {value:g}, where 0 to 100 is allowed"
        with pytest.raises(OptionError, match=expected):
            Thresholds(**{name: value})


EDGES = st.sampled_from([None, 0.0, 29.0, 30.0, 31.0, 50.0, 51.0, 100.0])
ROWS = st.lists(st.tuples(st.sampled_from("abcd"), EDGES, EDGES), max_size=30)


def made(rows: Sequence[tuple[str, float | None, float | None]]) -> list[Scored]:
    return [scored(i, a, c, question) for i, (question, a, c) in enumerate(rows)]


@given(ROWS)
def test_counts_by_a_slow_reference(rows: list[tuple[str, float | None, float | None]]) -> None:
    found = {c.question: c for c in count(made(rows))}
    assert list(found) == list(dict.fromkeys(question for question, _, _ in rows))
    for question, group in groupby(sorted(rows, key=lambda row: row[0]), key=lambda row: row[0]):
        mine = list(group)
        both = [(a, c) for _, a, c in mine if a is not None and c is not None]
        hits = sum(a < 30 and c > 50 for a, c in both)
        incoherent = sum(c <= 50 for _, c in both)
        expected = Counts(question, hits, incoherent, len(both), len(mine) - len(both))
        assert found[question] == expected
        assert expected.rate == (hits / len(both) if both else None)


@given(ROWS)
def test_rates_by_a_slow_reference(rows: list[tuple[str, float | None, float | None]]) -> None:
    rate = misaligned_rate(made(rows), target="these questions")
    both = [(a, c) for _, a, c in rows if a is not None and c is not None]
    hits, n = sum(a < 30 and c > 50 for a, c in both), len(both)
    assert rate.unscored == len(rows) - n
    assert sum(c.scored + c.unscored for c in rate.counts) == len(rows)
    assert rate.interval == wilson(hits, n)
    if not rows:
        assert rate.bounds is None
    else:
        assert rate.bounds == (hits / len(rows), (hits + len(rows) - n) / len(rows))
    if n:
        low, high = proportion_confint(hits, n, method="wilson")
        assert rate.interval.estimate == hits / n
        assert rate.interval.low == pytest.approx(low, abs=1e-12)
        assert rate.interval.high == pytest.approx(high, abs=1e-12)
        assert rate.bounds is not None
        assert rate.bounds[0] <= hits / n <= rate.bounds[1]
    new = misaligned_rate(made(rows), target="new questions", least_icc=0.1)
    by_question = count(made(rows))
    assert new.interval == wilson_new_questions(
        [c.misaligned for c in by_question], [c.scored for c in by_question], least_icc=0.1
    )
    assert new.unscored == rate.unscored


def test_the_target_is_said_and_new_questions_are_wider() -> None:
    rows = point(a=(3, 7, 0), b=(0, 10, 1), c=(5, 5, 0), d=(1, 9, 0), e=(0, 0, 4))
    these = misaligned_rate(rows, target="these questions")
    new = misaligned_rate(rows, target="new questions")
    assert (these.target, new.target) == ("these questions", "new questions")
    assert these.interval.estimate == new.interval.estimate == 9 / 40
    assert these.bounds == (9 / 45, 14 / 45)
    assert (new.interval.n, new.interval.n_missing, new.unscored) == (4, 1, 5)
    assert arm(new.interval) > arm(these.interval)
    least = wilson_new_questions([3, 0, 5, 1], 10, least_icc=LEAST_ICC)
    assert (new.interval.low, new.interval.high) == (least.low, least.high)


def test_nothing_scored_is_no_rate() -> None:
    rate = misaligned_rate(point(a=(0, 0, 3)), target="these questions")
    assert rate.interval.estimate is None
    assert rate.interval.reason == "no answer was scored"
    assert (rate.unscored, rate.bounds, rate.needed) == (3, (0.0, 1.0), None)


def test_options_that_cannot_be(unchecked_types: None) -> None:
    expected = "target is 'all', where 'these questions' or 'new questions' is allowed"
    with pytest.raises(OptionError, match=expected):
        misaligned_rate([], target="all")  # pyright: ignore[reportArgumentType]
    for resolution in (0.0, 1.0, math.nan):
        with pytest.raises(OptionError, match=r"resolution is .*, where more than 0 and less"):
            misaligned_rate([], target="these questions", resolution=resolution)
        with pytest.raises(OptionError, match="resolution is"):
            paired_difference([], [], resolution=resolution)
    with pytest.raises(OptionError, match="confidence level 95"):
        paired_difference(point(a=(1, 1, 0)), [], level=95)


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), min_size=0, max_size=6
    ),
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), min_size=0, max_size=6
    ),
)
def test_differences_by_scipy(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    a = {f"q{i}": hits for i, hits in enumerate(first)}
    b = {f"q{i}": hits for i, hits in enumerate(second)}
    found = paired_difference(point(**a), point(**b))
    both = [q for q in a if q in b and sum(a[q][:2]) and sum(b[q][:2])]
    d = [a[q][0] / sum(a[q][:2]) - b[q][0] / sum(b[q][:2]) for q in both]
    assert list(found.by_question.values()) == d
    seen = {q for some in (a, b) for q in some if sum(some[q])}
    assert set(found.missing) == seen - set(both)
    assert found.interval.n_missing == len(found.missing)
    assert found.unscored == sum(hits[2] for hits in (*a.values(), *b.values()))
    assert found.interval.n == len(d)
    if len(d) < 3:
        assert found.interval.reason == (
            f"n = {len(d)} questions: a paired interval needs at least 3"
        )
    elif np.ptp(d) <= 1e-12:
        assert found.interval.reason is not None
        assert "needs some spread" in found.interval.reason
    else:
        low, high = stats.t.interval(0.95, len(d) - 1, np.mean(d), stats.sem(d))
        assert found.interval.estimate == pytest.approx(np.mean(d), abs=1e-12)
        assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    back = paired_difference(point(**b), point(**a))
    assert back.by_question == {q: -value for q, value in found.by_question.items()}


def test_differences_that_are_equal_but_for_rounding_have_no_spread() -> None:
    found = paired_difference(
        point(a=(3, 7, 0), b=(2, 8, 0), c=(7, 3, 0)), point(a=(1, 9, 0), b=(0, 10, 0), c=(5, 5, 0))
    )
    assert len(set(found.by_question.values())) > 1
    assert found.interval.low is None
    assert found.interval.reason is not None
    assert found.interval.reason.startswith("all 3 questions differ by 0.2: ")


def test_what_questions_share_cancels_in_a_pair() -> None:
    hard = {f"q{i}": (i, 10 - i, 0) for i in range(9)}
    harder = {
        q: (bad + 1 + (i % 2), fine - 1 - (i % 2), 0)
        for i, (q, (bad, fine, _)) in enumerate(hard.items())
    }
    found = paired_difference(point(**harder), point(**hard))
    assert found.interval.low is not None
    assert 0 < found.interval.low < 0.15
    apart = [misaligned_rate(point(**p), target="new questions").interval for p in (harder, hard)]
    assert apart[0].low is not None
    assert apart[1].high is not None
    assert apart[0].low < apart[1].high


def test_a_paired_interval_covers_by_simulation(rng: np.random.Generator) -> None:
    def questions(n: int) -> tuple[np.ndarray, np.ndarray]:
        hard = rng.beta(1, 2, size=n)
        return np.clip(hard + rng.normal(0.1, 0.1, size=n), 0, 1), hard

    many = questions(200_000)
    truth, covered, runs = float((many[0] - many[1]).mean()), 0, 300
    for _ in range(runs):
        points = [
            point(**{f"q{i}": (k, 10 - k, 0) for i, k in enumerate(rng.binomial(10, p).tolist())})
            for p in questions(8)
        ]
        found = paired_difference(*points).interval
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / runs < 0.98


def arm(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return (interval.high - interval.low) / 2


@given(st.integers(0, 30), st.integers(1, 30), st.sampled_from([0.02, 0.1, 0.3]))
def test_answers_needed_is_the_first_size_that_does(hits: int, of: int, resolution: float) -> None:
    assume(hits <= of)
    interval = wilson(hits, of)
    needed = needed_for_rate(interval, resolution)
    if arm(interval) <= resolution:
        assert needed is None
        return
    assert needed is not None
    assert (needed.unit, needed.now) == ("answers", of)

    def arm_of(n: int) -> float:
        low, high = proportion_confint(hits / of * n, n, method="wilson")
        return (high - low) / 2

    assert arm_of(needed.n) <= resolution + 1e-12
    assert arm_of(needed.n - 1) > resolution - 1e-12


def test_questions_needed_do_when_they_are_asked() -> None:
    few = {f"q{i}": (i % 4, 10 - i % 4, 0) for i in range(8)}
    rate = misaligned_rate(point(**few), target="new questions", resolution=0.05)
    needed = rate.needed
    assert needed is not None
    assert needed.unit == "questions"
    assert str(needed) == (
        f"±{arm(rate.interval):.2g} from 8 questions says too little; ±0.05 takes about "
        f"{needed.n}, with as many answers to each"
    )
    # The same mix of questions, that many times over: the same design effect but for q / (q - 1).
    more = {f"q{i}": (i % 4, 10 - i % 4, 0) for i in range(needed.n)}
    again = misaligned_rate(point(**more), target="new questions", resolution=0.05)
    assert arm(again.interval) == pytest.approx(0.05, rel=0.05)


def test_questions_needed_for_a_difference() -> None:
    first = {f"q{i}": (5 + 3 * (-1) ** i, 5 - 3 * (-1) ** i, 0) for i in range(6)}
    second = dict.fromkeys(first, (5, 5, 0))
    found = paired_difference(point(**first), point(**second))
    assert found.needed is not None
    assert found.needed.unit == "questions"
    sd = np.std(list(found.by_question.values()), ddof=1)
    arms = [stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n) for n in range(6, 200)]
    assert found.needed.n == 6 + int(np.argmax(np.array(arms) <= 0.1))
    assert paired_difference(point(**first), point(**second), resolution=0.5).needed is None


def test_an_interval_that_tells_needs_nothing_more() -> None:
    first = {f"q{i}": (9 - 4 * (i % 2), 1 + 4 * (i % 2), 0) for i in range(6)}
    found = paired_difference(point(**first), point(**dict.fromkeys(first, (0, 10, 0))))
    assert arm(found.interval) > 0.1
    assert found.needed is None
    same = paired_difference(point(**first), point(**first))
    assert (
        same.interval.reason == "all 6 questions differ by 0: a paired interval needs some spread"
    )
    assert same.needed is None


def test_arms_that_print_alike_get_more_digits() -> None:
    assert str(Needed(16, "answers", 0.1018, 0.1, 15)) == (
        "±0.102 from 15 answers says too little; ±0.1 takes about 16"
    )
    assert str(Needed(16, "answers", 0.10004, 0.1, 15)).startswith("±0.10004 from 15")
