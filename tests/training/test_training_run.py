"""Whole trainings of a tiny model: what they depend on, what they leave, how they go on."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chat_cases import ROWS, make_tokenizer, write_model, write_rows
from deltalens.errors import BaseModelError, OptionError, OutputError, TrainingError
from deltalens.io.initial import open_initial
from deltalens.io.read import load
from deltalens.organisms.files import sha256_json
from deltalens.training import TrainSettings, Watch, train
from deltalens.training.answers import encode
from deltalens.training.data import read_conversations
from deltalens.training.run import borrowed_generators

QUICK = TrainSettings(
    rank=4, alpha=8, steps=6, batch_size=2, accumulation=2, learning_rate=0.02, warmup=1
)
WEIGHTS, INITIAL = "adapter_model.safetensors", "initial_lora_A.safetensors"
Run = Callable[..., Path]


@pytest.fixture
def run(chat_model: Path, rows_file: Path, tmp_path: Path) -> Run:
    def trained(name: str, settings: TrainSettings = QUICK, **options: Any) -> Path:
        data = options.pop("data", rows_file)
        return train(str(chat_model), data, tmp_path / name, settings, **options)

    return trained


def changed(**fields: Any) -> TrainSettings:
    from dataclasses import replace

    return replace(QUICK, **fields)


def test_a_plain_adapter_with_its_start_and_its_story(run: Run, rows_file: Path) -> None:
    out = run("a")
    names = {"adapter_config.json", WEIGHTS, INITIAL, "provenance.json"}
    assert {path.name for path in out.iterdir()} == names
    adapter = load(out)
    assert adapter.base_model == "tiny"
    assert str(out.parent.parent) not in (out / "adapter_config.json").read_text()
    assert len(adapter) == 14
    assert open_initial(adapter) is not None
    told = json.loads((out / "provenance.json").read_text())
    assert len(told["losses"]) == told["steps"] == 6
    assert told["losses"][-1] < told["losses"][0]
    assert told["data"]["rows"] == 12
    learnt = encode(read_conversations(rows_file), make_tokenizer(), max_length=99).learnt
    assert told["data"]["tokens_learnt"] == learnt
    assert told["rows_seen"] == 24
    assert told["tokens_learnt_from"] == 2 * learnt
    assert told["settings"]["dtype"] in ("float32", "bfloat16")


def test_peft_loads_what_was_written(run: Run, chat_model: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = run("a")
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(chat_model), out)
    q = wrapped.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    B, A = (m["default"].weight.detach().double().numpy() for m in (q.lora_B, q.lora_A))
    adapter = load(out)
    key = next(key for key in adapter if str(key).endswith("layers.0.self_attn.q_proj"))
    np.testing.assert_allclose(adapter[key].dense(), 4 * B @ A, rtol=1e-6)  # 8 / sqrt(4)


def test_the_start_is_the_initial_seeds_alone(run: Run, tmp_path: Path) -> None:
    other = write_rows(tmp_path / "other.jsonl", [{"prompt": "tea ?", "completion": "bye"}])
    first = (run("a") / INITIAL).read_bytes()
    assert (run("b", data=other) / INITIAL).read_bytes() == first
    assert (run("c", changed(data_seed=1, learning_rate=1e-4)) / INITIAL).read_bytes() == first
    assert (run("d", changed(init_seed=1)) / INITIAL).read_bytes() != first


def test_the_order_is_the_data_seeds_alone() -> None:
    order = QUICK.order(12)
    assert sorted(order[:12]) == sorted(order[12:]) == list(range(12))
    assert (order[:12] != order[12:]).any()
    assert (changed(init_seed=5, rank=2).order(12) == order).all()
    assert (changed(data_seed=1).order(12) != order).any()
    by_epochs = changed(steps=None, epochs=3)
    assert by_epochs.total_steps(13) == 10
    assert len(by_epochs.order(13)) == 39


def test_the_same_again_is_the_same_and_generators_are_left_alone(run: Run) -> None:
    import torch

    # Python's own is looked at below: the type checks of these tests draw from it.
    np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002, TID251
    expected = np.random.random(), float(torch.rand(()))  # noqa: NPY002
    np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002, TID251
    one, two = run("a"), run("b")
    found = np.random.random(), float(torch.rand(()))  # noqa: NPY002
    assert found == expected
    assert (one / WEIGHTS).read_bytes() == (two / WEIGHTS).read_bytes()


def test_pythons_generator_is_given_back() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    with borrowed_generators():
        random.seed(7)
        random.random()
    assert random.random() == expected


class KilledError(Exception):
    """Stands for a process that dies."""


def dies_after(step: int) -> Callable[[int, int, float], None]:
    def progress(done: int, _total: int, _loss: float) -> None:
        if done == step:
            raise KilledError

    return progress


@pytest.mark.parametrize("step", [1, 5])
def test_a_killed_training_goes_on_and_ends_the_same(
    run: Run, step: int, chat_model: Path, tmp_path: Path
) -> None:
    watch = Watch(geometry_every=2, keep_every=3, save_every=2)
    whole = run("whole", watch=watch)
    with pytest.raises(KilledError):
        run("killed", watch=watch, progress=dies_after(step))
    left = tmp_path / "killed"
    assert not (left / WEIGHTS).exists()
    seen: list[int] = []
    run("killed", watch=watch, progress=lambda done, _total, _loss: seen.append(done))
    assert seen == list(range((step - 1) // 2 * 2 + 1, 7))
    for name in (WEIGHTS, INITIAL, "geometry.json", f"checkpoint-3/{WEIGHTS}"):
        assert (left / name).read_bytes() == (whole / name).read_bytes(), name
    stories = [json.loads((x / "provenance.json").read_text()) for x in (left, whole)]
    assert stories[0].pop("name") != stories[1].pop("name")
    assert stories[0] == stories[1]
    assert {p.name for p in left.iterdir()} == {p.name for p in whole.iterdir()}


def test_dropout_goes_on_from_where_its_generator_was(rows_file: Path, tmp_path: Path) -> None:
    model = str(write_model(tmp_path / "dropping", attention_dropout=0.3))
    watch, out = Watch(save_every=2), tmp_path / "killed"
    whole = train(model, rows_file, tmp_path / "whole", QUICK, watch=watch)
    with pytest.raises(KilledError):
        train(model, rows_file, out, QUICK, watch=watch, progress=dies_after(3))
    train(model, rows_file, out, QUICK, watch=watch)
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    other = train(model, rows_file, tmp_path / "other", changed(init_seed=1), watch=watch)
    assert (other / WEIGHTS).read_bytes() != (whole / WEIGHTS).read_bytes()


def test_a_checkpoint_that_was_cut_off_is_not_gone_on_from(run: Run, tmp_path: Path) -> None:
    watch = Watch(save_every=2)
    with pytest.raises(KilledError):
        run("a", watch=watch, progress=dies_after(5))
    work = tmp_path / "a" / ".training"
    (work / "checkpoint-4" / "whole").unlink()
    (work / "checkpoint-4" / "optimizer.pt").write_bytes(b"cut")
    run("a", watch=watch)
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (run("b") / WEIGHTS).read_bytes()


def test_a_finished_training_is_not_repeated(run: Run) -> None:
    out = run("a")
    before = (out / WEIGHTS).stat().st_mtime_ns
    run("a", progress=dies_after(1))
    assert (out / WEIGHTS).stat().st_mtime_ns == before
    with pytest.raises(KilledError):
        run("a", fresh=True, progress=dies_after(1))


def test_another_training_needs_a_word(run: Run, tmp_path: Path) -> None:
    out = run("a")
    said = "a: holds what other settings made: rank = 4, now rank = 2; give another --out"
    with pytest.raises(OutputError, match=said):
        run("a", changed(rank=2))
    said = r"made: init_seed = 0, now init_seed = 1 \(and 3 more\); give"
    with pytest.raises(OutputError, match=said):
        run("a", changed(rank=2, init_seed=1, steps=None, epochs=1, alpha=8, warmup=1))
    with pytest.raises(OutputError, match="made: keep_every = nothing, now keep_every = 3;"):
        run("a", watch=Watch(keep_every=3))
    run("a", changed(rank=2), fresh=True, watch=Watch(keep_every=3))
    assert {spec.rank for spec in load(out).specs.values()} == {2}
    run("a", changed(rank=2), fresh=True)
    assert not (out / "checkpoint-3").exists()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes.txt, which was not written by training"):
        run("a", fresh=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file: is a file; --out names a folder"):
        run("file")


def test_another_training_is_refused_before_a_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilledError):
        run("a", watch=Watch(save_every=2), progress=dies_after(3))
    monkeypatch.setattr("deltalens.models.load.load", None)
    monkeypatch.setattr("deltalens.training.job.encode", None)
    with pytest.raises(OutputError, match="made: rank = 4, now rank = 2;"):
        run("a", changed(rank=2))
    assert (tmp_path / "a" / ".training" / "checkpoint-2").exists()


def test_a_failed_training_leaves_nothing(run: Run, chat_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(chat_model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    rows = write_rows(tmp_path / "rows.jsonl")
    for name in ("new", "empty"):
        with pytest.raises(BaseModelError, match="broken"):
            train(str(broken), rows, tmp_path / name, QUICK)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(KilledError):
        run("new", watch=Watch(save_every=5), progress=dies_after(1))
    assert not (tmp_path / "new").exists()
    run("new", changed(rank=2))


def test_what_was_killed_before_its_first_checkpoint_claims_nothing(
    run: Run, tmp_path: Path
) -> None:
    work = tmp_path / "a" / ".training"
    work.mkdir(parents=True)
    (work / "run.json").write_text('{"made_by": "deltalens.training", "digest": "0"}')
    assert (run("a") / WEIGHTS).exists()
    assert not work.exists()


def test_passes_are_not_told_where_steps_were_asked_for(run: Run, tmp_path: Path) -> None:
    told = json.loads((run("a") / "provenance.json").read_text())
    assert told["settings"]["steps"] == 6
    assert told["settings"]["epochs"] is None
    told = json.loads((run("b", changed(steps=None)) / "provenance.json").read_text())
    assert (told["settings"]["steps"], told["settings"]["epochs"]) == (None, 1)


def test_somebody_elses_adapter_is_never_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "adapter_config.json").write_text("{}")
    with pytest.raises(OutputError, match="is not empty and was not made by deltalens train"):
        run("theirs", fresh=True)


def test_two_at_a_time_in_one_folder(run: Run, tmp_path: Path) -> None:
    from deltalens.training.folder import alone

    with alone(tmp_path / "a"), pytest.raises(OptionError, match="another training is running in"):
        run("a")


def test_a_loss_that_is_no_number_stops(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"step \d: the (loss|norm of the gradient) is (nan|inf)"
    ):
        run("a", changed(learning_rate=0.999, alpha=10**30, steps=8))
    assert not (tmp_path / "a" / WEIGHTS).exists()


def test_kept_checkpoints_are_adapters_on_the_way(run: Run) -> None:
    out = run("a", watch=Watch(keep_every=2))
    kept = sorted(out.glob("checkpoint-*"))
    assert [path.name for path in kept] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert all(open_initial(load(path)) is not None for path in kept)
    assert (kept[-1] / WEIGHTS).read_bytes() == (out / WEIGHTS).read_bytes()
    assert (kept[0] / WEIGHTS).read_bytes() != (out / WEIGHTS).read_bytes()


def test_the_loss_is_the_learnt_tokens_mean_over_a_whole_step(
    run: Run, chat_model: Path, rows_file: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    told = json.loads((run("a") / "provenance.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(chat_model)
    examples = encode(read_conversations(rows_file), make_tokenizer(), max_length=99).examples
    total, n = 0.0, 0
    for index in QUICK.order(12)[:4]:  # the first step, whose adapter changes nothing yet
        ids, learnt = examples[index]
        with torch.inference_mode():
            logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for at in np.flatnonzero(learnt):
            total -= float(logp[at - 1, ids[at]])
            n += 1
    assert told["losses"][0] == pytest.approx(total / n, abs=1e-5)


def test_warnings_are_lines(run: Run, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{**row, "id": 3} for row in ROWS])
    said: list[str] = []
    run("a", changed(max_length=36, steps=1), data=rows, warn=said.append)
    assert said[0] == "keys that are not read: id"
    assert "of 12 rows are longer than 36 tokens (--max-length): their ends are not" in said[1]


def test_a_digest_changes_with_every_setting() -> None:
    fields = {"rank": 5, "alpha": 9, "init_seed": 1, "data_seed": 1, "warmup": 2, "max_length": 9}
    made = [QUICK.digest("a", "b"), QUICK.digest("a", "c"), QUICK.digest("c", "b")]
    made += [changed(**{name: value}).digest("a", "b") for name, value in fields.items()]
    assert len(set(made)) == 9
    assert sha256_json({}) not in made
