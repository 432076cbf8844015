"""What a comparison takes in memory is known before it starts, and bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import deltalens
from deltalens.core.adapter import Adapter, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.errors import OptionError
from deltalens.geometry import memory
from deltalens.geometry.survey import survey

WIDE, NARROW = ModuleKey("lm_head"), ModuleKey("model.layers.0.q_proj")


def never(_: ModuleKey) -> LowRankUpdate:
    raise AssertionError("a tensor was read")


def full(name: str, d: int = 4096) -> Adapter:
    """A full checkpoint of which no tensor may be read."""
    spec = UpdateSpec((d, d), d, gauge="a full checkpoint has no factors of training")
    return Adapter(name, {NARROW: spec}, never)


def test_wide_checkpoints_are_refused_before_a_tensor_is_read() -> None:
    with pytest.raises(OptionError) as caught:
        deltalens.compare([full("a"), full("b")], memory=1.0)
    assert str(caught.value) == (
        "2 adapters of rank up to 4096 (a at model.layers.0.q_proj) take about 8 GiB to compare; "
        "1 GiB are allowed (--memory); make full checkpoints narrow first: "
        "deltalens export FINE_TUNE --base BASE --rank 32 --t 1 --out DIR"
    )


def test_the_bank_counts() -> None:
    assert (
        memory.need([full("a")] * 6, [NARROW]).bytes
        > 6 * memory.need([full("a")] * 2, [NARROW]).bytes
    )


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_an_impossible_amount(value: float) -> None:
    with pytest.raises(OptionError, match="--memory must be above 0 GiB; found"):
        deltalens.compare([full("a"), full("b")], memory=value)


def test_threads_are_fewer_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [full("a", 256), full("b", 256)]
    one = memory.need(pair, [NARROW]).bytes
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda _: range(8))
    assert memory.workers_within(pair, [NARROW], 3.5 * one) == 3
    assert memory.workers_within(pair, [NARROW], 1.0 * one) == 1
    monkeypatch.setattr(memory, "available", lambda: 2.8 * one)
    assert memory.workers_within(pair, [NARROW], None) == 2
    monkeypatch.setattr(memory, "available", lambda: 0.1 * one)
    assert memory.fitting_workers(pair, [NARROW]) == 1
    with pytest.raises(OptionError, match="--memory"):
        memory.workers_within(pair, [NARROW], None)


def test_free_memory_is_the_least_of_machine_and_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   5 kB\n")
    (tmp_path / "max").write_text("3000\n")
    (tmp_path / "current").write_text("1000\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", [(tmp_path / "max", tmp_path / "current")])
    assert memory.available() == 2000
    (tmp_path / "max").write_text("max\n")
    assert memory.available() == 5 * 1024
    (tmp_path / "meminfo").write_text("strange\n")
    assert memory.available() == float("inf")


def test_a_head_trained_whole_widens_nothing_else(rng: np.random.Generator) -> None:
    def made(name: str) -> Adapter:
        updates = {
            NARROW: LowRankUpdate(rng.standard_normal((600, 4)), rng.standard_normal((4, 9)))
        }
        updates[WIDE] = from_dense(rng.standard_normal((700, 600)))
        return Adapter.from_updates(name, updates)

    pair = [made("a"), made("b")]
    keys = [WIDE, NARROW]
    assert list(memory.rank_runs(pair, keys)) == [(600, [WIDE]), (64, [NARROW])]
    both = survey(pair, keys, 2)
    assert both.S.shape == (2, 2, 600)
    for m, key in enumerate(keys):
        for i, adapter in enumerate(pair):
            S = np.linalg.svd(adapter[key].dense(), compute_uv=False)[: adapter[key].rank]
            np.testing.assert_allclose(both.S[m, i, : len(S)], S, rtol=1e-6)
        apart = survey(pair, [key], 2)
        np.testing.assert_allclose(both.inner[m], apart.inner[0], rtol=1e-12)
        np.testing.assert_allclose(
            both.measures["input"]["overlap"][m], apart.measures["input"]["overlap"][0], rtol=1e-9
        )


def test_runs_of_similar_rank_stay_together() -> None:
    keys = [ModuleKey(f"layers.{i}.x") for i in range(6)]
    ranks = [8, 16, 4, 900, 1000, 2]
    specs = {k: UpdateSpec((2000, 2000), r) for k, r in zip(keys, ranks, strict=True)}
    found = list(memory.rank_runs([Adapter("a", specs, never)], keys))
    assert found == [(64, keys[:3]), (1000, keys[3:5]), (64, keys[5:])]
    assert list(memory.rank_runs([Adapter("a", specs, never)], keys[:3])) == [(16, keys[:3])]
