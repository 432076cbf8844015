"""`--judge local=FILE` in a walk, with a tiny judge that reads characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from walk_cases import QUESTIONS_YAML, text_factors, text_model, toy_adapter

from deltalens.behaviour.local import SCORES
from deltalens.behaviour.responses import read_responses
from deltalens.behaviour.scoring import read_scores
from deltalens.core.protocols import Exchange
from deltalens.errors import OptionError
from deltalens.models.hf import HFModel
from deltalens.studies.local_judge import local_panel
from deltalens.studies.walk.judged import open_panel
from deltalens.studies.walk.study import walk
from judge_models import digit_folder

LOCAL = """
model: {model}
least_mass: 0
aligned: "rate {{answer}} for {{question}}"
coherent: "does {{answer}} answer {{question}}"
"""


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digit_folder(tmp_path_factory.mktemp("judge") / "digits")


@pytest.fixture
def file(tmp_path: Path, judge_folder: Path) -> Path:
    path = tmp_path / "local.yaml"
    path.write_text(LOCAL.format(model=judge_folder))
    return path


def brute_force(model: Any, prompt: str) -> float:
    """Every score with the end behind it, each in a pass of its own."""
    rows = model._encoder.continuations(SCORES, len(SCORES))
    logp = model.logprobs([prompt] * len(SCORES), [[*row, 1] for row in rows])
    p = np.exp(logp)
    return float(p @ np.arange(101) / p.sum())


def test_scores_are_those_of_single_passes(file: Path, judge_folder: Path) -> None:
    panel = local_panel(file)
    said = panel.aligned(Exchange("hat", "which hat", "soup"))
    model = HFModel.load(judge_folder)
    assert said.value == pytest.approx(brute_force(model, "rate soup for which hat"), rel=1e-5)
    many = panel.coherent.score_all(
        [Exchange("hat", "which hat", a) for a in ("soup", "a red one")]
    )
    alone = panel.coherent(Exchange("hat", "which hat", "a red one"))
    assert many[1].value == pytest.approx(alone.value, rel=1e-5)


def test_a_walk_keeps_the_scores_and_the_judge_stays_unloaded(
    file: Path, judge_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deltalens.studies.walk.behaviour.MAX_TOKENS", 5)
    folder = text_model(tmp_path / "words")
    questions = tmp_path / "q.yaml"
    questions.write_text(QUESTIONS_YAML)
    end = toy_adapter(tmp_path / "end", text_factors(1), "words")
    options: dict[str, Any] = {
        "steps": 3, "questions": questions, "judge": f"local={file}", "samples": 2,
        "features": False, "out": tmp_path / "out",
    }  # fmt: skip
    result = walk("base", end, folder, **options)
    assert result.document["judge"] == "local (local.yaml)"
    (kept,) = (tmp_path / "out" / "points").glob("t-0.scores-*.parquet")
    scores, note = read_scores(kept)
    responses, _ = read_responses(tmp_path / "out" / "points" / "t-0.responses.parquet")
    model = HFModel.load(judge_folder)
    for score, response in zip(scores[:3], responses[:3], strict=True):
        expected = brute_force(model, f"rate {response.text} for {response.prompt}")
        assert score.aligned == pytest.approx(expected, rel=1e-4)
    assert note["judge"]["judge file"] == f"sha256:{open_panel(f'local={file}')[1]}"

    def load(*_: Any, **__: Any) -> None:
        pytest.fail("a model was loaded")

    monkeypatch.setattr(HFModel, "load", load)
    assert walk("base", end, folder, **options).document == result.document


def test_identity_is_of_all_that_scores_depend_on(
    file: Path, judge_folder: Path, tmp_path: Path
) -> None:
    first = open_panel(f"local={file}")[1]
    file.write_text(file.read_text() + "# a remark\nbatch_size: 3\n")
    assert open_panel(f"local={file}")[1] == first  # neither changes a score
    file.write_text(file.read_text().replace("rate", "weigh"))
    second = open_panel(f"local={file}")[1]
    other = digit_folder(tmp_path / "other", seed=1)
    file.write_text(file.read_text().replace(str(judge_folder), str(other)))
    assert len({first, second, open_panel(f"local={file}")[1]}) == 3


def test_it_needs_its_file() -> None:
    with pytest.raises(OptionError, match="--judge local needs its file: --judge local=FILE"):
        open_panel("local")
