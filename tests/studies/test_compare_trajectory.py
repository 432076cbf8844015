"""The checkpoints of one run: their order, and numbers against dense matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deltalens
from adapter_files import Factors, initial, strict_json, trained, write_adapter
from deltalens.cli.main import main
from deltalens.studies.compare.trajectory import is_one_run, step_of

STEPS = (100, 20, 3)


def dense(modules: dict[str, Factors]) -> np.ndarray:
    return np.concatenate([(B @ A).ravel() for B, A in modules.values()])


@pytest.fixture
def run(tmp_path: Path) -> tuple[list[Path], dict[int, np.ndarray]]:
    """Three checkpoints of one run, and their dense updates by step."""
    start, paths, truth = initial(1), [], {}
    for i, step in enumerate(STEPS):
        modules = {p: (B * step, A) for p, (B, A) in trained(start, i).items()}
        paths.append(write_adapter(tmp_path / "run" / f"checkpoint-{step}", modules))
        truth[step] = dense(modules)
    return paths, truth


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_rows_are_by_step_and_right(run: tuple[list[Path], dict[int, np.ndarray]]) -> None:
    paths, truth = run
    result = deltalens.compare(paths, full_provenance=False)
    rows = strict_json(result.to_json())["trajectory"]
    assert [row["step"] for row in rows] == sorted(STEPS)
    assert [a["name"] for a in result.document["adapters"]] == [row["adapter"] for row in rows]
    ordered = [truth[step] for step in sorted(STEPS)]
    way = 0.0
    for i, (row, W) in enumerate(zip(rows, ordered, strict=True)):
        way += float(np.linalg.norm(W - ordered[i - 1])) if i else 0.0
        assert row["norm"] == pytest.approx(np.linalg.norm(W))
        assert row["growth"] == pytest.approx(np.linalg.norm(W) / np.linalg.norm(ordered[-1]))
        assert row["cosine_first"] == pytest.approx(angle(ordered[0], W))
        assert row["cosine_last"] == pytest.approx(angle(W, ordered[-1]))
        assert row["path"] == pytest.approx(way)
        if i:
            turn = np.degrees(np.arccos(angle(ordered[i - 1], W)))
            assert row["turn_deg"] == pytest.approx(turn)
    assert rows[0]["turn_deg"] is None
    assert result.records("trajectory") == rows
    assert {"pairs", "modules", "trajectory"} <= set(result.tables)


def test_an_untrained_checkpoint_has_no_direction(tmp_path: Path) -> None:
    start = trained(initial(1), 1)
    zero = {p: (0 * B, A) for p, (B, A) in start.items()}
    paths = [
        write_adapter(tmp_path / "checkpoint-0", zero),
        write_adapter(tmp_path / "checkpoint-1", start),
    ]
    rows: Any = deltalens.compare(paths, full_provenance=False).document["trajectory"]
    assert (rows[0]["norm"], rows[0]["growth"], rows[0]["cosine_last"]) == (0.0, 0.0, None)
    assert rows[1]["turn_deg"] is None
    assert rows[1]["path"] == pytest.approx(rows[1]["norm"])


def test_printed(
    run: tuple[list[Path], dict[int, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *map(str, run[0])]) == 0
    text = capsys.readouterr().out
    assert "One run by step: how its update grows and turns" in text
    places = [text.index(f"checkpoint-{step} ") for step in sorted(STEPS)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("names", "one"),
    [
        (["r/checkpoint-1", "r/checkpoint-20"], True),
        (["r/step_1", "r/step_20"], True),
        (["r/checkpoint-1", "s/checkpoint-2"], False),
        (["r/checkpoint-1", "r/checkpoint-01"], False),
        (["r/checkpoint-1", "r/final"], False),
        (["r/checkpoint-1"], False),
    ],
)
def test_what_is_one_run(names: list[str], one: bool) -> None:
    assert is_one_run(names) is one


def test_other_comparisons_have_no_trajectory(tmp_path: Path) -> None:
    paths = [write_adapter(tmp_path / n, trained(initial(1), i)) for i, n in enumerate("ab")]
    assert "trajectory" not in deltalens.compare(paths, full_provenance=False).document
    assert step_of("checkpoint-") is None
