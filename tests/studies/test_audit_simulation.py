"""The small sampler against dense pairs that know nothing of it, and against what theory says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deltalens.studies.audit.chance import chance
from deltalens.studies.audit.hypotheses import (
    FLAT,
    OWN,
    Hypothesis,
    Inputs,
    Spectrum,
    hypotheses,
)
from deltalens.studies.audit.ranges import Range, nearest, range_of, simulate_layer
from deltalens.studies.audit.shapes import MODELS, LayerModule, decoder_layer
from deltalens.studies.audit.simulate import Cuts, simulate, turned

SMALL = LayerModule("small", 40, 30, 6)
CUTS = Cuts(overlap=3, angle=4)
STEEP = Spectrum("steep", 3.0)
CASES = (
    Hypothesis(FLAT),
    Hypothesis(STEEP),
    Hypothesis(FLAT, Inputs(), 1),
    Hypothesis(STEEP, Inputs("one direction", 0.3), 1),
    Hypothesis(FLAT, Inputs("power law", 1.0), 2),
    Hypothesis(STEEP, Inputs("power law", 1.0), 2),
)


def dense_pair(case: Hypothesis, module: LayerModule, rng: np.random.Generator) -> np.ndarray:
    """One pair the slow way: full matrices `H C^(q/2) A0^T A0`, their SVD, angles by SVD."""
    d, o, r = module.d_in, module.d_out, module.rank
    A = rng.uniform(-1, 1, (r, d)) * np.sqrt(3 / d)
    ends = []
    for _ in range(2):
        columns = r if case.inputs is None else d
        H = rng.standard_normal((o, columns))
        if case.spectrum.decay is not None:
            # In the r columns that matter the spectrum is the given one, whatever C and A0 are.
            s = np.exp(-np.arange(r) / case.spectrum.decay)
            left, right = (np.linalg.qr(rng.standard_normal((n, r)))[0] for n in (o, r))
            H = left * s @ right.T
        if case.inputs is None:
            B = H
        elif case.spectrum.decay is None:
            B = H @ np.diag(case.inputs.energies(d) ** (case.q / 2)) @ A.T
        else:
            B = H @ np.linalg.cholesky((A * case.inputs.energies(d) ** case.q) @ A.T).T
        ends.append(np.linalg.svd(B @ A)[2].T)
    one, two = ends
    overlap = np.sum((one[:, :3].T @ two[:, :3]) ** 2) / 3
    s = np.linalg.svd(one[:, :4].T @ two[:, :4], compute_uv=False)
    angle = np.degrees(np.arccos(np.minimum(s, 1))).mean()
    pc = [abs(one[:, j] @ two[:, j]) for j in range(4)]
    return np.array([overlap, angle, np.mean(pc), pc[0]])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_small_matrices_give_what_dense_ones_give(case: Hypothesis) -> None:
    rng = np.random.default_rng(7)
    dense = np.stack([dense_pair(case, SMALL, rng) for _ in range(400)])
    drawn = simulate(SMALL, [case], CUTS, 2000, rng=rng).measures[0]
    error = np.sqrt(dense.var(axis=0) / len(dense) + drawn.var(axis=0) / len(drawn))
    assert np.all(np.abs(dense.mean(axis=0) - drawn.mean(axis=0)) < 4 * error)
    # The whole distribution, not its mean alone.
    spread = dense.std(axis=0) / drawn.std(axis=0)
    assert np.all((spread > 0.85) & (spread < 1.18))


def test_an_unrelated_steep_spectrum_forgets_the_gauge() -> None:
    # Steep: the leading vectors are those of a Haar O, and overlap in r dimensions is k / r.
    found = simulate(
        LayerModule("wide", 4000, 4000, 8),
        [Hypothesis(Spectrum("very steep", 0.3))],
        Cuts(2, 3),
        600,
        rng=np.random.default_rng(0),
    )
    overlap = found.measures[0, :, 0]
    assert abs(overlap.mean() - 2 / 8) < 4 * overlap.std() / np.sqrt(len(overlap))


def test_a_flat_spectrum_makes_the_seed_everything() -> None:
    own = np.ones((5, 2, SMALL.rank))
    rng = np.random.default_rng(1)
    found = simulate(SMALL, [Hypothesis(OWN)], CUTS, 5, rng=rng, spectra=own)
    np.testing.assert_allclose(found.measures[0, :, 0], 1.0, atol=1e-10)
    np.testing.assert_allclose(found.measures[0, :, 2:], 1.0, atol=1e-10)


def test_own_spectra_must_be_given() -> None:
    with pytest.raises(ValueError, match="none were given"):
        simulate(SMALL, [Hypothesis(OWN)], CUTS, 2, rng=np.random.default_rng(0))


def test_turning_keeps_the_spectrum() -> None:
    sigma = np.array([[3.142, 2.718, 1.0]])
    values = np.linalg.eigvalsh(turned(sigma, rng=np.random.default_rng(2)))
    np.testing.assert_allclose(np.sqrt(values[0]), [1.0, 2.718, 3.142])


@pytest.mark.parametrize(
    "inputs", [Inputs(), Inputs("one direction", 0.02), Inputs("power law", 1.0)], ids=str
)
def test_energies_have_mean_one(inputs: Inputs) -> None:
    c = inputs.energies(500)
    assert c.mean() == pytest.approx(1.0)
    assert inputs.effective_rank(500) == pytest.approx(c.sum() ** 2 / (c**2).sum())
    if inputs.kind == "one direction":
        assert c[0] / c.sum() == pytest.approx(0.02)


def test_the_mean_of_a_layer_is_weighted_by_its_modules() -> None:
    one, two = LayerModule("one", 40, 30, 6, 3), LayerModule("two", 60, 20, 6, 1)
    layer = simulate_layer([one, two], CUTS, 50, seed=3, cases=CASES[:1])[0]
    alone = simulate_layer([one], CUTS, 50, seed=3, cases=CASES[:1])[0]
    second = simulate(two, CASES[:1], CUTS, 50, rng=np.random.default_rng([3, 1])).measures[0]
    expected = 0.75 * alone.mean["overlap"] + 0.25 * second[:, 0].mean()
    assert layer.mean["overlap"] == pytest.approx(expected)
    # Three independent modules of a kind: their mean varies by a third of one's variance.
    variance = (0.75**2 * 3 * alone.sd["overlap"] ** 2) / 3 + second[:, 0].var(ddof=1) / 16
    assert layer.sd["overlap"] == pytest.approx(np.sqrt(variance))


def test_the_error_is_the_error() -> None:
    found = [simulate_layer([SMALL], CUTS, 12, seed=s, cases=CASES[:1])[0] for s in range(60)]
    spread = np.std([f.mean["overlap"] for f in found], ddof=1)
    claimed = np.sqrt(np.mean([f.error["overlap"] ** 2 for f in found]))
    assert 0.75 < spread / claimed < 1.33


def test_the_seed_settles_every_number() -> None:
    one, two, three = (
        simulate_layer([SMALL], CUTS, 4, seed=s, cases=CASES[:2])[1].mean for s in (0, 0, 1)
    )
    assert one == two
    assert one != three


def test_the_nearest_hypothesis_is_the_one_itself() -> None:
    found = simulate_layer([SMALL], CUTS, 30, seed=0, cases=CASES)
    best, distance = nearest(found[4].mean, found)
    assert best is found[4]
    assert distance == 0.0


def test_a_range_and_its_edges() -> None:
    found = simulate_layer([SMALL], CUTS, 30, seed=0, cases=CASES)
    span = range_of("overlap", found)
    assert range_of("overlap", found, layers=4).low_sd == span.low_sd / 2
    assert (span.low, span.high) == (
        min(s.mean["overlap"] for s in found),
        max(s.mean["overlap"] for s in found),
    )
    sharp = Range("overlap", 0.5, 0.7, 0.008, 0.0, 0.006, 0.0, "x", "y")
    assert sharp.holds(0.6)
    assert sharp.holds(0.48)  # three deviations, of the simulation and of a pair
    assert not sharp.holds(0.46)
    assert not sharp.holds(0.701)


def test_chance_is_that_of_haar() -> None:
    layer = MODELS["Llama-3.1-8B"]
    found = chance(layer, Cuts(), rng=np.random.default_rng(0))
    assert found["overlap"] == pytest.approx((6 * 16 / 4096 + 16 / 14336) / 7)
    assert 86.7 < found["angle_deg"] < 87.0  # the published random baseline is 86.84


def test_layers_have_seven_modules() -> None:
    for layer in MODELS.values():
        assert sum(module.count for module in layer) == 7
        assert {module.rank for module in layer} == {32}
    assert replace(decoder_layer(8, 2, 12)[0], count=1) == LayerModule("q, o", 8, 8, 32)


def test_hypotheses_are_all_different() -> None:
    names = [str(case) for case in hypotheses()]
    assert len(set(names)) == len(names)
