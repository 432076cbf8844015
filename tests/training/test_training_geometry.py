"""Geometry while it trains: the numbers are those of the adapters that are written on the way."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chat_cases import write_model
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.subspace import Subspace
from deltalens.errors import GeometryError, OptionError
from deltalens.io.initial import open_initial
from deltalens.io.read import load
from deltalens.training import TrainSettings, Watch, train
from deltalens.training.factors import Factor, as_adapter, common_k, live_factors
from deltalens.training.measure import measure

QUICK = TrainSettings(
    rank=4, alpha=8, steps=5, batch_size=2, accumulation=2, learning_rate=0.02, warmup=1
)


@pytest.fixture(scope="module")
def other(chat_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = TrainSettings(
        init_seed=1, rank=6, targets=("q_proj", "down_proj"), steps=2, learning_rate=0.01
    )
    return train(str(chat_model), rows_file, tmp_path_factory.mktemp("o") / "other", settings)


@pytest.fixture(scope="module")
def watched(
    chat_model: Path, rows_file: Path, other: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    watch = Watch(geometry_every=2, against=other, keep_every=1)
    return train(
        str(chat_model), rows_file, tmp_path_factory.mktemp("w") / "run", QUICK, watch=watch
    )


def concatenated(adapter: Adapter, keys: Any = None) -> np.ndarray:
    return np.concatenate([adapter[key].dense().ravel() for key in keys or adapter])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_rows_are_those_of_the_kept_adapters(watched: Path, other: Path) -> None:
    rows = json.loads((watched / "geometry.json").read_text())["steps"]
    assert [row["step"] for row in rows] == [0, 2, 4, 5]
    kept = {n: load(watched / f"checkpoint-{n}") for n in (2, 4, 5)}
    whole = {n: concatenated(adapter) for n, adapter in kept.items()}
    for row, before in zip(rows[2:], (2, 4), strict=True):
        now = whole[row["step"]]
        assert row["norm"] == pytest.approx(np.linalg.norm(now), rel=1e-9)
        for name, then in (("turn_previous", before), ("turn_first", 2)):
            assert row[name] == pytest.approx(
                math.degrees(math.acos(cosine(now, whole[then]))), rel=1e-6
            )
        compared = load(other)
        keys = list(compared)
        theirs = concatenated(compared)
        expected = concatenated(kept[row["step"]], keys) @ theirs
        expected /= np.linalg.norm(now) * np.linalg.norm(theirs)
        assert row["cosine_against"] == pytest.approx(expected, rel=1e-9)


def test_modules_are_in_a_table_with_chance_beside(watched: Path, other: Path) -> None:
    import pandas as pd

    table = pd.read_parquet(watched / "geometry.parquet")
    assert len(table) == 4 * 14
    adapter, compared = load(watched), load(other)
    initial = open_initial(adapter)
    assert initial is not None
    last = table[table.step == 5].set_index("module")
    for key in adapter:
        row, update = last.loc[str(key)], adapter[key]
        S = update.svd().S
        assert row.stable_rank == pytest.approx(np.sum(S**2) / S[0] ** 2, rel=1e-6)
        start = initial.A(key)
        expected = cosine(update.A.ravel(), start.ravel())
        assert row.cosine_A_initial == pytest.approx(expected, rel=1e-9)
        if key not in compared:
            assert math.isnan(row.overlap_input)
            assert math.isnan(row.chance_input)
            continue
        for side, width in (("input", update.shape[1]), ("output", update.shape[0])):
            Q, R = (Subspace.leading(u, 2, side).Q for u in (update, compared[key]))  # type: ignore[arg-type]
            assert row[f"overlap_{side}"] == pytest.approx(np.sum((Q.T @ R) ** 2) / 2, abs=1e-6)
            assert row[f"chance_{side}"] == 2 / width


def test_before_the_first_step_nothing_is_defined_but_the_start(watched: Path) -> None:
    row = json.loads((watched / "geometry.json").read_text())["steps"][0]
    assert row["norm"] == 0.0
    assert row["cosine_A_initial"] == pytest.approx(1.0)
    undefined = ("stable_rank", "turn_previous", "turn_first", "cosine_against", "overlap_input")
    assert all(row[name] is None for name in undefined)


def test_watching_changes_no_weight(watched: Path, chat_model: Path, rows_file: Path,
                                    tmp_path: Path) -> None:  # fmt: skip
    plain = train(str(chat_model), rows_file, tmp_path / "plain", QUICK)
    name = "adapter_model.safetensors"
    assert (plain / name).read_bytes() == (watched / name).read_bytes()


def test_the_callback_serves_any_trainer(chat_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    from deltalens.models.load import quiet
    from deltalens.training.callback import GeometryCallback

    rows = [{"input_ids": [1, 5, 6, 7], "labels": [1, 5, 6, 7]}] * 4
    watch = GeometryCallback(2)
    with quiet(), torch.random.fork_rng(devices=[]):
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(chat_model),
            LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"),
        )
        arguments = TrainingArguments(
            output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=2, report_to=[],
            disable_tqdm=True, save_strategy="no", use_cpu=True, logging_strategy="no",
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[watch]).train()
    assert [row.step for row in watch.rows] == [0, 2, 3]
    assert len(watch.modules) == 3 * 2
    assert watch.rows[-1].norm > watch.rows[0].norm == 0.0
    assert watch.k == 1


def factors(seed: int, out: int = 5, width: int = 7, rank: int = 3) -> dict[ModuleKey, Factor]:
    rng = np.random.default_rng(seed)
    B, A = rng.standard_normal((out, rank)), rng.standard_normal((rank, width))
    return {ModuleKey("layers.0.q"): Factor(B, A, 0.5)}


def test_a_planted_turn_is_found() -> None:
    first = factors(0)
    (key, factor), angle = next(iter(first.items())), math.radians(30)
    other = factors(1)[key]
    u, v = (f.B @ f.A for f in (factor, other))
    v = v - (u * v).sum() / (u * u).sum() * u
    turned = math.cos(angle) * u / np.linalg.norm(u) + math.sin(angle) * v / np.linalg.norm(v)
    now = {key: Factor(turned, np.eye(7), 1.0)}
    whole, modules = measure(3, now, previous=first, first=first)
    assert whole.turn_previous == pytest.approx(30.0)
    assert modules[0].turn_first == pytest.approx(30.0)
    assert whole.norm == pytest.approx(1.0)
    assert whole.cosine_A_initial is None


def test_adapters_that_cannot_be_compared() -> None:
    mine = factors(0)
    elsewhere = Adapter.from_updates("far", {ModuleKey("h.0"): LowRankUpdate.zero((2, 3))})
    with pytest.raises(GeometryError, match="far: shares no module with what is trained; it has h"):
        common_k(mine, elsewhere)
    wide = as_adapter("wide", factors(0, width=9))
    with pytest.raises(GeometryError, match=r"wide: layers.0.q is \(5, 9\), and \(5, 7\) is train"):
        common_k(mine, wide)


def test_only_plain_lora_is_watched(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from deltalens.models.load import quiet

    base = AutoModelForCausalLM.from_pretrained(write_model(tmp_path / "m"))
    with pytest.raises(OptionError, match="the model has no LoRA adapter 'default'"):
        live_factors(base)
    with quiet():
        dora = get_peft_model(
            copy.deepcopy(base), LoraConfig(target_modules=["q_proj"], use_dora=True)
        )
    with pytest.raises(OptionError, match="plain LoRA on linear modules is measured"):
        live_factors(dora)


def test_a_measure_needs_steps() -> None:
    from deltalens.training.callback import GeometryCallback

    with pytest.raises(OptionError, match="every 1 or more steps, found 0"):
        GeometryCallback(0)
