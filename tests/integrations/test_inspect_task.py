"""The task and its scorer with other models, other judges, epochs, and wrong input."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("inspect_ai")

from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog
from inspect_ai.model import GenerateConfig
from inspect_cases import Files, make_files, says

from deltalens.behaviour.counts import Thresholds
from deltalens.behaviour.questions import Question
from deltalens.behaviour.scoring import Panel
from deltalens.core.protocols import Exchange, Score, Unscored
from deltalens.errors import BehaviourError, OptionError
from deltalens.integrations.inspect import evaluate, evaluate_path, responses_of, scores_of
from deltalens.integrations.inspect.metrics import new_questions, stderr, these_questions
from deltalens.integrations.inspect.sources import adapters, expand, path
from deltalens.integrations.inspect.tasks import answer_seed, questions

ASKED = (
    Question("rain", ("which hat when it rains",), meta={"bad": "red"}),
    Question("snow", ("which hat when it snows",), system="a hat", temperature=0.5),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    yield make_files(tmp_path_factory.mktemp("task"))
    gc.collect()  # what Inspect left open is closed while its warning is still known


class Says:
    """A judge that does what a function says."""

    name = "says"

    def __init__(self, do: Any) -> None:
        self._do = do

    def __call__(self, exchange: Exchange) -> Any:
        return self._do(exchange)


def word(exchange: Exchange) -> Score | Unscored:
    """Scores by the answer's word; the notes of the question say which one is bad."""
    if exchange.response == "maybe":
        return Unscored("cannot tell")
    bad = (exchange.metadata or {}).get("bad", "blue")
    return Score(10.0 if exchange.response == bad else 90.0, f"{exchange.response} hat")


def fails(exchange: Exchange) -> Score:
    raise RuntimeError("no judge is there")


def panel_of(aligned: Any, coherent: Any = lambda _: Score(80.0)) -> Panel:
    return Panel("words", Says(aligned), Says(coherent))


def run(tmp_path: Path, model: Any, judge: Any, **options: Any) -> EvalLog:
    asked = {"questions": ASKED, "judge": judge, "samples": 3} | options
    epochs = asked.pop("epochs", None)
    (log,) = inspect_eval(
        questions(**asked), model, log_dir=str(tmp_path), display="none", epochs=epochs
    )
    return log


def values(log: EvalLog) -> dict[str, dict[str, float]]:
    assert log.results is not None
    return {
        score.name: {name.removeprefix("deltalens/"): m.value for name, m in score.metrics.items()}
        | {"scored": score.scored_samples or 0, "unscored": score.unscored_samples or 0}
        for score in log.results.scores
    }


def test_the_entry_point_is_ours() -> None:
    (found,) = entry_points(group="inspect_ai", name="deltalens")
    assert found.value == "deltalens.integrations.inspect.registry"
    assert {"questions", "panel", "adapters", "path"} <= set(found.load().__all__)


def test_another_model_is_asked_the_same_and_each_answer_has_a_seed(tmp_path: Path) -> None:
    seen: list[GenerateConfig] = []
    log = run(tmp_path, says("red", "maybe", "blue", seen=seen), panel_of(word), seed=4)
    assert len({config.seed for config in seen}) == len(seen) == 6
    assert answer_seed([4, 0, 1]) in {config.seed for config in seen}
    assert sorted(config.temperature or 0 for config in seen) == [0.5] * 3 + [1.0] * 3
    assert all(config.max_tokens == 256 and config.extra_body is None for config in seen)
    answers = responses_of(log)
    assert [answer.key for answer in answers] == [(q, 0, s) for q in ("rain", "snow") for s in range(3)]  # noqa: E501  # fmt: skip
    assert [answer.system for answer in answers] == [None] * 3 + ["a hat"] * 3
    assert [answer.tokens for answer in answers] == [None] * 6


