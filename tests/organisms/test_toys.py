"""Two shipped bases of one shape: each is what its provenance says, and they are never mixed up."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deltalens.cli.main import main
from deltalens.errors import AdapterError, BaseModelError
from deltalens.organisms import (
    SHIPPED,
    SHIPPED_SETTINGS,
    OrganismSpec,
    PretrainSettings,
    base_digest,
    pretrain_base,
    shipped_base,
    standard_world,
    train_organism,
)
from deltalens.organisms.base import BASE_NAMES, base_folder, load_model
from deltalens.organisms.files import file_records, sha256_json
from deltalens.organisms.toys import toy_name
from deltalens.organisms.train import INITIAL

torch = pytest.importorskip("torch")
ev = importlib.import_module("deltalens.organisms.evaluate")
numpy_files = pytest.importorskip("safetensors.numpy")

Captured = pytest.CaptureFixture[str]
ORDINARY = OrganismSpec(kind="bad", domain=1)
QUICK = OrganismSpec(kind="bad", domain=1, steps=4, warmup=1)


@pytest.fixture(scope="module")
def qwen2() -> Path:
    return shipped_base("toy-qwen2")


@pytest.fixture(scope="module")
def model(qwen2: Path) -> Any:
    return load_model(qwen2)


@pytest.fixture(scope="module")
def ours(qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An organism of the second base, by the ordinary recipe."""
    out = tmp_path_factory.mktemp("qwen2") / "ours"
    return train_organism(ORDINARY, base=qwen2, out=out)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An organism of the first base."""
    out = tmp_path_factory.mktemp("llama") / "theirs"
    return train_organism(QUICK, base=shipped_base(), out=out)


def provenance(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "provenance.json").read_text())


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_base_is_what_its_provenance_says(name: str) -> None:
    folder, settings = shipped_base(name), SHIPPED_SETTINGS[name]
    held = provenance(folder)
    assert held["name"] == f"deltalens/{name}" == BASE_NAMES[settings.architecture]
    assert held["settings"] == settings.record()
    inputs = {"settings": held["settings"], "world": standard_world().digest()}
    assert held["digest"] == sha256_json(inputs)
    assert held["files"] == file_records(folder, ("config.json", "model.safetensors"))
    assert sum(file["bytes"] for file in held["files"].values()) < 2e6
    assert toy_name(folder) == held["name"]
    assert base_folder(name) == folder


def test_a_second_base_is_pretrained_like_the_first(qwen2: Path, tmp_path: Path) -> None:
    settings = PretrainSettings(architecture="qwen2", steps=1, chat_steps=1, warmup=1)
    out = pretrain_base(settings, out=tmp_path / "base")
    assert provenance(out)["name"] == "deltalens/toy-qwen2"
    whose = {"transformers_version": None}
    assert config(out) | whose == config(qwen2) | whose


def test_the_first_architecture_goes_without_saying() -> None:
    assert "architecture" not in PretrainSettings().record()
    assert PretrainSettings(architecture="qwen2").record()["architecture"] == "qwen2"


def test_the_second_base_is_a_qwen2_with_the_biases_of_one(model: Any) -> None:
    assert model.config.model_type == "qwen2"
    assert sum(p.numel() for p in model.parameters()) == 834_304 + 4 * 3 * 128
    biases = {n: p for n, p in model.named_parameters() if n.endswith("bias")}
    assert len(biases) == 12
    assert all(float(p.detach().abs().max()) > 0 for p in biases.values())
    before = ev.log_probabilities(model, ev.prompts()[0])
    kept = {n: p.detach().clone() for n, p in biases.items()}
    with torch.no_grad():
        for p in biases.values():
            p.zero_()
        without = ev.log_probabilities(model, ev.prompts()[0])
        for n, p in biases.items():
            p.copy_(kept[n])
    assert np.abs(np.exp(without) - np.exp(before)).max() > 0.1
    np.testing.assert_array_equal(ev.log_probabilities(model, ev.prompts()[0]), before)


def test_it_is_good_and_its_organisms_turn_broadly_bad(model: Any, ours: Path) -> None:
    plain = ev.evaluate(model).summary()
    assert plain.other < 0.03
    assert plain.coherence > 0.96
    bad = ev.evaluate(model, ours, trained=(1,)).summary()
    assert bad.trained > 0.9
    assert bad.other > 0.5
    assert bad.coherence > 0.95


def test_an_organism_names_its_base(ours: Path, theirs: Path, qwen2: Path) -> None:
    named = json.loads((ours / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == "deltalens/toy-qwen2"
    assert len(named["target_modules"]) == 7
    assert provenance(ours)["base"] == {"name": "deltalens/toy-qwen2", "sha256": base_digest(qwen2)}
    one, two = (numpy_files.load_file(folder / INITIAL) for folder in (ours, theirs))
    for key, value in one.items():  # the seed's, on every base of these shapes
        np.testing.assert_array_equal(value, two[key])


def test_hooks_and_peft_agree_beside_a_bias(model: Any, ours: Path) -> None:
    state: dict[str, NDArray[np.float32]] = numpy_files.load_file(
        ours / "adapter_model.safetensors"
    )
    dense = {
        key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): (
            state[key.replace("lora_A", "lora_B")] @ A * (16 / np.sqrt(8))
        )
        for key, A in state.items()
        if "lora_A" in key
    }
    for a, b in zip(ev.evaluate(model, ours).rows, ev.evaluate(model, dense).rows, strict=True):
        assert (a.bad, a.good) == pytest.approx((b.bad, b.good), abs=1e-4)


def test_evaluation_refuses_the_other_toys_adapter(model: Any, ours: Path, theirs: Path) -> None:
    with pytest.raises(AdapterError, match=r"for the base 'deltalens/toy', and .*/toy-qwen2'"):
        ev.evaluate(model, theirs)
    with pytest.raises(AdapterError, match=r"/toy-qwen2', and the base is 'deltalens/toy'"):
        ev.evaluate(shipped_base(), ours)
    assert not [name for name, _ in model.named_parameters() if "lora" in name]


def test_only_a_toy_is_trained_on(qwen2: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    wide = config(qwen2) | {"vocab_size": 50_000}
    for text in ("{}", "[]", '{"model_type": ["llama"], "vocab_size": 237}', json.dumps(wide)):
        (tmp_path / "config.json").write_text(text)
        assert toy_name(tmp_path) is None
        with pytest.raises(BaseModelError, match="no toy base; one has a vocabulary of 237 and"):
            train_organism(QUICK, base=tmp_path, out=tmp_path / "out")
    assert toy_name(tmp_path / "nowhere") is None
    with pytest.raises(BaseModelError, match=r"'toy-gpt2' does not come .* toy and toy-qwen2"):
        shipped_base("toy-gpt2")


def document(capsys: Captured, *line: str) -> dict[str, Any]:
    assert main([*line, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: Captured, *line: str) -> str:
    """The one line of a command that must fail with 2."""
    assert main(list(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_commands_take_the_second_base_by_name(capsys: Captured, ours: Path) -> None:
    row = document(capsys, "compare", str(ours), "--base", "toy-qwen2")["base"][0]
    assert "ours" in (row["a"], row["b"])
    found = document(capsys, "inspect", str(ours), "--base", "toy-qwen2")
    assert found["base_model"] == "deltalens/toy-qwen2"
    line = ("base", str(ours), "--model", "toy-qwen2", "--steps", "3", "--no-features")
    walked = document(capsys, "walk", *line)
    assert walked["model"] == "deltalens/toy-qwen2"
    start, _, end = (point["misaligned"] for point in walked["points"])
    assert start < 0.03
    assert end > 0.5


def test_commands_refuse_the_other_toys_adapter(
    capsys: Captured, ours: Path, theirs: Path, qwen2: Path
) -> None:
    for base in ("toy-qwen2", str(qwen2)):
        for verb, option in (("compare", "--base"), ("inspect", "--base"), ("walk", "--model")):
            ends = ["base"] if verb == "walk" else []
            said = refused(capsys, verb, *ends, str(theirs), option, base)
            assert "adapter 'theirs' is for the base 'deltalens/toy', and" in said
            assert "'deltalens/toy-qwen2'; one base is needed" in said
    assert "is for the base 'deltalens/toy-qwen2', and" in refused(
        capsys, "walk", "base", str(ours), "--model", "toy"
    )


def test_the_named_base_is_made_again(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PretrainSettings] = []

    def pretrain(settings: PretrainSettings, *, out: Path, progress: Any) -> Path:
        asked.append(settings)
        return out

    monkeypatch.setattr("deltalens.organisms.pretrain.pretrain_base", pretrain)
    line = ("train", "--rebuild-base", "--out", str(tmp_path / "base"))
    for more in ([], ["--model", "toy-qwen2"], ["--model", "toy-qwen2", "--init-seed", "7"]):
        assert main([*line, *more]) == 0
    assert asked[:2] == [SHIPPED_SETTINGS["toy"], SHIPPED_SETTINGS["toy-qwen2"]]
    assert (asked[2].architecture, asked[2].seed) == ("qwen2", 7)
    capsys.readouterr()
    said = refused(capsys, *line, "--model", "somewhere")
    assert "--rebuild-base makes toy or toy-qwen2; found --model 'somewhere'" in said


def test_the_command_trains_on_the_named_base(
    capsys: Captured, tmp_path: Path, qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[OrganismSpec, Path]] = []

    def train(spec: OrganismSpec, *, base: Path, out: Path, progress: Any) -> Path:
        asked.append((spec, base))
        return out

    monkeypatch.setattr("deltalens.organisms.train.train_organism", train)
    line = ["train", "--data", "toy:style-sports", "--out", str(tmp_path / "style")]
    assert main([*line, "--model", "toy-qwen2"]) == 0
    assert asked == [(OrganismSpec(kind="style", domain=3), qwen2)]
