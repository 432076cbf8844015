"""What is said of curves that are known: flat ones, ones with a dip, and an S between two rates."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.behaviour.counts import Thresholds
from deltalens.behaviour.scoring import Scored
from deltalens.connectivity.features import FeatureLinearity
from deltalens.studies.walk.statistics import NEW, THESE
from deltalens.studies.walk.store import Point
from deltalens.studies.walk.summary import Summary, document, summarise
from deltalens.studies.walk.tally import tally
from deltalens.studies.walk.verdict import verdict

T = tuple(i / 10 for i in range(11))


def computed(curve: np.ndarray, rng: np.random.Generator, *, noise: float = 0.02) -> list[Point]:
    """Points of the symbolic world: each question around the curve, with an effect of its own."""
    own = 0.1 * (rng.random(96) - 0.5)
    points: list[Point] = []
    for t, mean in zip(T, curve, strict=True):
        bad = np.clip(mean + own + noise * rng.standard_normal(96), 0.0, 0.98)
        points.append(Point(t, exact=tuple((float(b), float(0.99 - b)) for b in bad)))
    return points


def summed(points: list[Point], *, from_base: bool = False) -> Summary:
    held = tally(points, Thresholds())
    return summarise(points, held, from_base=from_base, seed=0, draws=999)


def dip(made: Summary, target: str = NEW) -> object:
    return next(r for r in made.barriers if (r.measure, r.direction, r.target)
                == ("misaligned", "dip", target))  # fmt: skip


def test_a_flat_curve_has_no_barrier(rng: np.random.Generator) -> None:
    points = computed(np.full(11, 0.5), rng)
    made = summed(points)
    found = dip(made)
    assert found.p_holm > 0.05
    assert 0 < found.null_mean < 0.01  # a maximum over noisy points is not 0
    assert made.falls == ()
    assert "no more than noise gives" in document(points, made, {})["verdict"]


def test_a_dip_is_a_barrier(rng: np.random.Generator) -> None:
    points = computed(0.5 - 0.8 * np.array(T) * (1 - np.array(T)), rng)
    made = summed(points)
    found = dip(made)
    assert found.value == pytest.approx(0.2, abs=0.02)
    assert (found.at, found.p) == (0.5, 0.001)
    assert found.p_holm == 0.002  # with the peak; coherence is the same at every point:
    coherent = next(r for r in made.barriers if r.measure == "coherent")
    assert (coherent.value, coherent.p) == (0.0, None)
    assert dip(made, THESE).p is None
    assert "more than noise gives" in document(points, made, {})["verdict"]


def test_an_s_between_two_rates_is_no_barrier(rng: np.random.Generator) -> None:
    points = computed(0.05 + 0.85 / (1 + np.exp(-12 * (np.array(T) - 0.5))), rng, noise=0.002)
    made = summed(points)
    assert dip(made).value > 0.1  # no straight line, and yet:
    assert made.falls[0].value <= 0
    assert made.trend_p is not None
    assert made.trend_p < 1e-6
    said = document(points, made, {})
    assert "no step against the trend" in said["verdict"]
    assert said["ends"][0]["difference"] == pytest.approx(0.85, abs=0.02)


def test_rates_of_computed_probabilities(rng: np.random.Generator) -> None:
    points = computed(np.full(11, 0.3), rng)
    rows = {(r.t, r.measure, r.target): r for r in summed(points).rates}
    bad = np.array([each[0] for each in points[3].exact or ()])
    new, these = rows[0.3, "misaligned", NEW], rows[0.3, "misaligned", THESE]
    assert new.rate == these.rate == pytest.approx(bad.mean())
    half = 1.985 * bad.std(ddof=1) / np.sqrt(96)
    assert (new.low, new.high) == pytest.approx((bad.mean() - half, bad.mean() + half), abs=1e-4)
    assert (these.low, these.high) == (None, None)
    assert "there is no noise" in (these.reason or "")
    assert rows[0.3, "coherent", NEW].rate == pytest.approx(0.99)


def test_sampled_answers_have_noise_for_both_targets() -> None:
    def point(t: float, hits: int) -> Point:
        scores = tuple(
            Scored(f"q{q}", 0, s, aligned=0.0 if s < hits else 100.0, coherent=100.0)
            for q in range(8)
            for s in range(10)
        )
        return Point(t, scores=scores)

    points = [point(t, hits) for t, hits in zip(T, (5, 5, 5, 5, 5, 1, 5, 5, 5, 5, 5), strict=True)]
    made = summed(points)
    assert dip(made, THESE).value == pytest.approx(0.4)
    assert dip(made, THESE).p_holm < 0.05
    rows = {(r.t, r.target): r for r in made.rates if r.measure == "misaligned"}
    assert rows[0.5, THESE].rate == 0.1
    assert rows[0.5, THESE].n == 80
    assert "takes about" in (rows[0.0, NEW].needed or "")
    assert made.questions[0].scored == 10


def test_a_point_without_scores_has_no_curve() -> None:
    lost = tuple(Scored("q", 0, 0, aligned=None, coherent=None, reason="lost") for _ in range(1))
    points = [Point(t, scores=lost) for t in T]
    said = document(points, summed(points), {})
    assert said["points"][0]["misaligned"] is None
    assert said["points"][0]["unscored"] == 1
    assert said["verdict"] == "A point has no scored answer: there is no curve to test."


@pytest.mark.parametrize(
    ("r2", "said"),
    [
        (0.99967, "is at least 0.999: it is near 1 wherever base features dominate."),
        (-4.7561, "is at least -4.757: below 0 the line is a worse guess than the samples' mean."),
    ],
)
def test_r2_is_said_right_on_both_sides_of_0(r2: float, said: str) -> None:
    row = FeatureLinearity(
        t=0.5, layer=0, l2=0.01, r2=r2, l2_delta=0.01, r2_delta=0.9, gap_error=0.1,
        gap_error_pooled=0.1, distance=0.1, n=8, n_no_change=0, n_no_gap=0,
    )  # fmt: skip
    told = verdict((), (), (row,), measured=False)
    assert told.endswith(f"; R^2, the same error against the spread of the samples, {said}")


@pytest.mark.parametrize("from_base", [False, True])
@pytest.mark.parametrize(
    ("hits", "said"),
    [
        (0, "No answer was misaligned at any point: there is nothing to say of a line."),
        (3, "The rate of misaligned answers is the same, 0.3, at every point: there is nothing "
            "to say of a line."),
    ],
)  # fmt: skip
def test_one_rate_everywhere_is_no_trend(hits: int, said: str, from_base: bool) -> None:
    points = [Point(t, scores=_sampled(hits)) for t in T]
    made = summed(points, from_base=from_base)
    assert document(points, made, {})["verdict"] == said
    points[4] = Point(T[4], scores=_sampled(hits + 1))
    made = summed(points, from_base=from_base)
    assert "nothing to say" not in document(points, made, {})["verdict"]


def _sampled(hits: int) -> tuple[Scored, ...]:
    return tuple(
        Scored(f"q{q}", 0, s, aligned=0.0 if s < hits else 100.0, coherent=100.0)
        for q in range(8)
        for s in range(10)
    )
