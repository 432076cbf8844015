"""The activation-weighted cosine against dense matrices and against averages over inputs."""

from __future__ import annotations

import numpy as np
import pytest

from adapter_files import in_memory
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.moment import InputMoment
from deltalens.errors import GeometryError
from deltalens.geometry.weighted import blocks, inner_products, spectrum, weighted_inner

KEY = ModuleKey("model.layers.0.self_attn.q_proj")
OUT, IN = 6, 9


def moment(kind: str, rng: np.random.Generator, d: int = IN) -> InputMoment:
    F = rng.standard_normal((d, 4))
    if kind == "full":
        return InputMoment.full(F @ F.T + np.diag(rng.random(d)))
    if kind == "diagonal":
        return InputMoment.of_diagonal(rng.random(d))
    return InputMoment(rng.random(d), F)


def update(rng: np.random.Generator, r: int = 3) -> LowRankUpdate:
    return LowRankUpdate(rng.standard_normal((OUT, r)), rng.standard_normal((r, IN)))


@pytest.mark.parametrize("kind", ["full", "diagonal", "low-rank"])
def test_the_inner_product_is_the_dense_trace(kind: str, rng: np.random.Generator) -> None:
    C, one, two = moment(kind, rng), update(rng), update(rng, 2)
    dense = np.trace(one.dense() @ C.to_dense() @ two.dense().T)
    assert weighted_inner(one, two, C) == pytest.approx(dense, rel=1e-12)
    assert weighted_inner(two, one, C) == pytest.approx(dense, rel=1e-12)


def test_it_is_the_mean_inner_product_of_what_is_added_to_the_output(
    rng: np.random.Generator,
) -> None:
    one, two = update(rng), update(rng)
    inputs = rng.standard_normal((50, IN)) * np.linspace(3, 0.1, IN)
    C = InputMoment.full(inputs.T @ inputs / len(inputs))
    added = (inputs @ one.dense().T) * (inputs @ two.dense().T)
    assert weighted_inner(one, two, C) == pytest.approx(added.sum(axis=1).mean(), rel=1e-12)


def test_white_inputs_give_the_plain_inner_product(rng: np.random.Generator) -> None:
    one, two = update(rng), update(rng)
    C = InputMoment.of_diagonal(np.ones(IN))
    assert weighted_inner(one, two, C) == pytest.approx(one.inner(two), rel=1e-12)


def test_blocks_of_several_adapters_give_every_pair(rng: np.random.Generator) -> None:
    updates = [update(rng), update(rng, 2), update(rng)]
    adapters = [
        *(in_memory(f"a{i}", {str(KEY): (u.B, u.A)}) for i, u in enumerate(updates)),
        in_memory("elsewhere", {"model.layers.1.q": (np.ones((2, 1)), np.ones((1, 2)))}),
    ]
    C = moment("low-rank", rng)
    inner = inner_products(blocks(adapters, KEY, C))
    expected = [[weighted_inner(a, b, C) for b in updates] for a in updates]
    np.testing.assert_allclose(inner[:3, :3], expected, rtol=1e-12)
    assert np.isnan(inner[3]).all()
    assert np.isnan(inner[:, 3]).all()


def test_widths_and_shapes_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    narrow, one = moment("diagonal", rng, 5), update(rng)
    with pytest.raises(GeometryError, match="width 5 does not fit inputs of width 9"):
        weighted_inner(one, one, narrow)
    other = LowRankUpdate(np.ones((2, 1)), np.ones((1, IN)))
    with pytest.raises(GeometryError, match=r"different shape: \(6, 9\) and \(2, 9\)"):
        weighted_inner(one, other, moment("full", rng))


def test_a_flat_spectrum_has_the_full_effective_rank() -> None:
    found = spectrum(InputMoment.of_diagonal(np.full(IN, 2.0)))
    assert found.effective_rank == pytest.approx(IN)
    assert found.largest_share == pytest.approx(1 / IN)


@pytest.mark.parametrize("d", [20, 700])
@pytest.mark.parametrize("kind", ["full", "low-rank"])
def test_a_planted_massive_direction_is_found(d: int, kind: str, rng: np.random.Generator) -> None:
    Q = np.linalg.qr(rng.standard_normal((d, 3)))[0] * np.sqrt([900.0, 30.0, 20.0])
    small = np.full(d, 50.0 / d)
    C = InputMoment(small, Q)
    found = spectrum(C if kind == "low-rank" else InputMoment.full(C.to_dense()))
    values = np.full(d, 50.0 / d) + np.array([900.0, 30.0, 20.0, *np.zeros(d - 3)])
    assert found.largest_share == pytest.approx(values[0] / 1000, rel=1e-6)
    assert found.effective_rank == pytest.approx(1000**2 / np.sum(values**2), rel=1e-9)


def test_inputs_that_were_all_0_have_no_directions() -> None:
    with pytest.raises(GeometryError, match="second moment of 0 has no directions"):
        spectrum(InputMoment.of_diagonal(np.zeros(4)))
