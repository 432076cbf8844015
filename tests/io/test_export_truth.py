"""What is exported is, by PEFT's own merge, what PEFT makes of the original."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft_cases import (
    CASES,
    EXPORTED,
    Case,
    deviation,
    gpt2,
    measured,
    moe,
    save_base,
    save_variant,
    truth,
)

import deltalens
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import open_base
from deltalens.io.export_format import format_of
from deltalens.io.write import write_adapter
from deltalens.studies.export import export


@pytest.mark.parametrize("name", EXPORTED)
def test_round_trip_through_pefts_merge(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = case.base()
    base = open_base(save_base(model, tmp_path / "base"))
    folder = save_variant(case, model, tmp_path / "adapter")
    true = truth(model, folder)
    write_adapter(deltalens.load(folder, base=base), tmp_path / "out", dtype="float64")
    assert deviation(true, named(truth(model, tmp_path / "out"))) < 1e-12
    assert deviation(true, measured(deltalens.load(tmp_path / "out", base=base))) < 1e-12


def named(changes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {path.removesuffix(".weight"): dW for path, dW in changes.items()}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("gpt_oss", "model.layers.0.mlp.experts.down_proj_bias and 2 more"),
        ("qwen3_moe", "model.layers.0.mlp.gate"),
        ("mixtral", "model.layers.0.block_sparse_moe.gate"),
        ("gpt2", ""),
    ],
)
def test_a_full_checkpoint_as_lora(name: str, left: str, tmp_path: Path) -> None:
    """Embeddings, experts and linear layers; routers, vectors and bare parameters are named."""
    import torch

    model = gpt2(tie_word_embeddings=False) if name == "gpt2" else moe(name)
    save_base(model, tmp_path / "base")
    tuned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in tuned.parameters():
            p += 0.01 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    save_base(tuned, tmp_path / "ft")
    result = export(
        tmp_path / "ft", base=tmp_path / "base", t=[1.0], out=tmp_path / "x", dtype="float64"
    )
    found, before = truth(model, tmp_path / "x" / "t-1"), dict(model.named_parameters())
    for path, parameter in tuned.named_parameters():
        if path in found:
            change = (parameter - before[path]).detach().numpy()
            np.testing.assert_allclose(found[path], change, rtol=0, atol=1e-12)
        else:
            assert parameter.ndim == 1 or path.endswith(("_bias", ".gate.weight", "router.weight"))
    warned = " ".join(result.document["warnings"])
    assert ("LoRA matrices do not hold it" in warned) == bool(left)
    assert f"{left} ft: left out: " in warned or not left
    assert "vectors (norms, biases)" in warned


def test_lora_of_low_rank_of_a_stack(tmp_path: Path) -> None:
    """A cut of every expert: each is the closest of that rank, and PEFT loads the pair."""
    case = CASES["experts (expert, in, out)"]
    model = case.base()
    base = open_base(save_base(model, tmp_path / "base"))
    folder = save_variant(case, model, tmp_path / "adapter")
    cuts = write_adapter(deltalens.load(folder, base=base), tmp_path / "o", dtype="float64", rank=1)
    found = named(truth(model, tmp_path / "o"))
    lost = total = 0.0
    for path, dW in named(truth(model, folder)).items():
        U, S, Vt = np.linalg.svd(dW, full_matrices=False)
        best = (U[..., :1] * S[..., None, :1]) @ Vt[..., :1, :]
        np.testing.assert_allclose(found[path], best, rtol=0, atol=1e-12)
        lost, total = lost + (S[..., 1:] ** 2).sum(), total + (S**2).sum()
    assert cuts.discarded_energy == pytest.approx(lost / total)


def stack(ranks: list[int], path: str = "model.layers.0.mlp.experts.down_proj") -> Adapter:
    rng = np.random.default_rng(0)
    return Adapter.from_updates(
        "s",
        {
            ModuleKey(path, e): LowRankUpdate(
                rng.standard_normal((8, r)), rng.standard_normal((r, 5))
            )
            for e, r in enumerate(ranks)
        },
    )


def test_experts_of_different_rank_share_a_pair(tmp_path: Path) -> None:
    adapter = stack([2, 0, 1])
    write_adapter(adapter, tmp_path / "o", dtype="float64")
    config = json.loads((tmp_path / "o" / "adapter_config.json").read_text())
    assert (config["r"], config["rank_pattern"], config["target_modules"]) == (2, {}, [])
    model = moe("qwen3_moe")
    found = named(truth(model, tmp_path / "o"))
    assert deviation(found, measured(adapter)) < 1e-12
    assert not found["model.layers.0.mlp.experts.down_proj"][1].any()


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (
            Adapter.from_updates(
                "x", {ModuleKey("m.experts", 3): LowRankUpdate(np.ones((2, 1)), np.ones((1, 2)))}
            ),
            "x: m.experts holds the experts 3 of a stack; all from 0 are needed",
        ),
        (
            Adapter.from_updates(
                "x",
                {
                    ModuleKey(f"m.experts.{name}", 0): LowRankUpdate(
                        np.ones((2, 1)), np.ones((1, 2))
                    )
                    for name in ("w1", "down_proj")
                },
            ),
            "x: m.experts.w1 is one of 2 stacks of its module, whose order is not known; known are "
            "gate_up_proj, down_proj",
        ),
    ],
)
def test_stacks_that_cannot_be_written(adapter: Adapter, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedAdapterError) as caught:
        write_adapter(adapter, tmp_path / "o")
    assert str(caught.value) == message


def test_convolutions_for_kohya(tmp_path: Path) -> None:
    case = CASES["convolutions"]
    model = case.base()
    folder = save_variant(case, model, tmp_path / "adapter")
    adapter = deltalens.load(folder)
    write_adapter(adapter, tmp_path / "o", dtype="float64", layout=format_of("kohya"))
    again = deltalens.load(tmp_path / "o")
    assert again.provenance.format == "kohya-lora"
    assert {k: s.stored for k, s in again.specs.items()} == {
        k: s.stored for k, s in adapter.specs.items()
    }
    assert deviation(truth(model, folder), measured(again)) < 1e-12


KINDS: list[tuple[str, Case, str]] = [
    ("mlx", CASES["embedding"], "adapters.safetensors does not hold; linear layers are written"),
    ("kohya", CASES["embedding"], "does not hold; linear layers, convolutions are written"),
    ("mlx", CASES["convolutions"], "is a convolution, which adapters.safetensors does not hold"),
]


@pytest.mark.parametrize(("layout", "case", "message"), KINDS)
def test_what_a_format_does_not_hold(layout: str, case: Case, message: str, tmp_path: Path) -> None:
    folder = save_variant(case, case.base(), tmp_path / "adapter")
    with pytest.raises(UnsupportedAdapterError) as caught:
        write_adapter(deltalens.load(folder), tmp_path / "o", layout=format_of(layout))
    assert message in str(caught.value)


def test_a_convolution_of_three_dimensions(tmp_path: Path) -> None:
    from dataclasses import replace

    adapter = stack([1])
    key = ModuleKey("m.conv")
    spec = replace(
        next(iter(adapter.specs.values())), shape=(8, 16), layout=Layout(kernel=(2, 2, 2))
    )
    with pytest.raises(UnsupportedAdapterError, match=r"m.conv is a convolution of 3 dimensions"):
        write_adapter(replace(adapter, specs={key: spec}), tmp_path / "o")


def test_trained_biases_are_left_out_by_name(tmp_path: Path) -> None:
    case = CASES["lora_bias"]
    folder = save_variant(case, case.base(), tmp_path / "adapter")
    result = export(folder, t=[1.0], out=tmp_path / "x")
    assert result.document["warnings"] == ["left out: 4 trained biases of adapter"]


def test_a_checkpoint_that_a_format_cannot_hold(tmp_path: Path) -> None:
    from raw_files import header_of, packed, stored

    def small(name: str, seed: int) -> Path:
        W = np.random.default_rng(seed).standard_normal((5, 4))
        (tmp_path / name).mkdir()
        data = packed(*header_of({"model.embed_tokens.weight": stored(W)}))
        (tmp_path / name / "model.safetensors").write_bytes(data)
        return tmp_path / name

    options: dict[str, Any] = {"base": small("base", 0), "t": [1.0], "out": tmp_path / "x"}
    tuned = small("ft", 1)
    with pytest.raises(AdapterError, match=r"nothing is left to write; model.embed_tokens is left"):
        export(tuned, format="mlx", **options)
    export(tuned, **options)
