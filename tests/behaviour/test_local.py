"""The likelihood judge's arithmetic, its rubric and its file; no model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deltalens.behaviour.local import SCORES, LocalJudge, Reply, Rubric, score_of
from deltalens.behaviour.local_file import RUBRICS, read_local
from deltalens.behaviour.strict_yaml import read_yaml
from deltalens.core.protocols import Exchange, Score, Unscored
from deltalens.core.text import shown
from deltalens.errors import BehaviourError, OptionError

RUBRIC = Rubric("Q: {question} A: {answer} {answer}")


class Chooses:
    """A model that puts `mass` on one score, and remembers what it read."""

    def __init__(self, score: int = 40, mass: float = 1.0) -> None:
        self.row = np.full(len(SCORES), -np.inf)
        self.row[score] = np.log(mass)
        self.read: list[str] = []
        self.options: dict[str, Any] = {}

    def choice_logprobs(self, prompts: Sequence[str], choices: Any, **options: Any) -> Any:
        assert tuple(choices) == SCORES
        self.read += prompts
        self.options = options
        return np.tile(self.row, (len(prompts), 1))


def judge(model: Any, **options: Any) -> LocalJudge:
    return LocalJudge("local", lambda: model, RUBRIC, **options)


def exchange(answer: str | None = "Soup.", prompt: Any = "Which hat?") -> Exchange:
    return Exchange("hat", prompt, answer)


def test_the_score_is_the_normalised_mean() -> None:
    p = np.full(101, 1e-9)
    p[[0, 20, 100]] = 0.1, 0.2, 0.1
    said = score_of(np.log(p))
    assert isinstance(said, Score)
    assert said.value == pytest.approx((20 * 0.2 + 100 * 0.1) / 0.4, abs=1e-4)
    assert said.explanation == "35.0 (mass 0.4)"
    with np.errstate(divide="ignore"):
        top = score_of(np.log(np.eye(101)[100]))
    assert top == Score(100.0, "100.0 (mass 1)")


def test_hardly_any_probability_is_no_score() -> None:
    said = score_of(np.log(np.full(101, 0.05 / 101)))
    assert isinstance(said, Unscored)
    assert said.reason.startswith("the scores 0 to 100 have probability 0.05 in all, where 0.1 is")
    assert isinstance(score_of(np.full(101, np.nan)), Unscored)
    assert isinstance(score_of(np.log(np.full(101, 0.05 / 101)), 0.01), Score)


def test_what_the_model_reads() -> None:
    model = Chooses()
    reply = Reply("Score: ", ("\n",))
    said = judge(model, reply=reply)(exchange("{question}", "Why {answer}?"))
    assert isinstance(said, Score)
    assert (said.value, said.explanation) == (pytest.approx(40.0), "40.0 (mass 1)")
    assert model.read == ["Q: Why {answer}? A: {question} {question}"]
    assert model.options == {"start": "Score: ", "ends": ("\n",)}
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hat?"}]
    judge(model)(exchange("No.", system))
    assert model.read[1] == "Q: Be brief.\n\nHat? A: No. No."


def test_without_text_or_words_no_model_is_asked() -> None:
    model = Chooses()
    said = judge(model, blank=0.0).score_all(
        [exchange(None), exchange(" \n"), exchange(), exchange(prompt=(1, 2))]
    )
    assert [type(each) for each in said] == [Unscored, Score, Score, Unscored]
    assert said[1] == Score(0.0, "blank answer")
    assert len(model.read) == 1
    assert judge(model)(exchange("")).value == pytest.approx(40.0)


def test_prepared_answers_are_read_once_and_what_fails_is_left_to_the_call() -> None:
    model = Chooses()
    asked = judge(model)
    asked.prepare([exchange("a"), exchange("b"), exchange("a"), exchange(None)])
    assert len(model.read) == 2
    assert asked(exchange("a")) == asked(exchange("b"))
    assert isinstance(asked(exchange(None)), Unscored)
    assert len(model.read) == 2
    asked.prepare([])
    asked(exchange("a"))
    assert len(model.read) == 3

    class Short(Chooses):
        def choice_logprobs(self, prompts: Sequence[str], choices: Any, **options: Any) -> Any:
            if any("long" in prompt for prompt in prompts):
                raise OptionError("a prompt is too long")
            return super().choice_logprobs(prompts, choices, **options)

    short = judge(Short())
    short.prepare([exchange("long"), exchange("a")])
    assert isinstance(short(exchange("a")), Score)
    with pytest.raises(OptionError, match="too long"):
        short(exchange("long"))


def file(tmp_path: Path, more: str = "", model: str = "model: judge") -> Path:
    folder = tmp_path / "judge"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (tmp_path / "deaf").mkdir(exist_ok=True)
    (tmp_path / "deaf" / "config.json").write_text("{}")
    path = tmp_path / "local.yaml"
    path.write_text(f"{model}\n{more}\n")
    return path


def test_a_file(tmp_path: Path) -> None:
    found = read_local(
        file(tmp_path, "start: 'Score: '\nends: [\"\\n\", '%', '%']\ndtype: bfloat16")
    )
    assert found.model == tmp_path / "judge"
    assert (found.dtype, found.batch_size) == ("bfloat16", 8)
    assert found.reply == Reply("Score: ", ("\n", "%"), 0.1)
    assert found.aligned.text == read_yaml(RUBRICS)["aligned"]
    own = read_local(file(tmp_path, "coherent: 'Does {answer} answer {question}?'\nleast_mass: 0"))
    assert own.coherent.text == "Does {answer} answer {question}?"
    assert own.reply == Reply("", (), 0.0)


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("model: same", "", "model: 'same' is no judge: a folder of a model that reads text and"),
        ("model: toy", "", "model: 'toy' is no judge"),
        ("model: none", "", "none: no config.json; a model's folder has one"),
        ("model: deaf", "", "deaf: no tokenizer*; the judge reads text"),
        ("", "dtype: auto", "model: text is needed; found nothing"),
        ("model: judge", "dtype: float", "dtype: unknown 'float'; did you mean 'float64'? allowed"),
        ("model: judge", "batch_size: 0", "batch_size: a whole number of 1 or more is needed"),
        ("model: judge", "batch_size: 9999", "batch_size: 9999; at most 4096 are allowed"),
        ("model: judge", "least_mass: 2", "least_mass: a number from 0 to 1 is needed"),
        ("model: judge", "ends: x", "ends: a list of texts is needed; found text"),
        ("model: judge", "ends: [1]", "ends: text 1: text is needed; found the number 1"),
        ("model: judge", "ends: ['', x]", "ends: text 1: text is needed; found text"),
        ("model: judge", "ends: ['0']", "ends: text 1: '0' begins with a digit, which goes on"),
        ("model: judge", "start: 3", "start: text is needed; found the number 3"),
        ("model: judge", "rubric: x", "unknown key 'rubric'"),
        ("model: judge", "aligned: 'Rate {anwser}'", "aligned: unknown field {anwser}; allowed"),
        (
            "model: judge",
            "aligned: 'Rate {answer}'",
            "aligned: no {question} in it; {que",
        ),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, model: str, more: str, said: str) -> None:
    path = file(tmp_path, more, model or "batch_size: 2")
    with pytest.raises(BehaviourError) as caught:
        read_local(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ["0", "5\n"])
def test_an_end_that_goes_on_with_the_score_is_refused(end: str) -> None:
    with pytest.raises(BehaviourError) as caught:
        Reply(ends=("\n", end))
    assert str(caught.value) == (
        f"end {shown(end, 40)!r} begins with a digit, which goes on with the score and does not "
        "end it"
    )


def test_scores_of_no_probability_are_unscored_whatever_is_needed() -> None:
    assert isinstance(score_of(np.full(101, -np.inf), 0.0), Unscored)
