"""Shares of a ceiling: right where they mean something, refused or undefined where they do not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from deltalens.errors import GeometryError
from deltalens.geometry.nulls import Undefined
from deltalens.geometry.nulls.ceiling import Corrected, Placed, attained, disattenuated


def placed(name: str, value: float | None, error: float | None = 0.01, **fields: Any) -> Placed:
    usual: dict[str, Any] = {"shared_init": "all", "side": "input"}
    return Placed(name, value, error, **(usual | fields))


def share(*means: Placed) -> Corrected:
    found = attained(*means)
    assert isinstance(found, Corrected)
    return found


def cosine(name: str, value: float | None, error: float | None = 0.01) -> Placed:
    return Placed(name, value, error, "none", "both")


def test_the_share_by_hand() -> None:
    null, ceiling = placed("null", 0.2, 0.0, null="haar"), placed("ceiling", 0.6)
    assert share(placed("pair", 0.3), null, ceiling).value == pytest.approx(0.25)
    assert share(placed("pair", 0.2), null, ceiling).value == pytest.approx(0.0)
    assert share(placed("pair", 0.6), null, ceiling).value == pytest.approx(1.0)
    assert share(placed("pair", 0.3, None), null, ceiling).standard_error is None


def test_the_error_of_a_share_against_simulation(rng) -> None:
    values, errors = (0.45, 0.2, 0.7), (0.02, 0.01, 0.03)
    observed, null, ceiling = rng.normal(values, errors, (200_000, 3)).T
    found = share(*(placed(n, v, e) for n, v, e in zip("onc", values, errors, strict=True)))
    spread = np.std((observed - null) / (ceiling - null))
    assert found.standard_error == pytest.approx(spread, rel=0.03)


def test_the_error_of_a_disattenuated_cosine_against_simulation(rng) -> None:
    values, errors = (0.05, 0.1, 0.14), (0.005, 0.006, 0.008)
    s, one, two = rng.normal(values, errors, (200_000, 3)).T
    found = disattenuated(*(cosine(n, v, e) for n, v, e in zip("sij", values, errors, strict=True)))
    assert isinstance(found, Corrected)
    assert found.value == pytest.approx(0.05 / np.sqrt(0.014))
    assert found.standard_error == pytest.approx(np.std(s / np.sqrt(one * two)), rel=0.03)


def test_disattenuation_finds_what_another_seed_hides(rng) -> None:
    """Tasks with a true cosine of .6, each seen through its own random row space."""
    d, r, truth = 60, 8, 0.6
    found = []
    for _ in range(60):
        shared, *own = rng.standard_normal((3, d, d))
        tasks = [np.sqrt(truth) * shared + np.sqrt(1 - truth) * o for o in own]

        def seen(W: np.ndarray) -> np.ndarray:
            Q = np.linalg.qr(rng.standard_normal((d, r)))[0]
            return W @ Q @ Q.T

        def alike(X: np.ndarray, Y: np.ndarray) -> float:
            return float(np.sum(X * Y) / np.linalg.norm(X) / np.linalg.norm(Y))

        found.append([alike(seen(tasks[i]), seen(tasks[j])) for i, j in ((0, 1), (0, 0), (1, 1))])
    (s, one, two), errors = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(60)
    assert s < 0.12  # hidden by about r / d
    corrected = disattenuated(
        *(cosine(n, v, e) for n, v, e in zip("sij", (s, one, two), errors, strict=True))
    )
    assert isinstance(corrected, Corrected)
    assert corrected.standard_error is not None
    assert abs(corrected.value - truth) < 4 * corrected.standard_error


@pytest.mark.parametrize(
    ("ceiling", "reason"),
    [
        (placed("ceiling", 0.26, 0.02), "not 3 standard errors of 0.022"),
        (placed("ceiling", 0.1, 0.001), "exceeds its null by -0.1"),
        (placed("ceiling", 0.2, 0.0), "exceeds its null by 0"),
        (placed("ceiling", 0.6, None), "has no standard error: too few runs"),
        (placed("ceiling", None), "no value of ceiling"),
    ],
)
def test_a_ceiling_that_does_not_stand_clear_gives_no_number(ceiling: Placed, reason: str) -> None:
    found = attained(placed("pair", 0.3), placed("null", 0.2), ceiling)
    assert isinstance(found, Undefined)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("means", "reason"),
    [
        ((0.05, 0.02, 0.1), "ceiling i exceeds its null by 0.02"),
        ((0.05, 0.1, -0.2), "ceiling j exceeds its null by -0.2"),
        ((None, 0.1, 0.1), "no value of pair"),
        ((0.1, None, None), "no value of ceiling i, ceiling j"),
    ],
)
def test_a_disattenuation_without_clear_ceilings_gives_no_number(
    means: tuple[float | None, float | None, float | None], reason: str
) -> None:
    names = ("pair", "ceiling i", "ceiling j")
    found = disattenuated(*(cosine(n, v) for n, v in zip(names, means, strict=True)))
    assert isinstance(found, Undefined)
    assert reason in found.reason


PAIR, NULL, CEILING = placed("pair", 0.3), placed("the null", 0.2), placed("the ceiling", 0.6)


@pytest.mark.parametrize(
    ("means", "message"),
    [
        (
            (
                placed("pair", 0.3, side="output"),
                placed("the null", 0.2, side="output", null="rotation"),
                placed("the ceiling", 0.6, side="output"),
            ),
            "the null is a rotation on the output side, where B O spans what B spans; "
            "haar or bank are allowed there",
        ),
        (
            (PAIR, placed("the null", 0.2, null="rotation", gauge="from an SVD"), CEILING),
            "the null is a rotation of factors that are from an SVD; "
            "it needs lora_A as training left it",
        ),
        (
            (PAIR, NULL, placed("the ceiling", 0.6, shared_init="none")),
            "the ceiling has shared_init 'none' and pair 'all'; one seed relation is allowed",
        ),
        (
            (PAIR, placed("the null", 0.2, shared_init="none"), CEILING),
            "the null has shared_init 'none' and pair 'all'; one seed relation is allowed",
        ),
        (
            (PAIR, NULL, placed("the ceiling", 0.6, side="output")),
            "the ceiling is of the output side and pair of the input side; one side is allowed",
        ),
    ],
)
def test_combinations_that_mean_nothing_are_refused(
    means: tuple[Placed, Placed, Placed], message: str
) -> None:
    with pytest.raises(GeometryError, match=f"^{re.escape(message)}$"):
        attained(*means)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_only_signed_cosines_across_seeds_are_disattenuated(place: int) -> None:
    means = [cosine("pair", 0.05), cosine("ceiling i", 0.1), cosine("ceiling j", 0.1)]
    overlap, shared = list(means), list(means)
    overlap[place] = placed("it", 0.1, side="input", shared_init="none")
    with pytest.raises(GeometryError, match=r"^it is a measure of the input side; only the signed"):
        disattenuated(*overlap)
    shared[place] = Placed("it", 0.1, 0.01, "all", "both")
    with pytest.raises(GeometryError, match=r"^it shares its initialisation \(all\); disatten"):
        disattenuated(*shared)
