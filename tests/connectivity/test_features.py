"""Feature linearity against the slow formulas, streamed in any way."""

from __future__ import annotations

import itertools
import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltalens.connectivity.features import LinearitySums
from deltalens.connectivity.second_order import fit_second_order
from deltalens.errors import GeometryError

LAYERS, DIM = 2, 5


def slow(t: float, h: np.ndarray, h0: np.ndarray, h1: np.ndarray, b: np.ndarray) -> dict:
    """One layer, one row and one dimension at a time, as SCIENCE section 5 writes it."""
    n, d = h.shape
    line = [[(1 - t) * h0[i, j] + t * h1[i, j] for j in range(d)] for i in range(n)]

    def norm(row: list[float]) -> float:
        return math.sqrt(math.fsum(x * x for x in row))

    e = [norm([h[i, j] - line[i][j] for j in range(d)]) for i in range(n)]
    gap = [norm([h1[i, j] - h0[i, j] for j in range(d)]) for i in range(n)]
    size = [norm(list(h[i])) for i in range(n)]
    moved = [norm(list(h[i] - b[i])) for i in range(n)]

    def r2(values: np.ndarray) -> float:
        mean = [math.fsum(values[:, j]) / n for j in range(d)]
        total = math.fsum((values[i, j] - mean[j]) ** 2 for i in range(n) for j in range(d))
        return 1 - math.fsum(x * x for x in e) / total

    def mean(a: list[float], b: list[float]) -> float:
        return math.fsum(x / y for x, y in zip(a, b, strict=True)) / n

    return {
        "l2": mean(e, size),
        "r2": r2(h),
        "l2_delta": mean(e, moved),
        "r2_delta": r2(h - b),
        "gap_error": mean(e, gap),
        "gap_error_pooled": math.sqrt(math.fsum(x * x for x in e) / math.fsum(x * x for x in gap)),
        "distance": mean(gap, size),
    }


def features(rng: np.random.Generator, n: int, offset: float = 0.0) -> list[np.ndarray]:
    base = offset + rng.standard_normal((LAYERS, n, DIM))
    return [base + 0.3 * rng.standard_normal(base.shape) for _ in range(3)] + [base]


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda s: sum(s) > 1),
    t=st.floats(-1, 2),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_batches_are_the_slow_formulas(
    seed: int, sizes: list[int], t: float, offset: float
) -> None:
    given_ = features(np.random.default_rng(seed), sum(sizes), offset)
    cuts = np.cumsum([0, *sizes])
    parts = [
        LinearitySums.of(t, *(x[:, low:high] for x in given_))
        for low, high in itertools.pairwise(cuts)
    ]
    rows = reduce(add, parts).rows()
    assert [row.layer for row in rows] == [0, 1]
    for row in rows:
        assert (row.t, row.n, row.n_no_change, row.n_no_gap) == (t, sum(sizes), 0, 0)
        for name, value in slow(t, *(x[row.layer] for x in given_)).items():
            assert getattr(row, name) == pytest.approx(value, rel=1e-7, abs=1e-9), name


def test_a_straight_line_is_straight(rng: np.random.Generator) -> None:
    _, h0, h1, base = features(rng, 7)
    for row in LinearitySums.of(0.3, 0.7 * h0 + 0.3 * h1, h0, h1, base).rows():
        assert row.l2 == pytest.approx(0, abs=1e-15)
        assert row.r2 == pytest.approx(1)
        assert row.r2_delta == pytest.approx(1)


def test_r2_sees_the_base_and_not_the_path(rng: np.random.Generator) -> None:
    """A path that is nothing like the line still has R^2 near 1 under a large base."""
    h, h0, h1, base = features(rng, 50)
    far = 100 * rng.standard_normal(base.shape)
    for row in LinearitySums.of(0.5, *(x + far for x in (h, h0, h1, base))).rows():
        assert row.r2 is not None
        assert row.r2 > 0.999
        assert row.r2_delta is not None
        assert row.r2_delta < 0


def test_float32_features_are_summed_in_float64(rng: np.random.Generator) -> None:
    single = [x.astype(np.float32) for x in features(rng, 9)]
    double = [x.astype(np.float64) for x in single]
    assert LinearitySums.of(0.4, *single).rows() == LinearitySums.of(0.4, *double).rows()


