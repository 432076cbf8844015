"""What covariances and initial factors add to a comparison, and when they are refused."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deltalens
from adapter_files import (
    SHAPES,
    Factors,
    document,
    initial,
    pair,
    write_adapter,
    write_base,
    write_tensors,
)
from deltalens.core.keys import ModuleKey
from deltalens.core.moment import InputMoment
from deltalens.errors import BaseModelError
from deltalens.geometry.initial_rows import rounded_to_bf16
from deltalens.geometry.nulls.haar import overlap_moments
from deltalens.geometry.nulls.rotation import haar_orthogonal
from deltalens.geometry.weighted import weighted_inner
from deltalens.io.covariance_info import CovarianceInfo
from deltalens.io.covariances import parts, write_covariances
from deltalens.studies.walk.settings import folder_digest

R, DRIFT = 4, 0.05
INFO = CovarianceInfo(
    model="b", model_digest="0" * 64, texts="t.txt", texts_digest="1" * 64, kind="full",
    centred=False, rank=None, seed=0, n_documents=1, n_tokens=100, n_dropped=1, n_cut=0,
    drop_first=1, inputs={p: (p,) for p in SHAPES}, captured=dict.fromkeys(SHAPES, 1.0),
    versions={},
)  # fmt: skip


def moments() -> dict[str, InputMoment]:
    rng = np.random.default_rng(9)
    made: dict[str, InputMoment] = {}
    for path, (_, d) in SHAPES.items():
        Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
        C = (Q * 0.9 ** np.arange(d)) @ Q.T
        made[path] = InputMoment.full(((C + C.T) / 2).astype("<f4").astype(float))
    return made


def covariance_file(
    path: Path, held: Mapping[str, InputMoment] | None = None, **changes: Any
) -> Path:
    held = moments() if held is None else held
    tensors = [(f"{n}.{p}", v) for n, m in held.items() for p, v in parts(m).items()]
    info = replace(INFO, inputs={n: (n,) for n in held}, **changes)
    write_covariances(path, info, {n: v.shape for n, v in tensors}, tensors)
    return path


def run(
    folder: Path, seed: int, *, init: int = 0, dtype: str = "<f4", drift: float = DRIFT,
    start: bool = True, base: str = "b",
) -> Path:  # fmt: skip
    """A training run: B of its own, A drifted from its start, the start beside it."""
    A0 = initial(init, R)
    rng = np.random.default_rng([seed, 5])
    modules: dict[str, Factors] = {}
    for path, (out, d) in SHAPES.items():
        moved = drift * rng.standard_normal((R, d)) / np.sqrt(d)
        modules[path] = (rng.standard_normal((out, R)), A0[path] + moved)
    write_adapter(folder, modules, dtype=dtype, config={"base_model_name_or_path": base})
    if start:
        tensors = {f"base_model.model.{p}.lora_A.weight": A for p, A in A0.items()}
        write_tensors(folder / "initial_lora_A.safetensors", tensors, dtype="<f4")
    return folder


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return run(tmp_path / "a", 1)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return run(tmp_path / "b", 2)


def test_without_files_every_field_says_what_is_missing(tmp_path: Path) -> None:
    found = pair(run(tmp_path / "a", 1, start=False), run(tmp_path / "b", 2))
    assert found["activation_cosine"] is None
    assert found["activation_reason"] == "needs --covariances FILE, from deltalens covariances"
    assert found["residual_overlap"] is None
    assert found["residual_overlap_reason"] == (
        "a: the training folder's initial_lora_A.safetensors is not beside the adapter"
    )
    assert found["nulls"]["activation"] is None
    assert found["null_used"]["cosine"] == "rotation"


def test_the_weighted_cosine_is_that_of_whole_updates(a: Path, b: Path, tmp_path: Path) -> None:
    whole = document(a, b, covariances=covariance_file(tmp_path / "c"))
    one, two = deltalens.load(a), deltalens.load(b)
    held = {ModuleKey(p): C for p, C in moments().items()}

    def inner(x: Any, y: Any) -> float:
        return sum(weighted_inner(x[key], y[key], C) for key, C in held.items())

    expected = inner(one, two) / np.sqrt(inner(one, one) * inner(two, two))
    found = whole["pairs"][0]
    assert found["activation_cosine"] == pytest.approx(expected, rel=1e-6)
    assert found["activation_reason"] is None
    assert found["activation_start"] == "initial_lora_A"
    ranks = [C.trace() ** 2 / C.squared_norm() for C in held.values()]
    assert whole["covariances"]["effective_rank"]["smallest"] == pytest.approx(min(ranks))
    assert whole["covariances"]["effective_rank"]["largest"] == pytest.approx(max(ranks))
    assert (whole["covariances"]["kind"], whole["covariances"]["centred"]) == ("full", False)


def test_the_null_of_the_cosine_is_that_of_draws(a: Path, b: Path, tmp_path: Path) -> None:
    """Every module turned at random, either update: the larger deviation of two powers."""
    found = pair(a, b, covariances=covariance_file(tmp_path / "c"))
    rng, held, A0 = np.random.default_rng(0), moments(), initial(0, R)
    adapters = [deltalens.load(path) for path in (a, b)]
    norm = np.prod([np.sqrt(sum(u.norm() ** 2 for u in x.values())) for x in adapters])
    deviations = []
    for q in (1, 2):
        for one, two in (adapters, adapters[::-1]):
            total = np.zeros(4000)
            for path, C in held.items():
                K = A0[path] @ np.linalg.matrix_power(C.to_dense(), q) @ A0[path].T
                values, vectors = np.linalg.eigh(K)
                root = (vectors * np.sqrt(values)) @ vectors.T
                turn = np.linalg.inv(root) @ haar_orthogonal(R, 4000, rng=rng) @ root
                x, y = one[ModuleKey(path)], two[ModuleKey(path)]
                total += np.einsum("drs,sr->d", turn, y.A @ x.A.T @ x.B.T @ y.B)
            deviations.append(total.std() / norm)
    null = found["nulls"]["activation"]
    assert set(null) == {"cosine", "layer_cosine"}  # never the overlaps
    assert null["cosine"]["mean"] == 0
    by_power = [max(deviations[:2]), max(deviations[2:])]
    assert null["cosine"]["sd"] == pytest.approx(max(by_power), rel=0.06)
    assert found["null_used"]["cosine"] == "activation"
    assert found["null_used"].get("overlap") != "activation"
    assert set(found["activation_norm_ratio"]) == {"q1", "q2"}


def test_without_the_start_lora_A_stands_for_it(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, i, start=False) for i, name in enumerate("ab")]
    held = covariance_file(tmp_path / "c")
    found = pair(*runs, covariances=held)
    assert found["activation_start"] == "lora_A as stored"
    for i, name in enumerate("ab"):
        run(tmp_path / name, i)
    near = pair(*runs, covariances=held)
    assert near["activation_start"] == "initial_lora_A"
    sd = [p["nulls"]["activation"]["cosine"]["sd"] for p in (found, near)]
    assert sd[0] != sd[1]
    assert sd[0] == pytest.approx(sd[1], rel=0.1)  # A hardly moves


def test_factors_out_of_the_training_gauge_have_no_activation_null(a: Path, tmp_path: Path) -> None:
    modules: dict[str, Factors] = {}
    for key, update in deltalens.load(a).items():
        U, S, V = update.svd()
        modules[key.path] = (U * S, V.T)
    other = write_adapter(tmp_path / "z", modules)
    found = pair(a, other, covariances=covariance_file(tmp_path / "c"))
    assert found["nulls"]["activation"] is None
    assert "not in the training gauge" in found["null_reasons"]["activation"]
    assert found["activation_cosine"] == pytest.approx(1, abs=1e-6)  # needs no gauge


def test_modules_without_covariances_leave_the_pair_undefined(
    a: Path, b: Path, tmp_path: Path
) -> None:
    some = dict(list(moments().items())[:3])
    found = pair(a, b, covariances=covariance_file(tmp_path / "c", some))
    assert found["activation_cosine"] is None
    assert found["activation_reason"] == "the covariances lack 1 of 4 modules"
    assert found["null_reasons"]["activation"] == "the covariances lack 1 of 4 modules"
    assert found["null_used"]["cosine"] == "rotation"


def test_inputs_in_fewer_directions_than_the_rank(a: Path, b: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    flat = {
        p: InputMoment(np.zeros(d), rng.standard_normal((d, R - 1))) for p, (_, d) in SHAPES.items()
    }
    path = covariance_file(tmp_path / "c", flat, kind="low-rank", rank=3)
    found = document(a, b, covariances=path)
    reason = found["pairs"][0]["null_reasons"]["activation"]
    assert reason.startswith("the inputs do not fill the initial rows in 4 of 4 modules")
    assert found["pairs"][0]["activation_cosine"] is not None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("diagonal", "the covariances are diagonal: inputs are taken as uncorrelated"),
        ("low-rank", "the covariances are of rank 2 with a diagonal rest: at worst 25%"),
    ],
)
def test_approximations_are_stated(kind: Any, said: str, a: Path, b: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rank = 2 if kind == "low-rank" else 0
    held = {
        p: InputMoment(rng.random(d) + 0.1, rng.standard_normal((d, rank)))
        for p, (_, d) in SHAPES.items()
    }
    path = covariance_file(
        tmp_path / "c", held, kind=kind, rank=rank or None, captured=dict.fromkeys(held, 0.25)
    )
    found = document(a, b, covariances=path)
    assert any(line.startswith(said) for line in found["warnings"])
    assert found["pairs"][0]["nulls"]["activation"]["cosine"]["sd"] > 0


def test_a_massive_direction_is_called_by_name(a: Path, b: Path, tmp_path: Path) -> None:
    held = {
        p: InputMoment.of_diagonal(np.array([9.0 * d, *np.ones(d - 1)]))
        for p, (_, d) in SHAPES.items()
    }
    found = document(a, b, covariances=covariance_file(tmp_path / "c", held, kind="diagonal"))
    assert any("one direction holds 90% of an input's energy" in w for w in found["warnings"])


def test_covariances_of_another_base_are_refused(a: Path, b: Path, tmp_path: Path) -> None:
    path = covariance_file(tmp_path / "c", model="other")
    with pytest.raises(BaseModelError, match=r"is of other, and a names b; --base with the mod"):
        pair(a, b, covariances=path)
    weights = {p: np.ones(shape) for p, shape in SHAPES.items()}
    base = write_base(tmp_path / "base", weights)
    with pytest.raises(BaseModelError, match=r"is of other \(0{12}\), and the base .* is another"):
        document(a, b, covariances=path, base=base)
    known = covariance_file(tmp_path / "c", model="other", model_digest=folder_digest(base))
    assert pair(a, b, covariances=known, base=base)["activation_cosine"] is not None
    narrow = {**moments(), "model.layers.1.self_attn.q_proj": InputMoment.of_diagonal(np.ones(7))}
    odd = {p: InputMoment.of_diagonal(m.mean_squares()) for p, m in narrow.items()}
    shapes = covariance_file(tmp_path / "d", odd, kind="diagonal")
    with pytest.raises(
        BaseModelError, match=r"layers\.1\.self_attn\.q_proj is 7 wide there and 48"
    ):
        pair(a, b, covariances=shapes)


def test_a_file_that_is_not_there_is_named(a: Path, b: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="none: cannot be read: No such file"):
        pair(a, b, covariances=tmp_path / "none")


def test_residuals_of_independent_drifts_are_at_chance(a: Path, b: Path) -> None:
    found = pair(a, b, top_k=2)
    assert found["overlap"] > 0.3
    null = found["residual_overlap_null"]
    chance = [overlap_moments(d - 2 * R, 2)[0] for _, d in SHAPES.values()]
    assert null["mean"] == pytest.approx(((sum(chance[:3]) / 3) + chance[3]) / 2, rel=1e-9)
    assert abs(found["residual_overlap"] - null["mean"]) < 4 * null["sd"]
    assert found["residual_overlap_modules"] == 4
    assert found["residual_overlap_reason"] is None


def test_a_drift_in_common_is_found_across_seeds_and_within_one(tmp_path: Path) -> None:
    """The same drift from the same start, and from two starts: both are seen outside the starts."""
    same = [run(tmp_path / f"s{i}", 1) for i in range(2)]
    other = run(tmp_path / "o", 1, init=1)
    assert pair(*same, top_k=2)["residual_overlap"] == pytest.approx(1, abs=1e-6)
    found = pair(same[0], other, top_k=2)
    assert found["overlap"] < 0.2
    assert found["residual_overlap"] > 0.95


def test_a_drift_that_a_16_bit_file_cannot_hold_is_no_evidence(tmp_path: Path) -> None:
    half = [run(tmp_path / f"h{i}", i, dtype="bf16", drift=0.003) for i in range(2)]
    found = pair(*half, top_k=2)
    assert found["residual_overlap"] is None
    assert "h0, model.layers.0" in found["residual_overlap_reason"]
    assert "under 1%: in a 16-bit file that is rounding" in found["residual_overlap_reason"]
    far = [run(tmp_path / f"f{i}", i, dtype="bf16", drift=0.3) for i in range(2)]
    assert pair(*far, top_k=2)["residual_overlap"] is not None


def test_a_k_larger_than_the_space_left_is_refused_with_the_numbers(tmp_path: Path) -> None:
    narrow = {"model.layers.0.self_attn.q_proj": (40, 10)}
    runs = []
    for i in range(2):
        rng = np.random.default_rng(i)
        A0 = initial(0, R, narrow)
        modules = {
            p: (rng.standard_normal((40, R)), A0[p] + 0.1 * rng.standard_normal((R, 10)))
            for p in narrow
        }
        folder = write_adapter(tmp_path / f"n{i}", modules)
        tensors = {f"{p}.lora_A.weight": A for p, A in A0.items()}
        write_tensors(folder / "initial_lora_A.safetensors", tensors)
        runs.append(folder)
    found = pair(*runs, top_k=3)
    assert found["overlap"] is not None
    assert found["residual_overlap"] is None
    assert found["residual_overlap_reason"].startswith(
        "k = 3 is larger than the space left: 2 of 10 input dimensions remain without the 8"
    )


def test_a_broken_start_is_a_reason_and_no_failure(a: Path, b: Path, tmp_path: Path) -> None:
    (a / "initial_lora_A.safetensors").write_bytes(b"nonsense")
    assert "not a safetensors file" in pair(a, b)["residual_overlap_reason"]
    c = run(tmp_path / "c", 3, init=7)
    shutil.copy(c / "initial_lora_A.safetensors", a)  # somebody else's start
    found = pair(a, b)
    assert found["residual_overlap"] is None
    assert "a, model.layers.0" in found["residual_overlap_reason"]
    assert "is not the start of its lora_A" in found["residual_overlap_reason"]


def test_the_rounding_that_is_projected_out_is_the_files_own() -> None:
    A = initial(0, R)["model.layers.0.self_attn.q_proj"]
    assert 0 < np.abs(rounded_to_bf16(A) - A).max() < 2**-8 * np.abs(A).max()
