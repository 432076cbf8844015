"""`inspect` as a person and a program read it: sizes, spectra, health, many adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_files import initial, made, strict_json, trained, write_adapter
from deltalens.cli.main import main
from deltalens.core.lowrank import LowRankUpdate
from deltalens.studies.inspect.health import scaling_notes, update_notes
from deltalens.studies.inspect.spectrum import size_of, sketch

Captured = pytest.CaptureFixture[str]


def told(capsys: Captured, *arguments: Any, status: int = 0) -> str:
    assert main(["inspect", *map(str, arguments)]) == status
    out, err = capsys.readouterr()
    assert err == ""
    return out


def document(capsys: Captured, *arguments: Any, status: int = 0) -> dict[str, Any]:
    return strict_json(told(capsys, *arguments, "--json", status=status))


def edited(folder: Path, **fields: Any) -> Path:
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **fields}))
    return folder


def test_sizes_against_dense_matrices(capsys: Captured, tmp_path: Path) -> None:
    modules = made(1, 2)
    found = document(capsys, write_adapter(tmp_path / "a", modules))
    total = 0.0
    for path, (B, A) in modules.items():
        S = np.linalg.svd(B @ A, compute_uv=False)[: len(A)]
        row = found["modules"][path]
        assert row["stable_rank"] == pytest.approx((S**2).sum() / S[0] ** 2)
        np.testing.assert_allclose(row["singular_values"], S)
        total += float((S**2).sum())
    assert found["norm"] == pytest.approx(np.sqrt(total))
    stable = sorted(m["stable_rank"] for m in found["modules"].values())
    assert found["stable_rank"] in stable
    assert found["health"] == []


def test_the_table_of_one(capsys: Captured, tmp_path: Path) -> None:
    text = told(capsys, write_adapter(tmp_path / "a", made(1, 2)))
    for word in ("stable rank", "spectrum", "█", "norm of the whole update"):
        assert word in text
    assert "health:" not in text


def test_health_of_an_untrained_one(capsys: Captured, tmp_path: Path) -> None:
    zero = {p: (0 * B, A) for p, (B, A) in made(1, 1).items()}
    folder = write_adapter(tmp_path / "zero", zero)
    found = document(capsys, folder)
    assert found["health"] == ["every update is zero: untrained"]
    assert found["stable_rank"] is None
    text = told(capsys, folder)
    assert "health: every update is zero: untrained" in text
    assert "undefined" in text


def test_health_of_headers(capsys: Captured, tmp_path: Path) -> None:
    one = edited(write_adapter(tmp_path / "all" / "a", made(1, 1)), lora_alpha=4000)
    patterns = {"q_proj": 8, "self_attn.q_proj": 16}
    edited(write_adapter(tmp_path / "all" / "b", made(1, 1)), alpha_pattern=patterns)
    rows = document(capsys, one.parent)["adapters"]
    assert rows[0]["health"] == ["unusual scaling 1000 (usual: 0.125 to 64)"]
    assert rows[1]["health"] == ["patterns collide"]
    assert "norm" not in rows[0]
    text = told(capsys, one.parent)
    assert "unusual scaling 1000" in text
    assert "2 of 2 read; bases: b (2)" in text


def test_many_with_weights(capsys: Captured, tmp_path: Path) -> None:
    for i in range(3):
        write_adapter(tmp_path / "all" / f"run{i}", trained(initial(i), i))
    (tmp_path / "all" / "run1" / "adapter_config.json").write_text("[]")
    text = told(capsys, tmp_path / "all", "--weights", status=2)
    assert "stable rank" in text
    assert "2 of 3 read" in text
    assert "run1: error: " in text
    rows = document(capsys, tmp_path / "all", "--weights", status=2)["adapters"]
    assert ["error" in row for row in rows] == [False, True, False]
    one = document(capsys, tmp_path / "all" / "run0")
    assert rows[0]["norm"] == one["norm"]


def test_a_list_of_warnings_is_cut_for_people_alone(capsys: Captured, tmp_path: Path) -> None:
    for i in range(25):
        edited(write_adapter(tmp_path / "all" / f"run{i:02}", made(1, 1)), novelty=1)
    text = told(capsys, tmp_path / "all")
    assert text.count("warning: ") == 20
    assert "5 more warnings: --json has them all" in text
    assert all(row["warnings"] for row in document(capsys, tmp_path / "all")["adapters"])


@pytest.mark.parametrize(
    ("scalings", "found"),
    [
        ([2.0, 0.125, 64.0], ""),
        ([0.0], "scaling 0"),
        ([-2.0], "negative scaling"),
        ([2.0, 65.0], "unusual scaling 65"),
        ([1e-3, 2.0], "unusual scaling 0.001"),
    ],
)
def test_scalings(scalings: list[float], found: str) -> None:
    notes = scaling_notes(scalings)
    assert len(notes) == bool(found)
    assert all(found in note for note in notes)


def test_a_module_that_outweighs_the_rest() -> None:
    rows = {name: {"norm": 1.0} for name in "abc"}
    assert update_notes(rows) == []
    assert update_notes({**rows, "d": {"norm": 10.0}}) == ["d holds 97% of the energy"]
    assert update_notes({**rows, "d": {"norm": 0.0}}) == ["1 of 4 updates are zero"]
    assert update_notes({"a": {"rank": 1}}) == []


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=16))
def test_a_sketch_falls_as_its_values(values: list[float]) -> None:
    bars = sketch(sorted(values, reverse=True))
    assert 1 <= len(bars) <= 8
    assert bars[0] == "█"
    assert list(bars) == sorted(bars, reverse=True)
    assert bars == sketch([3 * v for v in sorted(values, reverse=True)])


def test_a_sketch_of_nothing() -> None:
    assert sketch([]) == sketch([0.0, 0.0]) == ""


def test_wide_updates_are_measured_by_iteration(rng: np.random.Generator) -> None:
    dW = rng.standard_normal((270, 290))
    found = size_of(LowRankUpdate(np.eye(270), dW))
    S = np.linalg.svd(dW, compute_uv=False)
    np.testing.assert_allclose(found.singular_values, S[:16])
    assert found.norm == pytest.approx(np.linalg.norm(S))
    assert found.stable_rank == pytest.approx((S**2).sum() / S[0] ** 2)
    zero = size_of(LowRankUpdate(np.eye(270), 0 * dW))
    assert (zero.norm, zero.stable_rank) == (0.0, None)
