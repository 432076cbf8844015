"""What chance gives judges of questions whose answers are alike: level, orders, and no p at all."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from deltalens.stats.judges_by_chance import _blocks, by_chance, log_arrangements
from deltalens.stats.raters import alpha, kappa, rank_correlation

N = np.nan


def asked(questions: int, answers: int) -> list[str]:
    return [f"q{i // answers}" for i in range(questions * answers)]


def independent(rng: np.random.Generator, questions: int, answers: int, alike: float) -> np.ndarray:
    """Two judges, each with its own view of every question, correlated `alike` within questions."""
    level = rng.normal(0, 1, (questions, 2)).repeat(answers, axis=0)
    noise = rng.normal(0, 1, (questions * answers, 2))
    return math.sqrt(alike) * level + math.sqrt(1 - alike) * noise


@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_p_keeps_its_level_where_answers_to_a_question_are_alike(alike: float) -> None:
    rng = np.random.default_rng(int(10 * alike))
    low, means, runs = 0, [], 240
    for _ in range(runs):
        found = by_chance(independent(rng, 8, 10, alike), asked(8, 10), alpha, rng=rng, draws=19)
        assert found.exchanged == 8
        low += found.p is not None and found.p <= 0.05
        means.append(found.mean)
    assert low <= 23  # binomial(240, .05): 12 +- 3.4; scores dealt out among all answers give 48
    assert low >= 3
    assert abs(np.mean(means)) < 0.05


def test_level_with_missing_scores_and_questions_of_unlike_size() -> None:
    rng = np.random.default_rng(3)
    names = [f"q{i}" for i, m in enumerate((3, 3, 3, 5, 5, 5, 7)) for _ in range(m)]
    low = 0
    for _ in range(200):
        level = rng.normal(0, 1, (7, 3))[[int(name[1:]) for name in names]]
        scores = level + rng.normal(0, 1, (len(names), 3))
        scores[rng.random(scores.shape) < 0.1] = N
        found = by_chance(scores, names, alpha, rng=rng, draws=19)
        low += found.p is not None and found.p <= 0.05
    assert low <= 20


def test_judges_that_agree() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 101, 40).astype(float)
    same = np.stack([x, x], axis=1)
    seen = by_chance(same, asked(8, 5), alpha, rng=rng, draws=99)
    assert (seen.p, seen.smallest_p) == (0.01, 0.01)
    assert seen.reason is None


def test_a_draw_keeps_questions_together_and_missing_scores_missing() -> None:
    scores = np.array([1, 2, N, 3, 4, 5, 5, 6, 7.0])
    names = ["a", "a", "a", "b", "b", "c", "c", "c", "d"]
    drawn: list[tuple[float, ...]] = []

    def keep(made: np.ndarray) -> float:
        drawn.append(tuple(made[:, 0].tolist()))
        return 1.0

    pair = np.stack([scores, scores], axis=1)
    found = by_chance(pair, names, keep, rng=np.random.default_rng(1), draws=400)
    assert found.exchanged == 2  # a and b, of two scores each
    for made in drawn:
        assert math.isnan(made[2])
        assert {frozenset(made[:2]), frozenset(made[3:5])} == {frozenset((1, 2)), frozenset((3, 4))}
        assert (sorted(made[5:8]), made[8]) == ([5, 5, 6], 7)
    # 2 orders of a and b, 2 within each, and 3 within c, whose two fives are alike.
    assert len({str(made) for made in drawn}) == 24
    blocks = _blocks(np.isfinite(scores), names)
    assert math.exp(log_arrangements(scores, blocks)) == pytest.approx(24)


def test_the_smallest_p_is_what_orders_of_questions_allow() -> None:
    """Four questions, each with one verdict throughout: six orders, and p is no less than 1/6."""
    verdict = np.repeat([1.0, 1, 0, 0], 5)
    same = np.stack([verdict, verdict], axis=1)
    found = by_chance(
        same, asked(4, 5), lambda made: kappa(made, "none"), rng=np.random.default_rng(2)
    )
    assert found.smallest_p == pytest.approx(1 / 6)
    assert found.p == pytest.approx(len(set(permutations([1, 1, 0, 0]))) ** -1, abs=0.04)
    # Of three judges, where one stands to the others is two orders.
    three = by_chance(
        np.stack([verdict] * 3, axis=1), asked(4, 5), alpha, rng=np.random.default_rng(2)
    )
    assert three.smallest_p == pytest.approx(1 / 36)


def test_no_p_and_why() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 101, 6).astype(float)
    pair = np.stack([x, x], axis=1)
    for names in (["a", "a", "a", "b", "b", "c"], ["a"] * 6):
        found = by_chance(pair, names, rank_correlation, rng=rng)
        assert (found.mean, found.p, found.smallest_p, found.exchanged) == (None, None, None, 0)
        assert found.reason == (
            "a judge scored no two questions with equally many answers: none can change places"
        )
    flat = by_chance(np.full((9, 2), 1.0), asked(3, 3), alpha, rng=rng)
    assert (flat.p, flat.reason) == (None, "the measure is undefined")
    calls = iter([1.0])
    never = by_chance(pair, asked(3, 2), lambda _: next(calls, None), rng=rng, draws=3)
    assert (never.p, never.reason) == (None, "the measure is undefined in every draw")


def test_alpha_by_chance_is_under_0_where_levels_differ(rng: np.random.Generator) -> None:
    scores = np.stack([np.zeros(30), np.full(30, 100.0), np.full(30, 50.0)], axis=1)
    scores += rng.normal(0, 1, scores.shape)
    found = by_chance(scores, asked(6, 5), alpha, rng=rng, draws=9)
    assert found.mean is not None
    assert found.mean < -0.4
