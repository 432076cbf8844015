"""Exports to kohya and mlx read back as the same updates, in every type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import deltalens
from adapter_files import in_memory, made
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.errors import OptionError, UnsupportedAdapterError
from deltalens.io.export_format import WEIGHT_FILES, format_of
from deltalens.io.write import write_adapter

UNEVEN = Adapter.from_updates(
    "uneven",
    {
        ModuleKey(f"model.layers.{i}.x"): LowRankUpdate(
            np.random.default_rng(i).standard_normal((4, i)),
            np.random.default_rng(9 + i).standard_normal((i, 6)),
        )
        for i in (0, 1, 3)
    },
    "org/base",
)


@pytest.mark.parametrize("name", ["kohya", "mlx"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_read_back(name: str, dtype: str, tmp_path: Path) -> None:
    close = {"float64": 1e-15, "float32": 1e-6, "bfloat16": 2e-2}[dtype]
    for adapter in (in_memory("a", made(0, 1)), UNEVEN):
        folder = tmp_path / adapter.name
        write_adapter(adapter, folder, dtype=dtype, layout=format_of(name))
        again = deltalens.load(folder)
        assert again.name == adapter.name
        assert again.provenance.format == f"{name}-lora"
        held = {key for key in adapter if adapter.specs[key].rank > 0}
        assert set(again) == held
        for key in held:
            dW = adapter[key].dense()
            atol = close * float(np.linalg.norm(dW))
            np.testing.assert_allclose(again[key].dense(), dW, rtol=0, atol=atol)
            assert again.specs[key].gauge != "training"


def test_mlx_has_one_rank_and_names_its_keys(tmp_path: Path) -> None:
    import json

    write_adapter(UNEVEN, tmp_path / "m", layout=format_of("mlx"))
    config = json.loads((tmp_path / "m" / "adapter_config.json").read_text())
    assert config["lora_parameters"] == {"rank": 3, "scale": 1.0, "dropout": 0.0, "keys": ["x"]}
    assert (config["model"], config["num_layers"]) == ("org/base", -1)
    assert {spec.rank for spec in deltalens.load(tmp_path / "m").specs.values()} == {3}


def test_an_alpha_that_bf16_cannot_hold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide = LowRankUpdate(rng.standard_normal((300, 257)), rng.standard_normal((257, 300)))
    adapter = Adapter.from_updates("w", {ModuleKey("x.y"): wide})
    write_adapter(adapter, tmp_path / "w", dtype="bfloat16", layout=format_of("kohya"))
    again = deltalens.load(tmp_path / "w")[ModuleKey("x.y")].dense()
    assert abs(np.vdot(again, wide.dense()) / np.vdot(wide.dense(), wide.dense()) - 1) < 1e-3


def test_one_format_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("peft", "kohya", "mlx", "peft"):
        write_adapter(UNEVEN, tmp_path / "a", layout=format_of(name))
        assert len(list((tmp_path / "a").glob("*.safetensors"))) == 1
        assert format_of(name).weights in WEIGHT_FILES
        assert deltalens.load(tmp_path / "a").provenance.format == f"{name}-lora"


def test_back_to_peft_over_the_other_formats(tmp_path: Path) -> None:
    """PEFT to kohya to mlx to PEFT: float64 all the way, nothing lost."""
    adapter: Adapter = in_memory("a", made(0, 1))
    for name in ("peft", "kohya", "mlx", "peft"):
        write_adapter(adapter, tmp_path / name, dtype="float64", layout=format_of(name))
        adapter = deltalens.load(tmp_path / name)
    for key, update in in_memory("a", made(0, 1)).items():
        np.testing.assert_allclose(adapter[key].dense(), update.dense(), rtol=0, atol=1e-13)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--format 'gguf' is not known; known are peft, kohya"):
        format_of("gguf")
    from dataclasses import replace

    specs = {key: replace(spec, layout=Layout(kernel=(3, 2))) for key, spec in UNEVEN.specs.items()}
    folded = Adapter("c", specs, UNEVEN.read)
    with pytest.raises(UnsupportedAdapterError, match=r"is a convolution, which adapters.safe"):
        write_adapter(folded, tmp_path / "c", layout=format_of("mlx"))


@pytest.mark.parametrize("name", ["kohya", "mlx"])
def test_the_study_writes_the_format_and_reads_it_as_an_end(name: str, tmp_path: Path) -> None:
    from deltalens.studies.export import export

    result = export(in_memory("a", made(0, 1)), out=tmp_path / "one", t=[1.0], format=name)
    assert result.document["format"] == name
    export(tmp_path / "one" / "t-1", out=tmp_path / "two", t=[0.5], format="peft", dtype="float64")
    half = deltalens.load(tmp_path / "two" / "t-0.5")
    for key, update in in_memory("a", made(0, 1)).items():
        np.testing.assert_allclose(half[key].dense(), update.dense() / 2, rtol=0, atol=1e-5)
