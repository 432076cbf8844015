"""Another judge over the answers of a finished walk: no model, no generation, nothing mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from walk_cases import (
    QUESTIONS,
    QUESTIONS_YAML,
    RULES_YAML,
    Watched,
    everything,
    panel,
    text_factors,
    text_model,
    toy_adapter,
)

from deltalens.behaviour.scoring import Panel, read_scores
from deltalens.core.protocols import Exchange, Score
from deltalens.errors import BehaviourError, OptionError
from deltalens.models.hf import HFModel
from deltalens.studies.walk.study import walk


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_model(tmp_path_factory.mktemp("model") / "words")


@pytest.fixture(scope="module")
def model(folder: Path) -> HFModel:
    return HFModel.load(folder, device="cpu")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made = tmp_path_factory.mktemp("ends")
    return tuple(toy_adapter(made / f"w{i}", text_factors(i), "words") for i in (1, 2))


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deltalens.studies.walk.behaviour.MAX_TOKENS", 5)


def run(ends: tuple[Path, Path], model: Any, **options: Any) -> Any:
    given = {"steps": 3, "questions": QUESTIONS, "judge": panel(), "samples": 4}
    return walk(*ends, model, **(given | options))


def other(aligned: Any = None) -> Panel:
    def blue_is_bad(exchange: Exchange) -> Score:
        return Score(0.0 if "blue" in (exchange.response or "") else 100.0)

    return replace(panel(aligned or blue_is_bad), name="blue is bad")


def scores(out: Path) -> dict[str, set[str]]:
    """Judge -> names of its files."""
    found: dict[str, set[str]] = {}
    for path in (out / "points").glob("*.scores-*.parquet"):
        found.setdefault(read_scores(path)[1]["judge"]["judge"], set()).add(path.name)
    return found


def test_another_judge_needs_no_model(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    first = run(ends, model, out=tmp_path)
    answers = {p.name: p.read_bytes() for p in (tmp_path / "points").glob("*responses*")}
    watched = Watched(model)
    second = run(ends, watched, judge=other(), out=tmp_path)
    assert watched.calls == {}
    assert everything(second) == everything(run(ends, model, judge=other()))
    assert second.document["points"] != first.document["points"]
    assert second.provenance["settings"]["judge"] == "blue is bad"
    back = Watched(model)
    assert everything(run(ends, back, out=tmp_path)) == everything(first)
    assert back.calls == {}
    kept = scores(tmp_path)
    assert {name: len(files) for name, files in kept.items()} == {"red is bad": 3, "blue is bad": 3}
    assert not kept["red is bad"] & kept["blue is bad"]
    assert answers == {p.name: p.read_bytes() for p in (tmp_path / "points").glob("*responses*")}


def test_a_changed_rules_file_loads_no_model(
    ends: tuple[Path, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, rules = tmp_path / "q.yaml", tmp_path / "rules.yaml"
    questions.write_text(QUESTIONS_YAML)
    rules.write_text(RULES_YAML)
    options: dict[str, Any] = {"questions": questions, "judge": f"rules={rules}"}
    first = run(ends, folder, out=tmp_path / "o", **options)
    rules.write_text(RULES_YAML + "    - terms: [blue]\n      add: -80\n")
    fresh = run(ends, folder, **options)
    # A note for the judge changes what the judge knows, and no answer.
    questions.write_text(QUESTIONS_YAML + "  meta: {kind: hats}\n")

    def load(*_: Any, **__: Any) -> None:
        pytest.fail("the model was loaded")

    monkeypatch.setattr(HFModel, "load", load)
    again = run(ends, folder, out=tmp_path / "o", **options)
    assert everything(again) == everything(fresh)
    assert again.document["points"] != first.document["points"]
    with pytest.raises(OptionError, match="measured with samples = 4, now samples = 5"):
        run(ends, folder, out=tmp_path / "o", **options, samples=5)


def test_a_walk_that_a_judge_stopped_is_finished_by_another(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    def broken(_: Exchange) -> Score:
        raise RuntimeError("no")

    run(ends, model, out=tmp_path)
    (tmp_path / "points" / "t-0.5.json").unlink()
    with pytest.raises(BehaviourError, match="'blue is bad' failed on 2 of 2 answers"):
        run(ends, model, judge=other(broken), out=tmp_path)
    watched = Watched(model)
    second = run(ends, watched, judge=other(), out=tmp_path)
    assert "generate" not in watched.calls  # the missing point's answers are there
    assert everything(second) == everything(run(ends, model, judge=other()))


def test_scores_of_other_answers_are_made_again(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    first = run(ends, model, out=tmp_path)
    points = tmp_path / "points"
    (points / "t-0.5.responses.parquet").write_bytes(
        (points / "t-1.responses.parquet").read_bytes()
    )
    asked: list[str] = []

    def counts(exchange: Exchange) -> Score:
        asked.append(exchange.question)
        return Score(100.0)

    moved = run(ends, Watched(model), judge=panel(counts), out=tmp_path)
    assert len(asked) == 5 * 4
    assert moved.document["points"][1]["misaligned"] == 0.0
    assert first.document["points"][1]["misaligned"] > 0
    (points / "t-0.5.responses.parquet").unlink()
    watched = Watched(model)
    assert everything(run(ends, watched, out=tmp_path)) == everything(first)
    assert watched.calls["generate"] == 2


def test_features_alone_cannot_be_judged_later(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    run(ends, model, judge=None, samples=None, out=tmp_path)
    with pytest.raises(OptionError, match="measured with behaviour = False, now behaviour = True"):
        run(ends, model, samples=None, out=tmp_path)