def test_what_is_undefined_is_none_and_counted(rng: np.random.Generator) -> None:
    h, h0, h1, base = features(rng, 4)
    h1[:, :3], base[:, 1] = h0[:, :3], h[:, 1]
    row = LinearitySums.of(0.5, h, h0, h1, base).rows()[0]
    assert (row.n, row.n_no_gap, row.n_no_change) == (4, 3, 1)
    e = np.linalg.norm(h[0, 3] - (h0[0, 3] + h1[0, 3]) / 2)
    assert row.gap_error == pytest.approx(e / np.linalg.norm(h1[0, 3] - h0[0, 3]))
    same = LinearitySums.of(0.5, h, h, h, h).rows()[0]
    assert (same.gap_error, same.gap_error_pooled, same.l2_delta, same.r2_delta) == (None,) * 4
    assert (same.l2, same.n_no_gap, same.n_no_change) == (0.0, 4, 4)
    one = LinearitySums.of(0.5, *(x[:, :1] for x in (h, h0, h1))).rows()[0]
    assert (one.r2, one.l2_delta, one.r2_delta) == (None, None, None)


def test_a_base_that_one_half_lacks_is_lacking(rng: np.random.Generator) -> None:
    h, h0, h1, base = features(rng, 4)
    joined = LinearitySums.of(0.5, h, h0, h1, base) + LinearitySums.of(0.5, h, h0, h1)
    assert joined.rows()[0].l2_delta is None
    assert joined.rows()[0].n == 8


def test_what_does_not_fit_is_refused(rng: np.random.Generator) -> None:
    h, h0, h1, _ = features(rng, 4)
    for wrong in ((h[:1], h0, h1), (h[0], h0[0], h1[0]), (h[:, :0], h0[:, :0], h1[:, :0])):
        with pytest.raises((GeometryError, TypeError)):
            LinearitySums.of(0.5, *wrong)
    with pytest.raises(GeometryError, match="cannot be joined"):
        _ = LinearitySums.of(0.5, h, h0, h1) + LinearitySums.of(0.6, h, h0, h1)


def test_an_endpoint_run_twice_is_the_floor(rng: np.random.Generator) -> None:
    once = rng.standard_normal((1, 2000, 50))
    again = once + 0.01 * rng.standard_normal(once.shape)
    assert LinearitySums.of(0.0, again, once, once).rows()[0].l2 == pytest.approx(0.01, rel=0.03)


T = [i / 10 for i in range(11)]


def law(t: float, E_max: float, floor: float) -> float:
    return math.hypot(4 * E_max * t * (1 - t), floor)


@pytest.mark.parametrize("E_max", [0.0, 1e-12, 0.2])
@pytest.mark.parametrize("floor", [0.0, 1e-12, 0.011])
def test_the_law_is_found_again(E_max: float, floor: float) -> None:
    error = [0.0 if t in (0.0, 1.0) else law(t, E_max, floor) for t in T]
    free, fixed = fit_second_order(T, error), fit_second_order(T, error, floor=floor)
    scale = max(error)
    for fit in (free, fixed):
        assert fit.E_max == pytest.approx(E_max, rel=1e-6, abs=1e-6 * scale)
        assert fit.floor == pytest.approx(floor, rel=1e-6, abs=1e-6 * scale)
        assert fit.floor_fitted == pytest.approx(floor, rel=1e-6, abs=1e-6 * scale)
        assert fit.n == 9
        if scale:
            assert fit.misfit == pytest.approx(0, abs=1e-6)
            assert fit(0.3) == pytest.approx(law(0.3, E_max, floor), rel=1e-6)
    assert (free.measured, fixed.measured) == (False, True)
    assert (free.misfit is None) == (scale == 0)


def test_a_curve_of_another_shape_misfits() -> None:
    error = [t**3 for t in T]
    misfit = fit_second_order(T, error).misfit
    assert misfit is not None
    assert misfit > 0.3


def test_a_measured_floor_above_the_curve_leaves_no_error() -> None:
    assert fit_second_order(T, [0.01] * 11, floor=0.02).E_max == 0.0


def test_a_fit_needs_points() -> None:
    with pytest.raises(GeometryError, match=r"^1 point besides"):
        fit_second_order([0.0, 0.5, 1.0], [0.0, 0.1, 0.0])
    with pytest.raises(GeometryError, match="length"):
        fit_second_order([0.0, 0.5, 1.0], [0.0, 0.1])
    for bad in (float("nan"), -1.0):
        with pytest.raises(GeometryError, match="0 or more"):
            fit_second_order([0.2, 0.5, 0.7], [0.1, bad, 0.1])
