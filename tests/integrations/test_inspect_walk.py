"""Inspect's evaluations of a path: a walk's own answers, scores, rates and intervals."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("inspect_ai")

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog, read_eval_log
from inspect_cases import Files, make_files, says

from deltalens.behaviour.aggregate import misaligned_rate
from deltalens.behaviour.responses import read_responses
from deltalens.behaviour.scoring import read_scores
from deltalens.core.result import Result
from deltalens.errors import BehaviourError
from deltalens.integrations.inspect import evaluate, evaluate_path, responses_of, scores_of
from deltalens.studies.walk.study import walk

TS = (0.0, 0.5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    yield make_files(tmp_path_factory.mktemp("inspect"))
    gc.collect()  # what Inspect left open is closed while its warning is still known


@pytest.fixture(scope="module")
def walked(files: Files) -> Result:
    asked = files.asked(steps=3, features=False, seed=7, out=files.folder / "walk")
    return walk(*files.ends, files.model, **asked)


@pytest.fixture(scope="module")
def logs(files: Files) -> list[EvalLog]:
    where = files.folder / "logs"
    return evaluate_path(*files.ends, files.model, TS, **files.asked(seed=7), log_dir=where)


def point(files: Files, t: float, kind: str) -> Path:
    (found,) = (files.folder / "walk" / "points").glob(f"t-{t:g}.{kind}*.parquet")
    return found


def test_answers_are_those_of_a_walk(files: Files, walked: Result, logs: list[EvalLog]) -> None:
    assert [log.eval.model_args["t"] for log in logs] == list(TS)
    for t, log in zip(TS, logs, strict=True):
        expected, _ = read_responses(point(files, t, "responses"))
        assert responses_of(log) == expected
        assert len(expected) == 5 * 3
    assert responses_of(logs[0]) != responses_of(logs[1])
    assert {response.finished for log in logs for response in responses_of(log)} == {True, False}


def test_scores_are_those_of_a_walk(files: Files, walked: Result, logs: list[EvalLog]) -> None:
    for t, log in zip(TS, logs, strict=True):
        expected, _ = read_scores(point(files, t, "scores"))
        assert scores_of(log) == expected


def test_rates_and_intervals_are_those_of_a_walk(walked: Result, logs: list[EvalLog]) -> None:
    rows = {(row.t, row.measure, row.target): row for row in walked.tables["rates"]}
    seen = set()
    for t, log in zip(TS, logs, strict=True):
        assert log.results is not None
        held = {score.name: score for score in log.results.scores}
        for measure in ("misaligned", "coherent"):
            found = {name: metric.value for name, metric in held[measure].metrics.items()}
            for target in ("these questions", "new questions"):
                row, name = rows[t, measure, target], target.replace(" ", "_")
                assert found["deltalens/mean"] == pytest.approx(row.rate)
                assert found[f"deltalens/{name}_low"] == pytest.approx(row.low)
                assert found[f"deltalens/{name}_high"] == pytest.approx(row.high)
                seen.add(row.rate)
        rate = misaligned_rate(scores_of(log), target="new questions")
        assert rate.interval.estimate == rows[t, "misaligned", "new questions"].rate
    assert len(seen) > 1


def test_tokens_are_counted(logs: list[EvalLog]) -> None:
    for log in logs:
        used = log.stats.model_usage[log.eval.model]
        assert used.output_tokens == sum(len(r.tokens or ()) for r in responses_of(log))
        words = [len(f"{r.system or ''} {r.prompt}".split()) for r in responses_of(log)]
        assert used.input_tokens == sum(words)
        assert used.total_tokens == used.input_tokens + used.output_tokens


def test_points_are_told_apart(logs: list[EvalLog]) -> None:
    identities = {(log.eval.metadata or {})["point"] for log in logs}
    assert len(identities) == 2
    assert all(each.startswith("sha256:") for each in identities)


def test_a_log_is_read_from_its_file(logs: list[EvalLog]) -> None:
    assert responses_of(logs[1].location) == responses_of(logs[1])
    assert scores_of(Path(logs[1].location)) == scores_of(logs[1])


def test_errors_cluster_by_question(logs: list[EvalLog]) -> None:
    log = logs[1]
    assert log.results is not None
    found = next(s for s in log.results.scores if s.name == "aligned_score")
    rows = scores_of(log)
    mean = sum(row.aligned or 0.0 for row in rows) / len(rows)
    sums: dict[str, float] = {}
    for row in rows:
        sums[row.question] = sums.get(row.question, 0.0) + (row.aligned or 0.0) - mean
    k = len(sums)
    by_hand = math.sqrt(sum(s**2 for s in sums.values()) * k / (k - 1)) / len(rows)
    assert by_hand > 0
    assert found.metrics["deltalens/stderr"].value == pytest.approx(by_hand)


def test_adapters_on_one_base_with_the_base_itself(files: Files, walked: Result) -> None:
    pattern = str(files.folder / "w[2]")
    asked = files.asked(seed=7, log_dir=files.folder / "adapters")
    found = evaluate(["base", pattern], files.model, **asked)
    assert [log.eval.model_args for log in found] == [{}, {"b": files.ends[1], "t": 1.0}]
    assert responses_of(found[1]) == read_responses(point(files, 1.0, "responses"))[0]
    assert responses_of(found[0]) != responses_of(found[1])


@pytest.mark.slow
def test_the_command_line_finds_the_task_from_anywhere(files: Files, walked: Result) -> None:
    a, b = files.ends
    command = ["-m", "inspect_ai", "eval", "deltalens/questions", "--display", "none"]
    command += ["--model", f"deltalens/{files.model}", "-M", f"a={a}", "-M", f"b={b}"]
    command += ["-M", "t=0.5", "-T", f"questions={files.questions}", "-T", f"judge={files.judge}"]
    command += ["-T", "samples=3", "-T", "seed=7", "--log-dir", str(files.folder / "cli")]
    done = subprocess.run(
        [sys.executable, *command], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (file,) = (files.folder / "cli").glob("*.eval")
    assert responses_of(file) == read_responses(point(files, 0.5, "responses"))[0]


def test_another_judge_scores_a_log_again(files: Files, logs: list[EvalLog]) -> None:
    from inspect_ai import score

    from deltalens.integrations.inspect.scorers import panel

    other = files.folder / "other.yaml"
    other.write_text("aligned: {rules: [{terms: [blue], add: -90}]}")
    again = score(logs[0], panel(f"rules={other}"), action="append", display="none")
    scores = scores_of(again, "panel1")
    assert [row.key for row in scores] == [row.key for row in scores_of(logs[0])]
    blue = [row.aligned == 10 for row in scores]
    assert blue == ["blue" in (r.text or "").split() for r in responses_of(logs[0])]
    assert any(blue)


def test_a_log_of_something_else_is_refused(files: Files, logs: list[EvalLog]) -> None:
    with pytest.raises(BehaviourError, match="'other'; it has: panel"):
        scores_of(logs[0], "other")
    with pytest.raises(BehaviourError, match=r"questions\.yaml: not a log of Inspect"):
        responses_of(files.questions)
    header = read_eval_log(logs[0].location, header_only=True)
    with pytest.raises(BehaviourError, match="no samples"):
        responses_of(header)


def test_a_foreign_log_is_refused(tmp_path: Path) -> None:
    (log,) = inspect_eval(Task(), model=says("hello"), log_dir=str(tmp_path), display="none")
    with pytest.raises(BehaviourError, match="none of the task deltalens/questions"):
        responses_of(log)


def test_inspect_is_not_imported_before_it_is_used() -> None:
    code = (
        "import sys, deltalens.integrations.inspect as ours\n"
        "assert ours.evaluate and ours.scores_of\n"
        "assert not [m for m in ('inspect_ai', 'torch') if m in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def missing(name: str, *_: Any, **__: Any) -> Any:
    raise ModuleNotFoundError(name=name)


def test_without_inspect_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from deltalens.errors import DependencyError

    monkeypatch.setattr("deltalens._extras.import_module", missing)
    with pytest.raises(DependencyError, match=r"needs 'inspect_ai'.*deltalens\[inspect\]"):
        evaluate("x", "y", questions="q", judge="j")