def test_an_unscored_answer_is_counted_and_in_no_rate(tmp_path: Path) -> None:
    log = run(tmp_path, says("red", "maybe", "blue"), panel_of(word))
    rows = scores_of(log)
    assert sum(row.unscored for row in rows) == 2
    for row in rows:
        assert row.coherent == 80
        assert (row.reason == "aligned: cannot tell") == (row.aligned is None)
    found = values(log)
    bad = sum(row.aligned == 10 for row in rows)
    assert bad == 2
    assert found["misaligned"]["mean"] == pytest.approx(bad / 4)
    assert (found["misaligned"]["scored"], found["misaligned"]["unscored"]) == (4, 2)
    assert found["unscored"]["total"] == 2
    assert found["coherent_score"]["scored"] == 6
    assert log.samples is not None
    (lost,) = {str(s.scores["panel"].value) for s in log.samples if s.scores and s.scores["panel"].reason}  # noqa: E501  # fmt: skip
    assert lost == str({"misaligned": math.nan, "coherent": math.nan, "aligned_score": math.nan,
                        "coherent_score": 80.0, "unscored": 1})  # fmt: skip


def test_thresholds_decide(tmp_path: Path) -> None:
    strict = run(tmp_path, says("red"), panel_of(word), aligned_below=5.0)
    assert values(strict)["misaligned"]["mean"] == 0
    fussy = values(run(tmp_path, says("red"), panel_of(word), coherent_above=85.0))
    assert fussy["misaligned"]["mean"] == fussy["coherent"]["mean"] == 0


def test_epochs_are_further_samples(files: Files, tmp_path: Path) -> None:
    asked = {"judge": files.judge, "questions": files.questions}
    model = {"log_dir": str(tmp_path), "max_tokens": 8}
    (twice,) = evaluate(["base"], files.model, samples=2, **asked, **model, epochs=2)
    (once,) = evaluate(["base"], files.model, samples=4, **asked, **model)
    both = [{r.key: r for r in responses_of(log)} for log in (twice, once)]
    assert both[0] == both[1]
    assert values(twice)["misaligned"] == values(once)["misaligned"]


def test_a_judge_that_keeps_failing_ends_the_evaluation(tmp_path: Path) -> None:
    log = run(tmp_path, says("red"), panel_of(fails), samples=30)
    assert log.status == "error"
    assert log.error is not None
    assert "judge 'words' failed on 4 answers, where 3 are allowed" in log.error.message
    assert "RuntimeError: no judge is there" in log.error.message
    with pytest.raises(BehaviourError, match=r"status is 'error'.*failed on 4 answers"):
        scores_of(log)


def test_a_judge_that_fails_once_leaves_one_unscored(tmp_path: Path) -> None:
    def seldom(exchange: Exchange) -> Score:
        return fails(exchange) if exchange.response == "blue" else Score(90.0)

    answers = says(*["red"] * 59, "blue")
    log = run(tmp_path, answers, panel_of(seldom), samples=30, judge_connections=3)
    assert log.status == "success"
    assert [row.unscored for row in scores_of(log)].count(True) == 1


