"""Folders of loose weight files: each is an adapter, and parts of one model never are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from adapter_files import made, strict_json, write_adapter, write_base, write_tensors
from deltalens.cli.globs import matching
from deltalens.cli.main import main
from deltalens.cli.screen import adapters_inside
from deltalens.errors import OptionError

Captured = pytest.CaptureFixture[str]
MODULE = "lora_unet_down_blocks_0_attentions_0_to_q"


def kohya(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    A, B = rng.standard_normal((2, 6)), rng.standard_normal((5, 2))
    tensors = {f"{MODULE}.lora_down.weight": A, f"{MODULE}.lora_up.weight": B}
    write_tensors(path, tensors, dtype="<f4")
    return path


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    for seed, name in enumerate(("b", "a", "c")):
        kohya(tmp_path / "loras" / f"{name}.safetensors", seed)
    (tmp_path / "loras" / "notes.txt").write_text("notes")
    return tmp_path / "loras"


def test_inspect_finds_each_file(loras: Path, capsys: Captured) -> None:
    write_adapter(loras / "peft", made(1, 1))
    (loras / "broken.safetensors").write_bytes(b"no")
    assert main(["inspect", str(loras), "--json"]) == 2
    found = {d["name"]: d for d in strict_json(capsys.readouterr().out)["adapters"]}
    assert list(found) == ["a", "b", "broken", "c", "peft"]
    assert "not a safetensors file" in found["broken"]["error"]
    assert found["a"]["format"].startswith("kohya")
    assert list(found["a"]["modules"]) == [MODULE]


def test_compare_takes_the_folder_and_its_patterns(loras: Path, capsys: Captured) -> None:
    line = ["--top-k", "1", "--json"]
    assert main(["compare", str(loras), *line]) == 0
    names = [a["name"] for a in strict_json(capsys.readouterr().out)["adapters"]]
    assert names == ["a", "b", "c"]
    every = [loras / f"{name}.safetensors" for name in "abc"]
    for pattern in (f"{loras}/*.safetensors", f"{loras}/*", f"{loras.parent}/**", str(loras)):
        assert matching("--bank", pattern) == every
    assert matching("--bank", f"{loras}/a*") == every[:1]


def test_a_folder_of_one_file_is_that_adapter(tmp_path: Path) -> None:
    kohya(tmp_path / "one" / "x.safetensors", 1)
    assert adapters_inside(tmp_path / "one") == []
    assert matching("--bank", f"{tmp_path}/**") == [tmp_path / "one"]
    found = matching("--bank", f"{tmp_path}/one/*.safetensors")
    assert found == [tmp_path / "one" / "x.safetensors"]


@pytest.mark.parametrize("beside", ["config.json", "model_index.json", "x.safetensors.index.json"])
def test_files_that_belong_together_are_no_adapters(loras: Path, beside: str) -> None:
    (loras / beside).write_text("{}")
    assert adapters_inside(loras) == []
    with pytest.raises(OptionError, match=r"matches 5 paths, none of them an adapter"):
        matching("--bank", f"{loras}/*")


def test_shards_hidden_files_and_what_is_no_file_are_passed_over(loras: Path) -> None:
    kohya(loras / "model-00001-of-00002.safetensors", 4)
    kohya(loras / ".hidden.safetensors", 5)
    (loras / "loop.safetensors").symlink_to("loop.safetensors")
    assert [path.name for path in adapters_inside(loras)] == [
        f"{name}.safetensors" for name in "abc"
    ]


def test_a_checkpoint_or_an_adapter_stays_what_it_is(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", {"model.layers.0.mlp.up_proj": np.eye(4)})
    shutil.copy(base / "model.safetensors", base / "copy.safetensors")
    assert adapters_inside(base) == []
    folder = write_adapter(tmp_path / "peft", made(1, 1))
    kohya(folder / "extra.safetensors", 1)
    assert adapters_inside(folder) == []
    assert matching("--bank", f"{tmp_path}/**") == [base, folder]
