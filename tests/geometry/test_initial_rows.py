"""What is left of an update without the initial rows: planted, calibrated, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.core.lowrank import LowRankUpdate
from deltalens.errors import GeometryError
from deltalens.geometry.initial_rows import (
    drift,
    initial_basis,
    residual_frame,
    rounded_to_bf16,
    space_left,
)
from deltalens.geometry.nulls.haar import overlap_moments

OUT, IN, R, K = 30, 60, 6, 3


def start(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((R, IN)) / np.sqrt(IN)


def residual_overlap(one: LowRankUpdate, two: LowRankUpdate, starts: list[np.ndarray]) -> float:
    basis = initial_basis(starts)
    X, Y = (residual_frame(u, basis, K, 2.0**-25) for u in (one, two))
    assert X is not None
    assert Y is not None
    return float(np.sum((X.T @ Y) ** 2)) / K


def test_bf16_is_that_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    A = rng.standard_normal((5, 40))
    expected = torch.tensor(A, dtype=torch.float32).bfloat16().double().numpy()
    np.testing.assert_array_equal(rounded_to_bf16(A), expected)


def test_the_basis_spans_starts_and_their_roundings(rng: np.random.Generator) -> None:
    one, two = start(rng), start(rng)
    Q = initial_basis([one, two])
    np.testing.assert_allclose(Q.T @ Q, np.eye(4 * R), atol=1e-12)
    for A in (one, two, rounded_to_bf16(one), rounded_to_bf16(two)):
        np.testing.assert_allclose(A - (A @ Q) @ Q.T, 0, atol=1e-13)


def test_equal_starts_and_starts_of_16_bits_count_once(rng: np.random.Generator) -> None:
    A0 = start(rng)
    assert initial_basis([A0, A0]).shape == (IN, 2 * R)
    held = rounded_to_bf16(A0)
    assert initial_basis([held]).shape == (IN, R)
    np.testing.assert_allclose(
        held - held @ initial_basis([held]) @ initial_basis([held]).T, 0, atol=1e-13
    )


def test_a_frame_is_the_dense_one(rng: np.random.Generator) -> None:
    A0 = start(rng)
    update = LowRankUpdate(rng.standard_normal((OUT, R)), A0 + 0.1 * start(rng))
    Q = initial_basis([A0])
    frame = residual_frame(update, Q, K, 0.0)
    assert frame is not None
    V = np.linalg.svd(update.dense() @ (np.eye(IN) - Q @ Q.T))[2][:K].T
    np.testing.assert_allclose(frame @ frame.T, V @ V.T, atol=1e-10)


def test_a_shared_start_leaves_nothing_and_a_planted_drift_is_found(
    rng: np.random.Generator,
) -> None:
    A0, common = start(rng), start(rng)
    B = [rng.standard_normal((OUT, R)) for _ in range(2)]
    null, deviation = overlap_moments(IN - 2 * R, K)
    unrelated = [
        residual_overlap(*(LowRankUpdate(b, A0 + 0.05 * start(rng)) for b in B), [A0])
        for _ in range(300)
    ]
    assert np.mean(unrelated) == pytest.approx(null, abs=4 * deviation / np.sqrt(300))
    assert np.std(unrelated) == pytest.approx(deviation, rel=0.2)
    both = [LowRankUpdate(B[0], A0 + 0.05 * common + 0.001 * start(rng)) for _ in B]
    assert residual_overlap(*both, [A0]) > 0.9


def test_different_starts_are_both_taken_out(rng: np.random.Generator) -> None:
    """Each start is the other's drift: nothing of either may be left."""
    one, two = start(rng), start(rng)
    B = rng.standard_normal((OUT, R))
    mixed = [LowRankUpdate(B, a + 0.3 * b + 0.05 * start(rng)) for a, b in ((one, two), (two, one))]
    null, deviation = overlap_moments(IN - 4 * R, K)
    assert residual_overlap(*mixed, [one, two]) < null + 5 * deviation


def test_an_estimated_start_would_claim_what_is_not_there(rng: np.random.Generator) -> None:
    """The mean of a pair makes its residuals equal; this is why A0 must be the true one."""
    A0, B = start(rng), rng.standard_normal((OUT, R))
    one, two = (LowRankUpdate(B, A0 + 0.05 * start(rng)) for _ in range(2))
    estimated = (one.A + two.A) / 2
    basis = np.linalg.qr(estimated.T)[0]
    X, Y = (residual_frame(u, basis, K, 0.0) for u in (one, two))
    assert X is not None
    assert Y is not None
    assert float(np.sum((X.T @ Y) ** 2)) / K > 0.99
    assert residual_overlap(one, two, [A0]) < 0.3


def test_directions_below_rounding_are_none(rng: np.random.Generator) -> None:
    A0 = start(rng)
    still = LowRankUpdate(rng.standard_normal((OUT, R)), A0.copy())
    assert residual_frame(still, initial_basis([A0]), 1, 0.0) is None
    half = LowRankUpdate(still.B, rounded_to_bf16(A0 + 0.001 * start(rng)))
    assert residual_frame(half, initial_basis([A0]), K, 2.0**-9) is None
    moved = LowRankUpdate(still.B, rounded_to_bf16(A0 + 0.3 * start(rng)))
    assert residual_frame(moved, initial_basis([A0]), K, 2.0**-9) is not None


def test_drift_is_measured_from_what_the_file_could_hold(rng: np.random.Generator) -> None:
    A0 = start(rng)
    assert drift(rounded_to_bf16(A0), A0, 2.0**-9) == 0.0
    assert 1e-4 < drift(rounded_to_bf16(A0), A0, 2.0**-25) < 4e-3
    assert drift(1.1 * A0, A0, 2.0**-25) == pytest.approx(1 / 11, rel=1e-9)
    assert drift(np.zeros((R, IN)), A0, 0.0) == 0.0


def test_a_k_that_does_not_fit_is_refused_with_the_numbers(rng: np.random.Generator) -> None:
    Q = initial_basis([start(rng)])
    assert space_left(IN, Q, IN - 2 * R) == IN - 2 * R
    with pytest.raises(GeometryError, match=r"k = 49 is larger .* 48 of 60 .* the 12 of"):
        space_left(IN, Q, 49)


def test_starts_that_fill_the_space_leave_nothing(rng: np.random.Generator) -> None:
    wide = rng.standard_normal((R, 8))
    Q = initial_basis([wide])
    assert Q.shape == (8, 8)
    with pytest.raises(GeometryError, match="0 of 8 input dimensions remain"):
        space_left(8, Q, 1)
