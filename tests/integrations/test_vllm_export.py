"""What vLLM would compute from the exported files is the path; what it cannot serve is named."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_files import SHAPES, in_memory, made, strict_json, write_adapter
from deltalens.cli.main import main
from deltalens.core.adapter import Adapter, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.errors import BaseModelError, DeltalensError, OptionError, UnsupportedAdapterError
from deltalens.integrations.serving.export import export_served
from deltalens.integrations.serving.manifest import read_manifest
from deltalens.integrations.serving.server import Planned
from deltalens.integrations.serving.vllm import RANKS, SERVER, max_lora_rank


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Tensors of a file as they lie there, read by the format's own rules."""
    raw = (folder / "adapter_model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    found = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            start, stop = entry["data_offsets"]
            kind = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
            data = np.frombuffer(raw[8 + size + start : 8 + size + stop], kind)
            found[name] = data.reshape(entry["shape"]).astype(np.float64)
    return found


def as_vllm_reads(folder: Path) -> dict[str, np.ndarray]:
    """`PEFTHelper`: one scaling for the whole adapter, from r, lora_alpha and use_rslora alone."""
    config = json.loads((folder / "adapter_config.json").read_text())
    r, alpha = config["r"], config["lora_alpha"]
    scaling = alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r
    assert config["bias"] == "none"
    assert not config["modules_to_save"]
    assert not config["use_dora"]
    tensors, found = stored(folder), {}
    for name, A in tensors.items():
        if name.endswith(".lora_A.weight"):
            path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            B = tensors[name.replace("lora_A", "lora_B")]
            assert (A.shape[0], B.shape[1]) == (r, r)
            found[path] = scaling * B @ A
    return found


def as_peft_reads(folder: Path) -> dict[str, np.ndarray]:
    """PEFT's own scaling of a module, patterns and rsLoRA included."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors, found = stored(folder), {}
    for name, A in tensors.items():
        if name.endswith(".lora_A.weight"):
            path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            r = A.shape[0]
            alpha = config.get("alpha_pattern", {}).get(path, config["lora_alpha"])
            scaling = alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r
            found[path] = scaling * tensors[name.replace("lora_A", "lora_B")] @ A
    return found


@pytest.fixture
def rs(tmp_path: Path) -> tuple[Path, Path]:
    """Two rsLoRA adapters of unlike rank and alpha; in one a module has its own of both."""
    first = made(0, 1, r=4)
    low = "model.layers.0.mlp.up_proj"
    first[low] = (first[low][0][:, :2], first[low][1][:2])
    patterns = {"rank_pattern": {low: 2}, "alpha_pattern": {low: 5}}
    a = write_adapter(
        tmp_path / "a", first, config={"use_rslora": True, "r": 4, "lora_alpha": 16} | patterns
    )
    b = write_adapter(
        tmp_path / "b", made(1, 2, r=7), config={"use_rslora": True, "r": 7, "lora_alpha": 9}
    )
    return a, b


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0, 1.5])
def test_vllm_computes_the_point(rs: tuple[Path, Path], tmp_path: Path, t: float) -> None:
    a, b = rs
    out = tmp_path / "out"
    found = export_served(a, b, server="vllm", out=out, t=(t,), dtype="float64").document
    one, two = as_peft_reads(a), as_peft_reads(b)
    (point,) = found["serve"]["points"]
    served = as_vllm_reads(out / point["folder"])
    assert served.keys() == one.keys() == SHAPES.keys()
    for path, dW in served.items():
        want = (1 - t) * one[path] + t * two[path]
        np.testing.assert_allclose(dW, want, rtol=1e-12, atol=1e-12 * np.abs(want).max())
    assert point["rank"] == {0.0: 4, 1.0: 7}.get(t, 11)
    words = found["serve"]["command"]
    allowed = words[words.index("--max-lora-rank") + 1]
    assert allowed == ("8" if t in (0.0, 1.0) else "16")
    assert {
        A.shape[0] for name, A in stored(out / point["folder"]).items() if "lora_A" in name
    } == {point["rank"]}


def test_cut_points_have_the_cut_rank(rs: tuple[Path, Path], tmp_path: Path) -> None:
    found = export_served(*rs, server="vllm", out=tmp_path / "o", t=(0.5,), rank=5).document
    assert [p["rank"] for p in found["serve"]["points"]] == [5]
    assert found["points"][0]["discarded_energy"] > 0
    assert "8" in found["serve"]["command"]


def test_the_smallest_rank_that_holds() -> None:
    given = (1, 8, 9, 33, 256, 257, 321, 512)
    assert [max_lora_rank(rank) for rank in given] == [8, 8, 16, 64, 256, 320, 512, 512]
    with pytest.raises(OptionError) as raised:
        max_lora_rank(513)
    assert str(raised.value) == (
        "--serve vllm: a point has rank 513 (ranks of the ends add up), and vLLM takes 8, 16, 32, "
        "64, 128, 256, 320, 512; --rank 512 or less cuts it, and says what is lost"
    )
    assert RANKS[-1] == 512


def test_too_high_a_rank_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    shape = {"model.layers.0.mlp.up_proj": (600, 600)}
    wide = made(0, 1, r=300, shapes=shape)
    a, b = in_memory("a", wide), in_memory("b", wide)
    given: dict[str, Any] = {"server": "vllm", "base_name": "b", "out": tmp_path / "o", "t": (0.5,)}
    with pytest.raises(OptionError, match="rank 600"):
        export_served(a, b, **given)
    assert not (tmp_path / "o").exists()
    assert export_served(a, b, rank=512, **given).document["serve"]["points"][0]["rank"] == 512


def test_names_and_paths_survive_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / 'o\'dd "$HOME" ; base'
    odd.mkdir()
    a = write_adapter(tmp_path / "a", made(0, 1))
    out = tmp_path / "the points"
    line = ("export", a, "--t", "-0.5", "0", "1", "--serve", "vllm", "--base-name", odd)
    assert main([*map(str, line), "--out", str(out), "--json"]) == 0
    serve = strict_json(capsys.readouterr().out)["serve"]
    words = shlex.split(serve["shell"])
    assert words[:4] == ["cd", str(out), "&&", "vllm"]
    assert words[3:] == serve["command"]
    assert words[5] == str(odd)
    modules = words[words.index("--lora-modules") + 1 :]
    assert modules == ["t--0.5=t--0.5", "t-0=t-0", "t-1=t-1"]
    for name, folder in (item.split("=") for item in modules):  # as vLLM's LoRAParserAction does
        assert (out / folder / "adapter_config.json").is_file(), name
    assert words[words.index("--max-cpu-loras") + 1] == "3"
    script = (out / "serve.sh").read_text()
    assert f'exec {shlex.join(serve["command"])} "$@"' in script


def test_the_command_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1))
    assert main(["export", str(a), "--serve", "vllm", "--out", str(tmp_path / "o")]) == 0
    said = capsys.readouterr().out
    assert "vllm serve b --enable-lora --max-loras 1 --max-cpu-loras 3 --max-lora-rank 8" in said


def keyed(key: ModuleKey, **spec: Any) -> Adapter:
    update = LowRankUpdate(np.ones((4, 1)), np.ones((1, 4)))
    return Adapter("odd", {key: UpdateSpec((4, 4), 1, **spec)}, lambda _: update)


@pytest.mark.parametrize(
    ("adapter", "what"),
    [
        (keyed(ModuleKey("model.embed_tokens")), "model.embed_tokens is an embedding"),
        (keyed(ModuleKey("model.layers.0.mlp.experts.up", expert=1)), "an expert of a stacked"),
        (keyed(ModuleKey("conv"), layout=Layout(kernel=(2, 2))), "conv is a convolution"),
    ],
)
def test_what_vllm_does_not_serve(adapter: Adapter, what: str) -> None:
    with pytest.raises(UnsupportedAdapterError) as raised:
        SERVER.require(Planned([adapter], [adapter], None, "b"))
    assert what in str(raised.value)
    assert "linear layers are served" in str(raised.value)


def test_trained_biases_are_not_served() -> None:
    plain = in_memory("a", made(0, 1))
    biased = Adapter("biased", plain.specs, plain.read, biases={"model.fc": None})
    with pytest.raises(UnsupportedAdapterError, match=r"biased: trains the bias of model\.fc"):
        SERVER.require(Planned([biased], [plain], None, "b"))


def test_dora_and_saved_modules_are_refused_by_the_reader(tmp_path: Path) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1), config={"use_dora": True})
    with pytest.raises(DeltalensError) as raised:
        export_served(a, server="vllm", out=tmp_path / "o")
    assert "magnitude" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"server": "tgi"}, "--serve 'tgi' is not known; known are vllm, transformers"),
        ({"server": "vllm", "path": "x"}, "--path 'x' is not known"),
        ({"server": "vllm", "dtype": "x"}, "--dtype 'x' is not known"),
        ({"server": "vllm", "rank": 0}, "--rank must be from 1 up"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    a = in_memory("a", made(0, 1))
    with pytest.raises(OptionError) as raised:
        export_served(a, out=tmp_path / "o", base_name="b", **options)
    assert said in str(raised.value)


def test_a_base_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError) as raised:
        export_served(in_memory("a", made(0, 1)), server="vllm", out=tmp_path / "o")
    assert str(raised.value).startswith("no adapter names its base; --base-name says what")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--base-name b", "--serve or --lm-eval is needed"),
        ("--serve vllm --format mlx", "take PEFT adapters; found --format 'mlx'"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1))
    assert main(["export", str(a), "--out", str(tmp_path / "o"), *line.split()]) == 2
    assert said in capsys.readouterr().err


def test_the_manifest_holds_what_was_written(tmp_path: Path) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1))
    out = tmp_path / "o"
    export_served(a, server="vllm", out=out)
    held = read_manifest(out)
    assert [point.t for point in held.points] == [0, 0.5, 1]
    assert held == read_manifest(out / "serve.json")
    file = out / "t-0.5/adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(OptionError, match=r"t-0\.5.*has changed since it was exported"):
        read_manifest(out)
    file.unlink()  # on the server's machine only: taken on the manifest's word
    assert read_manifest(out) == held


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"made_by": "x"}, "was not written by deltalens export --serve"),
        ({"points": []}, "points must be one or more"),
        ({"points": 3}, "points must be a list; found '3'"),
        ({"base": None}, "base is missing"),
        ({"ends": None}, "ends must be a list"),
    ],
)
def test_a_wrong_manifest(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1))
    export_served(a, server="vllm", out=tmp_path / "o")
    path = tmp_path / "o/serve.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(OptionError) as raised:
        read_manifest(path)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "t-0", "two points have one name"),
        ("t", 0.0, "each position once"),
        ("folder", "../x", "is no name of a file beside it"),
        ("name", "", "name is missing"),
    ],
)
def test_a_wrong_point(tmp_path: Path, field: str, value: Any, said: str) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1))
    export_served(a, server="vllm", out=tmp_path / "o")
    path = tmp_path / "o/serve.json"
    held = json.loads(path.read_text())
    held["points"][1][field] = value
    path.write_text(json.dumps(held))
    with pytest.raises(OptionError, match=said):
        read_manifest(path)


def test_a_base_that_is_a_folders_name_is_warned_of(tmp_path: Path) -> None:
    a = in_memory("a", made(0, 1))
    named = replace(a, base_model="my-base")
    said = "the adapters call their base 'my-base', which is no folder here: the commands load"
    warned = export_served(named, server="vllm", out=tmp_path / "o").document["warnings"]
    assert [line for line in warned if line.startswith(said)]
    for model, given in (("owner/base", None), ("my-base", "my-base")):
        made_of = replace(a, base_model=model)
        quiet = export_served(made_of, server="vllm", out=tmp_path / "q", base_name=given)
        assert not [line for line in quiet.document["warnings"] if "call their base" in line]
