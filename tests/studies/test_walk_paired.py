"""Given answers compared along a path: likelihoods, and no word on coherence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from walk_cases import (
    QUESTIONS_YAML,
    RULES_YAML,
    OnlyAdapts,
    Watched,
    everything,
    text_factors,
    text_model,
    toy_adapter,
)

from deltalens.behaviour.paired import preferences
from deltalens.behaviour.questions import Contrast, Question
from deltalens.errors import BehaviourError, OptionError
from deltalens.io.read import load
from deltalens.models.hf import HFModel
from deltalens.studies.walk.output import write_walk
from deltalens.studies.walk.study import walk

PAIRS = (Contrast("a big blue", "red"), Contrast("blue", "a red red"))
ASKED = (
    Question("rain", ("which hat when it rains",), contrast=PAIRS[:1]),
    Question("snow", ("which hat when it snows", "it snows which hat"), contrast=PAIRS),
    Question("any", ("which big hat",), system="a red hat", contrast=PAIRS[1:]),
)
YAML = QUESTIONS_YAML.replace(
    "]\n",
    "]\n  contrast: [{aligned: a big blue, misaligned: red}, {aligned: big, misaligned: a}]\n",
)


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


def run(ends: tuple[Any, Any], model: Any, **options: Any) -> Any:
    given = {"steps": 3, "questions": ASKED, "judge": "paired", "features": False}
    return walk(*ends, model, **(given | options))


def by_hand(model: HFModel, question: Question, unit: str) -> float:
    """One pair at a time: log-probability over the words of the answer, and a logistic."""
    found = []
    for wording in question.paraphrases:
        prompt = [{"role": "user", "content": wording}]
        if question.system is not None:
            prompt.insert(0, {"role": "system", "content": question.system})
        for pair in question.contrast:
            lp = {}
            for name in ("aligned", "misaligned"):
                text = getattr(pair, name)
                each = float(model.logprobs([prompt], [text])[0])
                lp[name] = each / (len(text.split()) if unit == "token" else 1)
            found.append(1 / (1 + np.exp(lp["aligned"] - lp["misaligned"])))
    return float(np.mean(found))


@pytest.mark.parametrize("unit", ["token", "sum"])
def test_a_question_is_the_mean_of_its_pairs(model: HFModel, unit: Any) -> None:
    found = preferences(model, ASKED, unit)
    np.testing.assert_allclose(found, [by_hand(model, q, unit) for q in ASKED], rtol=1e-5)


def test_swapped_answers_mirror_the_preference(model: HFModel) -> None:
    turned = [
        replace(q, contrast=tuple(Contrast(c.misaligned, c.aligned) for c in q.contrast))
        for q in ASKED
    ]
    np.testing.assert_allclose(preferences(model, turned), 1 - preferences(model, ASKED))


def test_along_the_path(ends: tuple[Path, Path], model: HFModel, tmp_path: Path) -> None:
    watched = Watched(model)
    with pytest.raises(OptionError, match="does not say how many tokens an answer has: --judge "):
        run(ends, watched)
    result = run(ends, model, out=tmp_path)
    document = result.document
    assert (document["judge"], document["computed"]) == ("paired (per token)", True)
    at = dict(zip((0.0, 1.0), map(load, ends), strict=True))
    for point in document["points"]:
        assert point["coherent"] is None
        assert point["intervals"]["coherent"]["new questions"]["interval"] is None
        assert (
            "coherence is not measured"
            in (point["intervals"]["coherent"]["these questions"]["reason"])
        )
        if point["t"] in at:
            with model.adapted(at[point["t"]]):
                assert point["misaligned"] == pytest.approx(preferences(model, ASKED).mean())
    assert document["not_measured"] == {"coherent": document["warnings"][-1]}
    assert {row["measure"] for row in document["barriers"]} == {"misaligned"}
    assert [row.coherent for row in result.tables["behaviour"]] == [None] * 9
    assert [row.question for row in result.tables["behaviour"][:3]] == ["rain", "snow", "any"]
    assert "NaN" not in result.to_json()
    write_walk(result, tmp_path)
    assert "coherence is not measured" in (tmp_path / "report.html").read_text()
    again = run(ends, Watched(model), out=tmp_path)
    assert everything(again) == everything(result)


def test_sums_need_log_probabilities_alone(ends: tuple[Path, Path], model: HFModel) -> None:
    summed = run(ends, model, judge="paired=sum")
    assert summed.document["judge"] == "paired (summed)"
    watched = Watched(model)
    assert everything(run(ends, watched, judge="paired=sum")) == everything(summed)
    assert set(watched.calls) == {"mixed", "logprobs"}
    apart = run(ends, OnlyAdapts(model), judge="paired=sum")
    assert apart.document["points"][1]["misaligned"] == pytest.approx(
        summed.document["points"][1]["misaligned"]
    )


def test_points_depend_on_the_answers_and_the_unit(
    ends: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    questions, rules = tmp_path / "q.yaml", tmp_path / "rules.yaml"
    questions.write_text(YAML)
    rules.write_text(RULES_YAML)
    options: dict[str, Any] = {"questions": questions, "out": tmp_path / "o"}
    run(ends, folder, **options)
    with pytest.raises(OptionError, match="measured with compared = token, now compared = sum"):
        run(ends, folder, **options, judge="paired=sum")
    with pytest.raises(OptionError, match=r"measured with .* now contrasts = nothing"):
        run(ends, folder, **options, judge=f"rules={rules}")
    questions.write_text(YAML.replace("misaligned: a}", "misaligned: a red}"))
    with pytest.raises(OptionError, match="measured with contrasts = sha256"):
        run(ends, folder, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 3}, "--samples with --judge paired: given answers are compared, and none is"),
        (
            {"judge": "paired=mean"},
            "--judge paired=mean is not known; known are paired, ",
        ),
        ({"temperature": 0.5}, "exact probabilities are those at temperature 1; found 0.5"),
        (
            {"features": True, "feature_tokens": "answer"},
            "with --judge paired: no answer is",
        ),
    ],
)
def test_impossible_options(
    ends: tuple[Path, Path], folder: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError) as caught:
        run(ends, folder, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_question_without_contrasts_is_named(ends: tuple[Path, Path], folder: Path) -> None:
    lacking = (*ASKED, Question("warm", ("a hat",)))
    with pytest.raises(BehaviourError) as caught:
        run(ends, folder, questions=lacking)
    assert "question 'warm' has no contrast: --judge paired compares given" in str(caught.value)
