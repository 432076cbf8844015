"""The three forms of a second moment agree with the dense matrix, and nothing else gets in."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.core.moment import InputMoment
from deltalens.errors import GeometryError


def forms(rng: np.random.Generator, d: int = 7) -> dict[str, InputMoment]:
    F = rng.standard_normal((d, 3))
    squares = rng.random(d)
    return {
        "full": InputMoment.full(F @ F.T),
        "diagonal": InputMoment.of_diagonal(squares),
        "low-rank": InputMoment(squares, F),
    }


@pytest.mark.parametrize("kind", ["full", "diagonal", "low-rank"])
def test_every_form_is_its_dense_matrix(kind: str, rng: np.random.Generator) -> None:
    moment = forms(rng)[kind]
    C, X = moment.to_dense(), rng.standard_normal((4, 7))
    assert moment.kind == kind
    assert moment.d_in == 7
    np.testing.assert_allclose(moment.times(X), X @ C, rtol=1e-12)
    np.testing.assert_allclose(moment.mean_squares(), np.diagonal(C), rtol=1e-12)
    assert moment.trace() == pytest.approx(np.trace(C), rel=1e-12)
    assert moment.squared_norm() == pytest.approx(np.linalg.norm(C) ** 2, rel=1e-12)
    assert np.linalg.eigvalsh(C)[0] > -1e-12


def test_what_is_no_second_moment_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"symmetric; found \(2, 2\) that is not"):
        InputMoment.full(np.array([[1.0, 0.5], [0.4, 1.0]]))
    with pytest.raises(GeometryError, match="0 or more; found -1"):
        InputMoment.of_diagonal(np.array([1.0, -1.0]))
    with pytest.raises(GeometryError, match="0 or more; found -2"):
        InputMoment.full(np.diag([1.0, -2.0]))


def test_entries_that_no_inputs_can_have_are_refused() -> None:
    with pytest.raises(GeometryError, match="entries that no inputs can have"):
        InputMoment.full(np.array([[1.0, 2.0], [2.0, 1.0]]))
    same = np.ones((3, 3))  # one input repeated: on the boundary
    assert InputMoment.full(same).squared_norm() == 9.0
