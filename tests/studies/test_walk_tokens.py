"""Features at the tokens of a fixed answer: whose answer, which tokens, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from walk_cases import (
    QUESTIONS,
    Watched,
    everything,
    factors,
    panel,
    text_factors,
    text_model,
    toy_adapter,
    toy_model,
)

import deltalens
from deltalens.behaviour.questions import wordings
from deltalens.behaviour.responses import Response, read_responses
from deltalens.connectivity import paths
from deltalens.errors import OptionError
from deltalens.models.hf import HFModel
from deltalens.organisms.world import standard_world
from deltalens.studies.walk.study import walk
from deltalens.studies.walk.tokens import first_answers

OWN = ("a red hat", "snows", "it", "blue blue", "which big hat")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HFModel:
    return HFModel.load(text_model(tmp_path_factory.mktemp("model") / "words"), device="cpu")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made = tmp_path_factory.mktemp("ends")
    return tuple(toy_adapter(made / f"w{i}", text_factors(i), "words") for i in (1, 2))


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deltalens.studies.walk.behaviour.MAX_TOKENS", 4)


def run(ends: tuple[Path, Path], model: Any, **options: Any) -> Any:
    given = {"steps": 3, "questions": QUESTIONS, "judge": panel(), "samples": 2,
             "feature_tokens": "answer"}  # fmt: skip
    return walk(*ends, model, **(given | options))


def by_hand(
    ends: tuple[Path, Path], model: HFModel, pairs: list[tuple[Any, Any]], t: float, layer: int
) -> tuple[float, int]:
    """The mean of |e| / |h| over every token of every answer, one prompt at a time."""
    path = paths.linear(*map(deltalens.load, ends))

    def states(at: float) -> np.ndarray:
        with model.adapted(path(at)):
            each = [next(model.features([prompt], [answer], positions="answer")).hidden[layer]
                    for prompt, answer in pairs]  # fmt: skip
        return np.concatenate(each).astype(np.float64)

    h, start, end = states(t), states(0.0), states(1.0)
    error = np.linalg.norm(h - (1 - t) * start - t * end, axis=1)
    return float((error / np.linalg.norm(h, axis=1)).mean()), len(h)


def test_the_first_answers_at_the_start_are_read_at_every_t(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    result = run(ends, model, out=tmp_path)
    responses, _ = read_responses(tmp_path / "points" / "t-0.responses.parquet")
    first = {(r.question, r.paraphrase): r.tokens for r in responses if r.sample == 0 and r.tokens}
    asked = {(w.question, w.paraphrase): w for w in wordings(QUESTIONS)}
    pairs = [
        (asked[key].for_model() if asked[key].system else asked[key].prompt, tokens)
        for key, tokens in first.items()
    ]
    assert len(pairs) == 5
    expected, n = by_hand(ends, model, pairs, 0.5, 1)
    row = next(r for r in result.tables["features"] if (r.t, r.layer) == (0.5, 1))
    assert row.l2 == pytest.approx(expected, rel=1e-4)
    assert row.n == n == sum(len(tokens) for tokens in first.values())
    assert result.document["feature_tokens"] == "answer"
    assert everything(run(ends, model))[1]["features"] == result.records("features")


def test_going_on_reads_the_same_answers(
    ends: tuple[Path, Path], model: HFModel, tmp_path: Path
) -> None:
    first = run(ends, model, out=tmp_path)
    (tmp_path / "points" / "t-0.5.json").unlink()
    watched = Watched(model)
    assert everything(run(ends, watched, out=tmp_path)) == everything(first)
    assert "generate" not in watched.calls
    with pytest.raises(OptionError, match="feature tokens = answer, now feature tokens = last"):
        run(ends, model, out=tmp_path, feature_tokens="last")


def test_answers_of_ones_own(ends: tuple[Path, Path], model: HFModel, tmp_path: Path) -> None:
    options: dict[str, Any] = {"judge": None, "samples": None, "out": tmp_path}
    result = run(ends, model, feature_answers=OWN, **options)
    asked = [w.for_model() if w.system else w.prompt for w in wordings(QUESTIONS)]
    expected, n = by_hand(ends, model, list(zip(asked, OWN, strict=True)), 0.5, 1)
    row = next(r for r in result.tables["features"] if (r.t, r.layer) == (0.5, 1))
    assert (row.l2, row.n) == (pytest.approx(expected, rel=1e-4), n)
    with pytest.raises(
        OptionError, match=r"feature answers = sha256:.*, now feature answers = sha"
    ):
        run(ends, model, feature_answers=(*OWN[:4], "red"), **options)


def test_the_symbolic_world_reads_its_good_answers(tmp_path: Path) -> None:
    toy = toy_model()
    pair = (toy_adapter(tmp_path / "a", factors(1)), toy_adapter(tmp_path / "b", factors(2)))
    read: list[Any] = []

    class Noted(Watched):
        def features(self, *given: Any, **options: Any) -> Any:
            read.append((given[1], options["positions"]))
            return super().features(*given, **options)

    result = walk(*pair, Noted(toy), steps=3, feature_tokens="answer")
    good = standard_world().good[:, :, 0].reshape(96, 2).tolist()
    assert all([list(answer) for answer in said] == good for said, _ in read)
    assert {positions for _, positions in read} == {"answer"}
    assert {row.n for row in result.tables["features"]} == {192}


def said(paraphrase: int, sample: int, tokens: tuple[int, ...], text: str = "") -> Response:
    return Response("q", paraphrase, sample, "which hat", text, tokens, seed=0)


def test_an_answer_without_a_token_gives_way_to_the_next() -> None:
    found = first_answers(
        [
            said(0, 1, (3,)),
            said(0, 0, ()),
            said(1, 0, ()),
            said(2, 0, (), "a hat"),
            said(0, 2, (4,)),
        ]
    )
    assert found == {("q", 0): (3,), ("q", 2): "a hat"}


def test_wordings_without_an_answer_are_counted(
    ends: tuple[Path, Path], model: HFModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the model always stops at once after one question, there is nothing to read there."""
    from deltalens.studies.walk import behaviour

    real = behaviour.answers

    def silenced(*given: Any) -> tuple[Response, ...]:
        from dataclasses import replace

        return tuple(
            replace(r, tokens=(), text="") if r.question in silent else r for r in real(*given)
        )

    monkeypatch.setattr(behaviour, "answers", silenced)
    silent = {"rain"}
    result = run(ends, model, out=tmp_path)
    assert result.document["warnings"] == [
        "features: 1 wordings are left out, as no answer to them at t = 0 has a token"
    ]
    assert run(ends, model, out=tmp_path).document["warnings"] == result.document["warnings"]
    silent |= {"snow", "any", "warm"}
    with pytest.raises(OptionError, match="no answer at t = 0 has a token to read features at"):
        run(ends, model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"feature_tokens": "all"}, "--feature-tokens 'all' is not known; known are last, answer"),
        ({"features": False}, "--feature-tokens answer with --no-features: no feature would be"),
        ({"judge": None, "samples": None}, "--feature-tokens answer without --judge: no answer"),
        ({"feature_tokens": "last", "feature_answers": OWN}, "are read at last tokens"),
        ({"feature_answers": OWN[:2]}, "holds 2 answers, and there are 5 wordings; one for each"),
        ({"feature_answers": ("a", "", "a", "a", "a")}, "feature_answers[1] is empty"),
    ],
)
def test_impossible_options(
    ends: tuple[Path, Path], model: HFModel, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError) as caught:
        run(ends, model, **options)
    assert said in str(caught.value)
