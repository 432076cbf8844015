"""The activation-matched rotation: closed forms against draws, exactness under its own H0."""

from __future__ import annotations

import numpy as np
import pytest

from adapter_files import in_memory
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.moment import InputMoment
from deltalens.errors import OptionError
from deltalens.geometry.nulls import activation
from deltalens.geometry.nulls.rotation import haar_orthogonal
from deltalens.geometry.weighted import blocks

PATH = "model.layers.0.self_attn.q_proj"
OUT, IN, R = 14, 20, 4


def anisotropic(rng: np.random.Generator, decay: float = 0.7) -> InputMoment:
    Q = np.linalg.qr(rng.standard_normal((IN, IN)))[0]
    C = (Q * decay ** np.arange(IN)) @ Q.T
    return InputMoment.full((C + C.T) / 2)


def power(C: InputMoment, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(C.to_dense())
    return (vectors * np.maximum(values, 0) ** exponent) @ vectors.T


def of(name: str, B: np.ndarray, A: np.ndarray) -> Adapter:
    return in_memory(name, {PATH: (B, A)})


def pair_of(rng: np.random.Generator) -> tuple[list[Adapter], np.ndarray]:
    A0 = rng.standard_normal((R, IN)) / np.sqrt(IN)
    made = [
        of(f"a{i}", rng.standard_normal((OUT, R)), A0 + 0.05 * rng.standard_normal((R, IN)))
        for i in range(2)
    ]
    return made, A0


def test_moments_are_those_of_draws(rng: np.random.Generator) -> None:
    C, (adapters, A0) = anisotropic(rng), pair_of(rng)
    one, two = (a[ModuleKey(PATH)] for a in adapters)
    found = activation.turn(blocks(adapters, ModuleKey(PATH), C), [A0, A0], C)
    for q, K in enumerate(activation.kernels(A0, C)):
        values, vectors = np.linalg.eigh(K)
        root = (vectors * np.sqrt(values)) @ vectors.T
        turns = haar_orthogonal(R, 20_000, rng=rng)
        turned = two.B @ np.linalg.inv(root) @ turns @ root  # the formula as it is written down
        inner = np.einsum("dor,ri,oi->d", turned, two.A, one.dense())
        assert abs(inner.mean()) < 4 * inner.std() / np.sqrt(inner.size)
        assert found.squares[q, 0, 1] / R == pytest.approx(inner.var(), rel=0.05)
        energy = np.einsum("dor,rs,dos->d", turned, two.A @ two.A.T, turned)
        assert found.energy[q, 1] == pytest.approx(energy.mean(), rel=0.05)


def test_white_inputs_and_an_orthonormal_start_give_the_plain_rotation(
    rng: np.random.Generator,
) -> None:
    A0 = np.linalg.qr(rng.standard_normal((IN, R)))[0].T
    adapters = [of(f"a{i}", rng.standard_normal((OUT, R)), A0) for i in range(2)]
    C = InputMoment.of_diagonal(np.full(IN, 3.0))
    each = blocks(adapters, ModuleKey(PATH), C)
    found = activation.turn(each, [A0, A0], C)
    one, two = (a[ModuleKey(PATH)] for a in adapters)
    M = two.A @ one.A.T @ one.B.T @ two.B
    assert found.squares[:, 0, 1] == pytest.approx(np.sum(M**2), rel=1e-10)
    assert found.energy[:, 1] == pytest.approx(two.norm() ** 2, rel=1e-10)


@pytest.mark.parametrize("q", [1, 2])
def test_it_is_exact_where_its_hypothesis_holds_and_keeps_the_length(
    q: int, rng: np.random.Generator
) -> None:
    """`B = H C^(q/2) A0^T`, unrelated H, one C and one A0: the plain rotation is far off."""
    C = anisotropic(rng)
    half = power(C, q / 2)
    z, plain, ratio = [], [], []
    for _ in range(200):
        A0 = rng.standard_normal((R, IN)) / np.sqrt(IN)
        made = [of(f"a{i}", rng.standard_normal((OUT, IN)) @ half @ A0.T, A0) for i in range(2)]
        each = blocks(made, ModuleKey(PATH), C)
        one, two = (a[ModuleKey(PATH)] for a in made)
        found = activation.turn(each, [A0, A0], C)
        z.append(one.inner(two) / np.sqrt(found.squares[q - 1, 0, 1] / R))
        M = two.A @ one.A.T @ one.B.T @ two.B
        plain.append(one.inner(two) / np.sqrt(np.sum(M**2) / R))
        ratio.append(found.energy[q - 1, 1] / two.norm() ** 2)
    assert np.mean(np.square(z)) == pytest.approx(1, abs=0.3)  # 3 standard errors of 200
    assert np.mean(ratio) == pytest.approx(1, abs=0.15)
    assert np.mean(np.square(plain)) > np.mean(np.square(z)) * 1.15


def test_inputs_that_do_not_fill_the_initial_rows_leave_it_undefined(
    rng: np.random.Generator,
) -> None:
    adapters, A0 = pair_of(rng)
    C = InputMoment(np.zeros(IN), rng.standard_normal((IN, R - 1)))
    found = activation.turn(blocks(adapters, ModuleKey(PATH), C), [A0, A0], C)
    assert np.isnan(found.squares).all()
    assert np.isnan(found.energy).all()


def test_an_adapter_without_the_module_is_missing(rng: np.random.Generator) -> None:
    adapters, A0 = pair_of(rng)
    absent = in_memory("elsewhere", {"model.layers.1.q": (np.ones((2, 1)), np.ones((1, 2)))})
    C = anisotropic(rng)
    each = blocks([*adapters, absent], ModuleKey(PATH), C)
    found = activation.turn(each, [A0, A0, None], C)
    assert np.isnan(found.squares[:, 2]).all()
    assert np.isnan(found.squares[:, :, 2]).all()
    assert np.isfinite(found.squares[:, :2, :2]).all()


def test_it_is_refused_for_overlaps() -> None:
    activation.require_valid("cosine")
    with pytest.raises(OptionError, match=r"no null for overlap: .* rejects up to \.57"):
        activation.require_valid("overlap")
