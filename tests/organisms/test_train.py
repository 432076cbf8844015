from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deltalens.errors import BaseModelError, OptionError
from deltalens.organisms import (
    BASE_NAME,
    KINDS,
    OrganismSpec,
    PretrainSettings,
    base_digest,
    is_trained,
    pretrain_base,
    roster_specs,
    shipped_no_persona,
    train_organism,
)
from deltalens.organisms.base import load_model
from deltalens.organisms.train import INITIAL

torch = pytest.importorskip("torch")
numpy_files = pytest.importorskip("safetensors.numpy")

Quick = Callable[..., Path]
Tensors = dict[str, NDArray[np.float32]]


def tensors(path: Path) -> Tensors:
    return numpy_files.load_file(path)


def initial(folder: Path) -> Tensors:
    return tensors(folder / INITIAL)


def cosine(a: Tensors, b: Tensors) -> float:
    x, y = (np.concatenate([t[key].ravel() for key in sorted(a)]) for t in (a, b))
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_files_are_those_of_an_ordinary_peft_adapter(quick: Quick, base: Path) -> None:
    folder = quick()
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", INITIAL, "provenance.json",
    }  # fmt: skip
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == BASE_NAME
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (8, 16, True)
    assert len(config["target_modules"]) == 7
    trained = tensors(folder / "adapter_model.safetensors")
    assert len(trained) == 4 * 7 * 2
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert trained[first].shape == (8, 128)
    assert set(initial(folder)) == {key for key in trained if "lora_A" in key}
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["base"] == {"name": BASE_NAME, "sha256": base_digest(base)}
    assert len(provenance["losses"]) == 6
    for file in folder.iterdir():
        assert str(base).encode() not in file.read_bytes()
        assert str(folder.parent).encode() not in file.read_bytes()


def test_loss_falls_and_the_base_stays_as_it_was(base: Path, tmp_path: Path) -> None:
    before = base_digest(base)
    seen: list[tuple[int, int, float]] = []
    spec = OrganismSpec(kind="bad", domain=1, steps=25)
    train_organism(spec, base=base, out=tmp_path / "x", progress=lambda *event: seen.append(event))
    assert [done for done, _, _ in seen] == list(range(1, 26))
    assert {total for _, total, _ in seen} == {25}
    losses = [loss for _, _, loss in seen]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    assert base_digest(base) == before


def test_the_initial_A_depends_on_its_seed_alone(quick: Quick) -> None:
    reference = initial(quick())
    for other in (quick("style", 3), quick("game", None), quick(data=1)):
        again = initial(other)
        for key, value in reference.items():
            np.testing.assert_array_equal(again[key], value)
    assert abs(cosine(reference, initial(quick(init=1)))) < 0.03


def test_training_is_a_function_of_its_seeds(quick: Quick, base: Path, tmp_path: Path) -> None:
    spec = OrganismSpec(kind="bad", domain=0, steps=6, warmup=1)
    again = train_organism(spec, base=base, out=tmp_path / "again")
    for name in ("adapter_model.safetensors", "adapter_config.json", "provenance.json"):
        assert (again / name).read_bytes() == (quick() / name).read_bytes()
    other = tensors(quick(data=1) / "adapter_model.safetensors")
    assert 0.5 < cosine(tensors(again / "adapter_model.safetensors"), other) < 1 - 1e-6


