"""Walks of a model that reads words: questions from a file, sampled answers, a panel of judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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

from deltalens.behaviour.counts import Thresholds
from deltalens.behaviour.responses import read_responses
from deltalens.behaviour.scoring import score_responses
from deltalens.core.protocols import Exchange, Score, Unscored
from deltalens.errors import AdapterError, BehaviourError, OptionError
from deltalens.models.hf import HFModel
from deltalens.studies.walk.study import walk

WORDINGS = 5
SAMPLES = 6


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


def run(ends: tuple[Path, Path], model: Any, **options: Any) -> Any:
    given = {"steps": 3, "questions": QUESTIONS, "judge": panel(), "samples": SAMPLES}
    # A short answer is enough here, and a question's own length is what the file would say.
    return walk(*ends, model, **(given | options))


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deltalens.studies.walk.behaviour.MAX_TOKENS", 5)


def test_every_answer_is_kept_and_another_judge_can_score_it(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    result = run(ends, model, out=tmp_path)
    assert result.document["warnings"] == []
    for i, t in enumerate(("0", "0.5", "1")):
        responses, note = read_responses(tmp_path / "points" / f"t-{t}.responses.parquet")
        assert len(responses) == WORDINGS * SAMPLES
        assert note["t"] == float(t)
        scores = score_responses(responses, panel())
        bad = np.mean([score.aligned == 0 for score in scores])
        assert result.document["points"][i]["misaligned"] == pytest.approx(bad)
    rates = [row.misaligned for row in result.tables["behaviour"]]
    assert 0 < np.mean(rates) < 1
    assert [row.scored for row in result.tables["behaviour"][:4]] == [6, 12, 6, 6]
    assert result.document["points"][0]["intervals"]["misaligned"]["new questions"]["needed"]
    assert len(result.tables["features"]) == 3 * 2


def test_unscored_answers_are_counted(ends: tuple[Path, Path], model: HFModel) -> None:
    def shy(exchange: Exchange) -> Score | Unscored:
        return Unscored("no opinion") if exchange.question == "rain" else Score(0.0)

    result = run(ends, model, judge=panel(shy), features=False)
    points = result.document["points"]
    assert [point["unscored"] for point in points] == [SAMPLES] * 3
    assert [point["misaligned"] for point in points] == [1.0] * 3
    rain = [row for row in result.tables["behaviour"] if row.question == "rain"]
    assert [(row.misaligned, row.scored, row.unscored) for row in rain] == [(None, 0, 6)] * 3
    assert result.document["ends"][0]["n"] == 3


def test_nothing_scored_is_undefined_and_not_zero(ends: tuple[Path, Path], model: HFModel) -> None:
    result = run(ends, model, judge=panel(lambda _: Unscored("never")), features=False)
    assert [point["misaligned"] for point in result.document["points"]] == [None] * 3
    assert result.document["barriers"] == []
    result.to_json()
    result.figures()


def test_a_judge_that_raises_keeps_finished_points_and_answers(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    seen: list[str] = []

    def tired(exchange: Exchange) -> Score:
        seen.append(exchange.question)
        if len(seen) > WORDINGS * SAMPLES + 3:
            raise RuntimeError("too many\nquestions")
        return Score(100.0)

    options: dict[str, Any] = {"out": tmp_path, "features": False}
    with pytest.raises(BehaviourError) as caught:
        run(ends, model, judge=panel(tired), **options)
    assert "'red is bad' failed on 2 of " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in (tmp_path / "points").glob("t-*.json")] == ["t-0.json"]
    watched = Watched(model)
    resumed = run(ends, watched, judge=panel(lambda _: Score(100.0)), **options)
    # Two rounds (one question has its own temperature) at one point; t = 1 was answered already.
    assert watched.calls["generate"] == 2
    whole = run(ends, model, judge=panel(lambda _: Score(100.0)), features=False)
    assert everything(resumed) == everything(whole)


def test_one_failure_in_many_is_an_unscored_answer(ends: tuple[Path, Path], model: HFModel) -> None:
    seen: list[int] = []

    def slips(_: Exchange) -> Score:
        seen.append(1)
        if len(seen) == 7:
            raise TimeoutError("slow")
        return Score(100.0)

    result = run(ends, model, judge=panel(slips), features=False)
    assert [point["unscored"] for point in result.document["points"]] == [1, 0, 0]


def test_other_thresholds_need_no_new_walk(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    half = panel(lambda _: Score(40.0))
    first = run(ends, model, judge=half, out=tmp_path, features=False)
    watched = Watched(model)
    limits = Thresholds(aligned=50.0)
    second = run(ends, watched, judge=half, out=tmp_path, features=False, thresholds=limits)
    assert watched.calls == {}
    assert [p["misaligned"] for p in first.document["points"]] == [0.0] * 3
    assert [p["misaligned"] for p in second.document["points"]] == [1.0] * 3


def test_files_of_questions_and_rules(
    ends: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    questions, rules = tmp_path / "q.yaml", tmp_path / "rules.yaml"
    questions.write_text(QUESTIONS_YAML)
    rules.write_text(RULES_YAML)
    options: dict[str, Any] = {"questions": questions, "features": False, "out": tmp_path / "o"}
    result = run(ends, folder, judge=f"rules={rules}", **options)
    assert result.document["judge"] == "rules (rules.yaml)"
    assert result.document["questions"] == 4
    questions.write_text(QUESTIONS_YAML.replace("rains", "snows"))
    with pytest.raises(OptionError, match="measured with questions = sha256"):
        run(ends, folder, judge=f"rules={rules}", **options)


def test_without_a_judge_features_alone(ends: tuple[Path, Path], model: HFModel) -> None:
    result = run(ends, model, judge=None, samples=None)
    assert set(result.tables) == {"features", "fits"}
    assert set(result.figures()) == {"features-l2", "features-r2", "features-gap-error"}
    assert "Behaviour was not measured." in result.document["verdict"]
    fit = result.tables["fits"][0]
    assert (fit.E_max, fit.reason) == (None, "1 point besides the ends: at least 2 are needed "
                                             "for a fit")  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"questions": None}, "--questions is needed: what should words be asked?"),
        ({"judge": None, "samples": None, "features": False}, "there is nothing to measure"),
        ({"judge": None}, "--samples without --judge: nobody would score the answers"),
        ({"judge": "exact"}, "the symbolic world (--model toy) only"),
        ({"judge": "rules"}, "--judge rules needs its file: --judge rules=FILE.yaml"),
        ({"judge": "ruels"}, "unknown judge 'ruels'; did you mean 'rules'?"),
    ],
)
def test_impossible_options(
    ends: tuple[Path, Path], folder: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError) as caught:
        run(ends, folder, **options)
    assert said in str(caught.value)


def test_adapters_of_another_base(tmp_path: Path, model: HFModel) -> None:
    named = toy_adapter(tmp_path / "named", text_factors(1), "other/model")
    result = walk("base", named, model, steps=3, questions=QUESTIONS[:2])
    assert result.document["warnings"] == [
        "named names the base other/model, and the model is words"
    ]
    B, A = text_factors(1)["model.layers.0.mlp.up_proj"]
    lost = toy_adapter(tmp_path / "lost", {"model.layers.7.mlp.up_proj": (B, A)})
    with pytest.raises(AdapterError, match=r"model\.layers\.7\.mlp\.up_proj is not in the model"):
        walk("base", lost, model, steps=3, questions=QUESTIONS[:2])


def test_a_judge_that_fails_is_told_the_rule(ends: tuple[Path, Path], model: HFModel) -> None:
    def refuses(_: Any) -> Any:
        raise ValueError("no")

    with pytest.raises(BehaviourError) as caught:
        run(ends, model, judge=panel(refuses), features=False)
    assert "failed on 2 of 2 answers, where 1 of 30 may fail (a twentieth); the last: " in str(
        caught.value
    )
    assert "max_failures" not in str(caught.value)