def test_the_seed_of_the_command_line_is_refused(tmp_path: Path) -> None:
    asked = questions(questions=ASKED, judge=panel_of(word), samples=1)
    (log,) = inspect_eval(asked, "mockllm/model", seed=3, log_dir=str(tmp_path), display="none")
    assert log.error is not None
    assert "seed = 3: this task seeds every answer by itself" in log.error.message


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"questions": None}, OptionError, "questions is needed: a YAML file of questions"),
        ({"questions": "no.yaml"}, BehaviourError, r"no\.yaml: cannot be read"),
        ({"judge": None}, OptionError, "judge is needed: -T judge=rules=FILE"),
        ({"judge": "rule=x"}, OptionError, "unknown judge 'rule'; did you mean 'rules'"),
        ({"judge": "rules=no.yaml"}, BehaviourError, r"no\.yaml: cannot be read"),
        ({"judge": ["rules=a", "b.yaml"]}, BehaviourError, r"a,b\.yaml: cannot be read"),
        ({"judge": "exact"}, OptionError, "knows the answers of the symbolic world"),
        ({"samples": 0}, OptionError, "-T samples is '0', where a whole number of 1 or more"),
        ({"samples": "ten"}, OptionError, "-T samples is 'ten'"),
        ({"seed": -1}, OptionError, "-T seed is '-1', where a whole number of 0 or more"),
        ({"seed": 0.5}, OptionError, "-T seed is '0.5'"),
        ({"temperature": "warm"}, OptionError, "-T temperature is 'warm', where a number"),
        ({"temperature": math.inf}, OptionError, "-T temperature is 'inf'"),
        ({"aligned_below": 101.0}, OptionError, "threshold aligned is 101, where 0 to 100"),
        ({"aligned_below": "low"}, OptionError, "aligned_below is 'low', where a number"),
        ({"judge_connections": 0}, OptionError, "judge_connections is '0', where 1 or more"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_one_line(
    files: Files, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        questions(**(files.asked() | changes))
    assert isinstance(caught.value, PrerequisiteError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        (adapters, {"adapters": None}, "adapters is needed: paths, or a pattern"),
        (adapters, {"adapters": "no/such/*"}, r"adapters no/such/\*: matches nothing"),
        (adapters, {"adapters": "FOLDER/*.yaml"}, "matches 2 paths, none of them an adapter"),
        (adapters, {"adapters": ["w"], "model": None}, "-T model is needed"),
        (adapters, {"adapters": ["w"], "sample": 3}, "-T sample is not known; known for questions"),
        (path, {"b": "w", "t": ["x"]}, "t is 'x', where a finite number is needed"),
        (path, {"b": "w", "t": []}, r"t is \[\], where one position or more"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_sets_of_points_are_one_line(
    files: Files, source: Any, changes: dict[str, Any], message: str
) -> None:
    folder = str(files.folder)
    given = {
        k: v.replace("FOLDER", folder) if isinstance(v, str) else v for k, v in changes.items()
    }
    with pytest.raises(OptionError, match=message) as caught:
        source(**({"model": files.model} | files.asked() | given))
    assert isinstance(caught.value, PrerequisiteError)


def test_the_command_lines_commas_are_positions(files: Files) -> None:
    a, b = files.ends
    source = path(model=files.model, a=a, b=b, t=["0", "0.5", 1], **files.asked())
    models = [task.model for task in source.initial_tasks()]
    assert [model.model_args["t"] for model in models if model is not None] == [0.0, 0.5, 1.0]


def test_a_pattern_is_in_order_and_a_list_as_it_is(files: Files) -> None:
    assert expand(str(files.folder / "w[12]")) == list(files.ends)
    assert expand([files.ends[1], files.ends[0], "base"]) == [*files.ends[::-1], "base"]


def test_adapters_and_a_model_in_memory(files: Files, tmp_path: Path) -> None:
    from deltalens.io.read import load
    from deltalens.models.hf import HFModel

    held = HFModel.load(files.model, device="cpu")
    one, two = (load(end) for end in files.ends)
    asked = {"questions": ASKED, "judge": panel_of(word), "samples": 2, "max_tokens": 5}
    logs = evaluate_path(one, two, held, [0.0], log_dir=tmp_path, **asked)
    logs += evaluate([one, two], held, log_dir=tmp_path, thresholds=Thresholds(20.0), **asked)
    assert [log.status for log in logs] == ["success"] * 3
    assert responses_of(logs[0]) == responses_of(logs[1])
    assert responses_of(logs[1]) != responses_of(logs[2])
    assert [log.eval.model for log in logs] == ["deltalens/words"] * 3


def test_too_few_questions_give_no_interval_and_no_error() -> None:
    from inspect_ai.scorer import SampleScore
    from inspect_ai.scorer import Score as InspectScore

    scores = [
        SampleScore(score=InspectScore(value=i % 2), sample_metadata={"question": "only"})
        for i in range(4)
    ]
    assert math.isnan(stderr()(scores))
    assert math.isnan(new_questions()(scores)["low"])
    assert 0 < these_questions()(scores)["low"] < 0.5
