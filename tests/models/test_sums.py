"""From streamed sums to moments: linear in batches, right about the mean, never above C."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.core.moment import MomentKind
from deltalens.models.sums import Plan, Sums, moment, sketch_matrix

D, N = 40, 500


def inputs(rng: np.random.Generator, decay: float = 0.8) -> np.ndarray:
    return rng.standard_normal((N, D)) * decay ** np.arange(D) + np.linspace(0, 1, D)


def summed(X: np.ndarray, plan: Plan) -> Sums:
    right = X if plan.kind == "full" else X @ sketch_matrix(D, plan)
    return Sums(X.sum(axis=0), (X**2).sum(axis=0), X.T @ right)


@pytest.mark.parametrize("centred", [False, True])
def test_the_full_moment_is_numpys(centred: bool, rng: np.random.Generator) -> None:
    X, plan = inputs(rng), Plan("full")
    C = moment(summed(X, plan), N, plan, centred=centred).moment.to_dense()
    expected = np.cov(X.T, bias=True) if centred else X.T @ X / N
    np.testing.assert_allclose(C, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("kind", ["diagonal", "low-rank"])
def test_the_diagonal_is_exact_in_every_form(
    kind: MomentKind, centred: bool, rng: np.random.Generator
) -> None:
    X, plan = inputs(rng), Plan(kind, rank=5)
    found = moment(summed(X, plan), N, plan, centred=centred).moment
    expected = X.var(axis=0) if centred else (X**2).mean(axis=0)
    np.testing.assert_allclose(found.mean_squares(), expected, rtol=1e-8, atol=1e-13)
    assert found.kind == kind


@pytest.mark.parametrize("centred", [False, True])
def test_the_low_rank_form_is_near_the_best_one_and_never_above(
    centred: bool, rng: np.random.Generator
) -> None:
    X, plan = inputs(rng), Plan("low-rank", rank=6)
    found = moment(summed(X, plan), N, plan, centred=centred)
    C = np.cov(X.T, bias=True) if centred else X.T @ X / N
    values = np.linalg.eigvalsh(C)[::-1]
    best = values[:6].sum() / values.sum()
    assert 0.97 * best < found.captured <= best + 1e-12
    part = found.moment.factor @ found.moment.factor.T
    assert np.linalg.eigvalsh(C - part)[0] > -1e-9 * values[0]


def test_inputs_of_few_directions_are_captured_whole(rng: np.random.Generator) -> None:
    X = rng.standard_normal((N, 3)) @ rng.standard_normal((3, D))
    plan = Plan("low-rank", rank=6)
    found = moment(summed(X, plan), N, plan, centred=False)
    np.testing.assert_allclose(found.moment.to_dense(), X.T @ X / N, atol=1e-9)
    assert found.captured == pytest.approx(1, abs=1e-9)
    assert found.moment.factor.shape == (D, 6)  # the shape that the file promises


def test_the_seed_chooses_the_sketch_and_nothing_else() -> None:
    W = sketch_matrix(D, Plan("low-rank", rank=4, seed=1))
    assert W.shape == (D, 16)
    np.testing.assert_allclose(W.T @ W, np.eye(16), atol=1e-12)
    np.testing.assert_array_equal(W, sketch_matrix(D, Plan("low-rank", rank=4, seed=1)))
    assert not np.allclose(W, sketch_matrix(D, Plan("low-rank", rank=4, seed=2)))
    assert sketch_matrix(10, Plan("low-rank", rank=8)).shape == (10, 10)


def test_inputs_that_are_all_0_have_a_moment_of_0() -> None:
    for kind in ("full", "diagonal", "low-rank"):
        plan = Plan(kind, rank=4)
        found = moment(summed(np.zeros((N, D)), plan), N, plan, centred=False)
        assert not found.moment.to_dense().any()
        assert np.isfinite(found.captured)