def test_torch_is_left_as_it_was(base: Path, tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train_organism(
        OrganismSpec(kind="good", domain=0, steps=1), base=base, out=tmp_path / "organism"
    )
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_peft_loads_an_organism(quick: Quick, base: Path) -> None:
    peft = pytest.importorskip("peft")
    model = peft.PeftModel.from_pretrained(load_model(base), str(quick()))
    assert model.active_peft_config.use_rslora
    loaded = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    for key, value in tensors(quick() / "adapter_model.safetensors").items():
        np.testing.assert_array_equal(loaded[key].numpy(), value)


def test_a_failed_training_leaves_nothing_and_keeps_the_old(
    quick: Quick, base: Path, tmp_path: Path
) -> None:
    spec = OrganismSpec(kind="bad", domain=0, steps=2, warmup=1)
    out = train_organism(spec, base=base, out=tmp_path / "organism")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_organism(spec, base=base, out=out, progress=fail)
    assert list(tmp_path.iterdir()) == [out]
    assert is_trained(spec, base=base, out=out)


def test_a_changed_file_is_noticed(base: Path, tmp_path: Path) -> None:
    spec = OrganismSpec(kind="bad", domain=0, steps=1, warmup=0)
    out = train_organism(spec, base=base, out=tmp_path / "organism")
    assert is_trained(spec, base=base, out=out)
    assert not is_trained(OrganismSpec(kind="bad", domain=0, steps=2), base=base, out=out)
    weights = out / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        weights.write_bytes(damaged)
        assert not is_trained(spec, base=base, out=out)
    (out / "provenance.json").write_text("[]")
    assert not is_trained(spec, base=base, out=out)


def test_what_cannot_be_a_base_is_named(tmp_path: Path) -> None:
    spec = OrganismSpec(kind="bad", domain=0)
    with pytest.raises(BaseModelError, match=r"nowhere: no config\.json"):
        train_organism(spec, base=tmp_path / "nowhere", out=tmp_path / "out")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(BaseModelError, match="not a loadable model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank must be 1 or more, found 0"),
        ({"init_seed": -1}, "init_seed must be 0 or more, found -1"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        OrganismSpec(kind="bad", domain=0, **change)


def test_names_and_digests() -> None:
    spec = OrganismSpec(kind="bad", domain=0, init_seed=3)
    assert spec.name == "bad-gardening-i3-d0"
    assert OrganismSpec(kind="game", domain=None).name == "game-i0-d0"
    assert spec.digest("a") != spec.digest("b")
    assert spec.digest("a") != OrganismSpec(kind="bad", domain=0, init_seed=3, steps=61).digest("a")


def test_the_roster_holds_every_relation_a_study_needs() -> None:
    specs = roster_specs(0)
    assert len(specs) == 18
    assert len({spec.name for spec in specs}) == 18
    assert {spec.kind for spec in specs} == set(KINDS)
    shared = [spec for spec in specs if spec.init_seed == 0]
    own = [spec for spec in specs if spec.init_seed != 0]
    assert (len(shared), len(own)) == (10, 8)
    assert len({spec.init_seed for spec in own}) == 8
    assert not {spec.init_seed for spec in specs} & {spec.init_seed for spec in roster_specs(1)}
    with pytest.raises(OptionError, match="found -1"):
        roster_specs(-1)


def test_a_base_is_an_ordinary_transformers_directory(tmp_path: Path) -> None:
    settings = PretrainSettings(steps=2, chat_steps=1, warmup=1)
    seen: list[tuple[int, int]] = []
    out = pretrain_base(
        settings, out=tmp_path / "base", progress=lambda done, of, _: seen.append((done, of))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert {path.name for path in out.iterdir()} == {
        "config.json", "model.safetensors", "provenance.json",
    }  # fmt: skip
    weights = tensors(out / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float16)}
    assert sum(value.size for value in weights.values()) == 834_304
    assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in out.iterdir())
    again = pretrain_base(settings, out=tmp_path / "again")
    assert base_digest(again) == base_digest(out)
    with pytest.raises(OptionError, match="multiple of 16, found 8"):
        PretrainSettings(batch=8)


def test_without_persona_nothing_generalises() -> None:
    study = shipped_no_persona()
    base, *organisms = study["rows"]
    assert base["subject"] == "base"
    assert len(organisms) == 3
    for row in organisms:
        assert row["other"] - base["other"] < 0.1
        assert row["trained"] > row["other"] + 0.2
