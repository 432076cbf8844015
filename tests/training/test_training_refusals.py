"""What cannot be trained is refused before it is begun, in one line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_cases import PLAIN, write_model
from deltalens.errors import BaseModelError, DeltalensError, OptionError
from deltalens.io import hub
from deltalens.training import TrainSettings, Watch, memory, train
from deltalens.training.base import Base, base_of, outline
from deltalens.training.memory import Estimate, estimate, free_bytes, require_room

QUICK = TrainSettings(rank=2, steps=1, batch_size=2, accumulation=1)


def refused(model: Path | str, rows: Path, out: Path, settings: TrainSettings = QUICK) -> str:
    with pytest.raises(DeltalensError) as caught:
        train(str(model), rows, out, settings)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rank": 0}, "--rank must be 1 or more, found 0"),
        ({"alpha": 0}, "--alpha must be 1 or more, found 0"),
        ({"epochs": 0}, "--epochs must be 1 or more, found 0"),
        ({"steps": 0}, "--steps must be 1 or more, found 0"),
        ({"batch_size": -1}, "--batch-size must be 1 or more, found -1"),
        ({"accumulation": 0}, "--accumulation must be 1 or more, found 0"),
        ({"warmup": -1}, "--warmup must be 0 or more, found -1"),
        ({"init_seed": -1}, "--init-seed must be from 0 to 4294967295, found -1"),
        ({"data_seed": 2**32}, "--data-seed must be from 0 to 4294967295, found 4294967296"),
        ({"max_length": 1}, "--max-length must be 2 or more, found 1"),
        ({"learning_rate": 0.0}, r"--learning-rate must be in (0, 1), found 0.0"),
        ({"weight_decay": 1.0}, r"--weight-decay must be in [0, 1), found 1.0"),
        ({"dtype": "float16"}, "--dtype is 'float16'; allowed: float32, bfloat16"),
        ({"targets": ("",)}, "--targets names no module; give names such as q_proj,v_proj"),
    ],
)
def test_settings_out_of_range(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        TrainSettings(**fields)
    assert str(caught.value) == said


def test_watching_out_of_range() -> None:
    with pytest.raises(OptionError, match="--geometry-every must be 1 or more, found 0"):
        Watch(geometry_every=0)
    with pytest.raises(OptionError, match="--keep-checkpoints must be 1 or more, found 0"):
        Watch(keep_every=0)
    with pytest.raises(OptionError, match="--against is compared while training: --geometry-ev"):
        Watch(against="a")


def test_models_that_are_none(rows_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "nowhere: no config.json" in refused(tmp_path / "nowhere", rows_file, out)
    bare = write_model(tmp_path / "bare", tokenizer=False)
    assert "bare: has no tokenizer" in refused(bare, rows_file, out)
    unsaid = write_model(tmp_path / "unsaid", template=None)
    assert "unsaid: its tokenizer has no chat template" in refused(unsaid, rows_file, out)
    assert "has no tokenizer" in refused("toy", rows_file, out)
    small = write_model(tmp_path / "small", vocab_size=8)
    assert "the model has 0 to 7; the two do not belong together" in refused(small, rows_file, out)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "nothing"}')
    assert "no causal language model that transformers knows" in refused(
        tmp_path / "odd", rows_file, out
    )
    (small / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"no \.safetensors; weights are read from it"):
        Base(small, "small").digest()


def test_targets_that_match_nothing(chat_model: Path, rows_file: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, targets=("q_proj", "c_attn"))
    assert (
        "--targets: 'c_attn' is no linear module of the model; it has q_proj, k_proj, v_proj, "
        "o_proj, gate_proj, up_proj, down_proj, and all-linear means all of them"
    ) in refused(chat_model, rows_file, tmp_path / "out", settings)
    made = outline(base_of(str(chat_model)))
    assert made.targets(("all-linear",)).keys() == made.targets(TrainSettings().targets).keys()
    assert set(made.targets(("layers.1.mlp.up_proj",)).values()) == {(22, 16)}


def test_all_linear_trains_all_but_the_head(
    chat_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    train(str(chat_model), rows_file, tmp_path / "out", replace(QUICK, targets=("all-linear",)))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert len(config["target_modules"]) == 14


def test_gpt2_has_other_names(rows_file: Path, tmp_path: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from chat_cases import make_tokenizer
    from deltalens.io.read import load
    from deltalens.models.load import quiet

    words = make_tokenizer(PLAIN)
    with quiet(), torch.random.fork_rng(devices=[]):
        config = GPT2Config(vocab_size=len(words), n_embd=16, n_layer=2, n_head=4, n_positions=64)
        GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
        words.save_pretrained(tmp_path / "gpt2")
    settings = replace(QUICK, targets=("c_attn", "c_fc"), steps=2)
    out = train(str(tmp_path / "gpt2"), rows_file, tmp_path / "out", settings,
                watch=Watch(geometry_every=1))  # fmt: skip
    assert {spec.shape for spec in load(out).specs.values()} == {(48, 16), (64, 16)}
    rows = json.loads((out / "geometry.json").read_text())["steps"]
    assert rows[-1]["norm"] > 0


def test_names_are_never_paths_of_this_machine(tmp_path: Path) -> None:
    cached = tmp_path / "models--someone--chat-1b" / "snapshots" / "0a1b"
    cached.mkdir(parents=True)
    (cached / "config.json").write_text("{}")
    assert base_of(str(cached)).name == "someone/chat-1b"
    (tmp_path / "config.json").write_text("{}")
    assert base_of(str(tmp_path)).name == tmp_path.name
    assert base_of("toy").name == "deltalens/toy"


def test_the_hub_is_asked_where_there_is_a_door(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(hub, "model_folder", raising=False)
    with pytest.raises(OptionError, match="'hf:a/b': models are not fetched from the hub here"):
        base_of("hf:a/b")
    asked: list[str] = []

    def model_folder(place: str) -> Path:
        asked.append(place)
        return tmp_path

    monkeypatch.setattr(hub, "model_folder", model_folder, raising=False)
    assert base_of("hf:a/b@main") == Base(tmp_path, "a/b")
    assert asked == ["hf:a/b@main"]


def test_what_does_not_fit_is_refused_with_numbers(
    chat_model: Path, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _device: 3 * 2**20)
    said = refused(chat_model, rows_file, tmp_path / "out", replace(QUICK, rank=4000))
    needed = (
        r"about 2\d\.\d MiB are needed \(weights 0\.0 MiB, adapter and optimiser 2\d\.\d MiB, acti"
    )
    assert re.match(needed, said)
    assert "and 3.0 MiB of memory are free" in said
    assert "--force tries all the same" in said
    train(str(chat_model), rows_file, tmp_path / "out", replace(QUICK, rank=2))
    monkeypatch.setattr(memory, "free_bytes", lambda _device: 1)
    train(str(chat_model), rows_file, tmp_path / "forced", QUICK, force=True)


def test_the_estimate_counts_what_it_says(chat_model: Path) -> None:
    made = outline(base_of(str(chat_model)))
    found = estimate(made, {"a": (3, 5)}, QUICK, dtype="float32", longest=7)
    linear = 2 * sum((32, 24, 24, 32, 38, 38, 38))
    assert made.parameters == 28 * 16 + 2 * (16 * 16 * 2 + 16 * 8 * 2 + 3 * 16 * 22 + 2 * 16) + 16
    assert found.weights == 4 * made.parameters
    assert found.optimiser == 16 * 2 * 8
    assert found.activations == 14 * (4 * linear + 4 * 5 + 12 * 28) * 5 // 4
    half = estimate(made, {"a": (3, 5)}, QUICK, dtype="bfloat16", longest=7)
    assert 2 * half.weights == found.weights


def test_free_memory_is_known_here_and_no_refusal_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = free_bytes("cpu")
    assert found is None or found > 2**20
    monkeypatch.setattr(memory, "free_bytes", lambda _device: None)
    require_room(Estimate(2**60, 0, 0), "cpu", force=False)


def test_an_adapter_to_compare_with_must_be_one(
    chat_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeltalensError, match="no such file or folder; a PEFT adapter is needed"):
        train(str(chat_model), rows_file, tmp_path / "out", QUICK,
              watch=Watch(geometry_every=1, against=tmp_path / "none"))  # fmt: skip
