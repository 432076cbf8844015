"""`inspect` against the dense change that PEFT's own merge makes of the same file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft_cases import CASES, moe, save_base, save_variant, truth
from raw_files import header_of, packed, stored

import deltalens
from deltalens.io.base import open_base
from deltalens.studies.inspect.describe import describe

STEPS = (0.7, 0.3, 0.9, 0.5)
MEASURED = (
    "linear, patterns and rsLoRA",
    "Conv1D",
    "embedding",
    "convolutions",
    "DoRA on convolutions",
    "experts (expert, in, out)",
    "experts (expert, out, in)",
    "experts of Mixtral, one parameter",
)


def probe(dW: np.ndarray) -> float:
    """`sum dW[i,j,k,l] cos(1 + .7 i + .3 j + .9 k + .5 l)`, as the contract writes it."""
    grid = np.indices(dW.shape)
    angle = 1 + sum(step * axis for step, axis in zip(STEPS, grid, strict=False))
    return float(np.sum(dW * np.cos(angle)))


@pytest.mark.parametrize("name", MEASURED)
def test_rows_are_the_parameters_that_peft_changes(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = case.base()
    base = open_base(save_base(model, tmp_path / "base"))
    folder = save_variant(case, model, tmp_path / "adapter")
    true = {path.removesuffix(".weight"): dW for path, dW in truth(model, folder).items()}
    found = describe(deltalens.load(folder, base=base), base)
    rows = found["modules"]
    assert rows.keys() == true.keys()
    for path, dW in true.items():
        row = rows[path]
        assert row["shape"] == list(dW.shape)
        assert row["norm"] == pytest.approx(np.linalg.norm(dW), rel=1e-12)
        assert row["probe"] == pytest.approx(probe(dW), rel=1e-9, abs=1e-11)
        if "experts" in path:
            _check_stack(row, dW)
    whole = math.hypot(*(float(np.linalg.norm(dW)) for dW in true.values()))
    assert found["norm"] == pytest.approx(whole)


def _check_stack(row: dict[str, Any], dW: np.ndarray) -> None:
    each = np.linalg.svd(dW, compute_uv=False)
    tol = 1e-12 * each.max()
    assert row["rank"] == max(expert["rank"] for expert in row["experts"])
    assert row["rank"] == (each > tol).sum(axis=1).max()
    norms = [expert["norm"] for expert in row["experts"]]
    np.testing.assert_allclose(norms, np.linalg.norm(dW, axis=(1, 2)))
    stable = [expert["stable_rank"] for expert in row["experts"]]
    np.testing.assert_allclose(stable, (each**2).sum(axis=1) / each[:, 0] ** 2)
    S = np.sort(each[each > tol])[::-1][:16]
    np.testing.assert_allclose(row["singular_values"], S)
    assert row["stable_rank"] == pytest.approx((each**2).sum() / each.max() ** 2)


def test_headers_alone_give_the_same_rows(tmp_path: Path) -> None:
    case = CASES["experts (expert, in, out)"]
    model = case.base()
    base = open_base(save_base(model, tmp_path / "base"))
    adapter = deltalens.load(save_variant(case, model, tmp_path / "a"), base=base)
    path = "model.layers.0.mlp.experts.down_proj"
    assert describe(adapter, base, weights=False)["modules"][path] == {
        "shape": [3, 6, 8],
        "rank": 3,
        "experts": [{"rank": 3}] * 3,
    }


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "gpt_oss"])
def test_a_base_that_stores_its_experts_apart_is_the_model_that_loads_it(
    name: str, tmp_path: Path
) -> None:
    model = moe(name)
    base = open_base(save_base(model, tmp_path / "base"))
    stacked = {path: p for path, p in model.named_parameters() if p.ndim == 3}
    assert len(stacked) == 2
    for path, parameter in stacked.items():
        assert base.shape(path) == tuple(parameter.shape)
        for expert, W in enumerate(parameter.detach().numpy()):
            np.testing.assert_array_equal(base.expert(path, expert), W)


def test_an_untrained_stack_has_no_stable_rank(tmp_path: Path) -> None:
    tensors = {"m.switch.lora_a": np.ones((2, 2, 5)), "m.switch.lora_b": np.zeros((2, 4, 2))}
    (tmp_path / "adapters.safetensors").write_bytes(
        packed(*header_of({name: stored(array) for name, array in tensors.items()}))
    )
    (tmp_path / "adapter_config.json").write_text('{"lora_parameters": {"scale": 1.0}}')
    row = describe(deltalens.load(tmp_path))["modules"]["m.switch"]
    assert (row["shape"], row["norm"], row["stable_rank"]) == ([2, 4, 5], 0.0, None)
