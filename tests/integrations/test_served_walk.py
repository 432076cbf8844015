"""A walk over a server: the same numbers whatever fails on the way, and refusals in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from served_cases import QUESTIONS, StandIn, exported, no_wait, panel, said, stand_in

from adapter_files import in_memory, made, write_adapter
from deltalens.behaviour.responses import read_responses
from deltalens.cli.main import main
from deltalens.core.protocols import PointsModel
from deltalens.core.result import Result
from deltalens.errors import BehaviourError, OptionError
from deltalens.integrations.served.model import ServedModel
from deltalens.integrations.served.opened import open_served
from deltalens.studies.walk.study import walk

NAMES = ("t-0", "t-0.25", "t-0.5", "t-0.75", "t-1")
SAMPLES, WORDINGS = 2, 4
A_POINT = SAMPLES * WORDINGS

Ends = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    return exported(tmp_path_factory.mktemp("ends"))


def walked(server: StandIn, ends: Ends, **options: Any) -> Result:
    a, b, points = ends
    model = open_served(server.url, points, concurrency=options.pop("concurrency", 3), wait=no_wait)
    given: dict[str, Any] = {"questions": QUESTIONS, "judge": panel(), "samples": SAMPLES}
    return walk(a, b, model, **(given | options))


def everything(result: Result) -> Any:
    return result.to_json(), {name: result.records(name) for name in result.tables}


@pytest.fixture(scope="module")
def plain(ends: Ends) -> Any:
    with stand_in("b", *NAMES) as server:
        return everything(walked(server, ends))


def test_every_point_is_asked_by_its_name(ends: Ends, tmp_path: Path) -> None:
    with stand_in("b", *NAMES) as server:
        document = walked(server, ends, out=tmp_path).document
        bodies = server.asked
    assert [point["t"] for point in document["points"]] == [0, 0.25, 0.5, 0.75, 1]
    assert document["steps"] == 5
    assert document["model"] == "b"
    assert {name: sum(b["model"] == name for b in bodies) for name in NAMES} == dict.fromkeys(
        NAMES, A_POINT
    )
    seeds = {name: sorted(b["seed"] for b in bodies if b["model"] == name) for name in NAMES}
    assert len(set(seeds["t-0"])) == A_POINT  # an answer, a seed
    assert all(each == seeds["t-0"] for each in seeds.values())  # and the same at every point
    for body in bodies:
        assert body.keys() == {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}
        assert (body["max_tokens"], body["temperature"], body["top_p"]) == (256, 1.0, 1.0)
    assert {"role": "system", "content": "Be short."} in [m for b in bodies for m in b["messages"]]
    kept, _ = read_responses(tmp_path / "points/t-0.5.responses.parquet")
    assert sorted(r.text or "" for r in kept) == sorted(
        said(b) for b in bodies if b["model"] == "t-0.5"
    )
    assert all(r.tokens is None for r in kept)
    assert [w for w in document["warnings"] if "server" in w] == [
        "features: a server gives no hidden states; none are measured",
        "answers were sampled by a server: a local walk of the same seed gives other texts",
    ]
    assert not document["layers"]


@pytest.mark.parametrize("concurrency", [1, 7])
def test_faults_and_concurrency_change_nothing(
    ends: Ends, plain: Any, concurrency: int, tmp_path: Path
) -> None:
    with stand_in("b", *NAMES) as server:
        server.faults = [429, None, "cut", 500, None, "garbage", 503, {"choices": []}, None, 500]
        again = walked(server, ends, concurrency=concurrency, out=tmp_path)
        failed = 7
        assert len(server.asked) == len(NAMES) * A_POINT + failed
    assert everything(again) == plain


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_stopped_and_resumed(ends: Ends, plain: Any, whole: int, tmp_path: Path) -> None:
    with stand_in("b", *NAMES) as server:
        server.faults = [None] * (whole * A_POINT + 3) + [400]
        with pytest.raises(BehaviourError, match="the server said 400"):
            walked(server, ends, out=tmp_path, concurrency=1)
        assert len(list((tmp_path / "points").glob("t-*.json"))) == whole
        assert len(server.asked) == whole * A_POINT + 4  # nobody goes on asking
    with stand_in("b", *NAMES) as server:
        resumed = walked(server, ends, out=tmp_path)
        assert len(server.asked) == (len(NAMES) - whole) * A_POINT
    assert everything(resumed) == plain


def test_another_judge_needs_no_server(ends: Ends, tmp_path: Path) -> None:
    with stand_in("b", *NAMES) as server:
        walked(server, ends, out=tmp_path)
    a, b, points = ends
    model = open_served(server.url, points)  # nothing answers there any more
    rules = tmp_path / "rules.yaml"
    rules.write_text("aligned: {rules: [{terms: [hat], add: -80}]}")
    scored = walk(
        a, b, model, questions=QUESTIONS, judge=f"rules={rules}", samples=SAMPLES, out=tmp_path
    )
    assert scored.document["judge"].startswith("rules")


def test_the_address_may_change_and_the_adapters_may_not(ends: Ends, tmp_path: Path) -> None:
    a, b, points = ends
    with stand_in("b", *NAMES) as server:
        walked(server, ends, out=tmp_path / "w")
    with stand_in("b", *NAMES) as server:
        walked(server, ends, out=tmp_path / "w")
        assert (server.asked, server.listed) == ([], 0)
    moved = tmp_path / "moved"
    shutil.copytree(points, moved)
    held = json.loads((moved / "serve.json").read_text())
    held["points"][1]["sha256"] = {"elsewhere.safetensors": "0" * 64}
    (moved / "serve.json").write_text(json.dumps(held))
    with stand_in("b", *NAMES) as server, pytest.raises(OptionError, match="measured with model ="):
        walked(server, (a, b, moved), out=tmp_path / "w")


def test_fewer_steps_and_what_is_not_served(ends: Ends) -> None:
    with stand_in("b", *NAMES) as server:
        found = walked(server, ends, steps=3).document
        assert [point["t"] for point in found["points"]] == [0, 0.5, 1]
        with pytest.raises(OptionError) as raised:
            walked(server, ends, steps=4)
        assert str(raised.value) == (
            "t = 0.333333 is not served; the nearest is 0.25 (served are 0, 0.25, 0.5, 0.75, 1; "
            "without --steps all are)"
        )
        with pytest.raises(OptionError, match=r"t = 1\.5 is not served; the nearest is 1 "):
            walked(server, ends, steps=4, stop=1.5)


def test_too_few_points(tmp_path: Path) -> None:
    with stand_in("x-0", "x-1") as server:
        model = open_served(server.url, "x-{t}")
        a = in_memory("a", made(0, 1))
        with pytest.raises(
            OptionError, match="the server has 2 points from 0 to 1; a walk needs 3"
        ):
            walk("base", a, model, questions=QUESTIONS, judge=panel())


def test_other_ends_than_were_exported(ends: Ends, tmp_path: Path) -> None:
    a, b, points = ends
    other = write_adapter(tmp_path / "other", made(0, 9))
    with stand_in("b", *NAMES) as server:
        for given in ((b, a), (other, b), ("base", b)):
            with pytest.raises(OptionError, match="exported from another adapter there"):
                walked(server, (*given, points))  # pyright: ignore[reportArgumentType]
        with pytest.raises(OptionError, match="the served points lie on the linear path"):
            walked(server, ends, path="factor_scaling")
        assert server.asked == []


def test_a_model_that_the_server_lacks(ends: Ends) -> None:
    with stand_in("b", "t-0", "t-1", "other") as server:
        with pytest.raises(OptionError) as raised:
            walked(server, ends)
        assert str(raised.value) == (
            f"--model {server.url}: the server has no model t-0.25, t-0.5, t-0.75; it has b, t-0, "
            "t-1, other"
        )
        assert server.asked == []


def test_a_pattern_of_names() -> None:
    a, b = in_memory("a", made(0, 1)), in_memory("b", made(0, 2))
    with stand_in("walk-0@x", "walk-1@x", "walk-0.5@x", "walk-2@y", "walk-@x") as server:
        model = open_served(server.url, "walk-{t}@x")
        assert isinstance(model, PointsModel)
        assert model.positions == (0.0, 0.5, 1.0)
        found = walk(a, b, model, questions=QUESTIONS, judge=panel(), samples=1).document
        assert [point["t"] for point in found["points"]] == [0, 0.5, 1]
        assert (
            "what the served models were made from is known by their names only"
            in (found["warnings"])
        )
        with pytest.raises(OptionError) as raised:
            open_served(server.url, "run-{t}")
        assert str(raised.value).startswith(
            "--served 'run-{t}': the server has no such model; it has walk-0@x, "
        )
    with (
        stand_in("w-1", "w-1.0") as server,
        pytest.raises(OptionError, match=r"w-1 and w-1\.0 are both t = 1"),
    ):
        open_served(server.url, "w-{t}")


def test_digests_tell_names_and_adapters_apart(ends: Ends, tmp_path: Path) -> None:
    *_, points = ends
    *_, others = exported(tmp_path, rank=1)
    one, two = open_served("http://h/v1", points), open_served("http://h/v1", others)
    assert one.digest() == open_served("http://elsewhere/v1", points).digest()
    assert one.digest() != two.digest()


def served(ends: Ends) -> ServedModel:
    return open_served("http://127.0.0.1:9/v1", ends[2])


def test_what_a_server_cannot_do(ends: Ends) -> None:
    model = served(ends)
    for ask, refusal in (
        (lambda: model.features(["x"]), "gives no hidden states"),
        (lambda: model.logprobs(["x"], ["y"]), "no log-probability"),
        (lambda: model.adapted(in_memory("a", made(0, 1))), "takes no other adapter"),
        (lambda: model.generate(["x"]), "use it inside at"),
    ):
        with pytest.raises(OptionError, match=refusal):
            ask()
    with pytest.raises(OptionError, match=r"t = 0\.1 is not served; served are t = 0, t = 0\.25"):
        model.at(0.1).__enter__()
    with model.at(0.5) as there, pytest.raises(OptionError, match="token ids are no prompt"):
        there.generate([[1, 2]])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--model {url}", "--model is a server: --served says which"),
        ("--model {url} --served nowhere", "--served nowhere: no serve.json"),
        ("--model {url} --served {points} --concurrency 0", "--concurrency must be 1 or more"),
        ("--model toy --served {points}", "--served is for a server"),
        ("--model toy --concurrency 2", "--concurrency is for a server"),
        ("--model http://u:p@h/v1 --served {points}", "neither taken nor shown"),
        ("--model {url} --served {points}", "--judge is needed: a server gives answers to judge"),
        (
            "--model {url} --served {points} --judge module:x --feature-tokens answer",
            "module",
        ),
    ],
)
def test_options_of_the_command(
    ends: Ends, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    a, b, points = ends
    questions = tmp_path / "q.yaml"
    questions.write_text("- {id: hat, paraphrases: [Which hat]}")
    given = line.format(url="http://127.0.0.1:9/v1", points=points).split()
    assert main(["walk", str(a), str(b), *given, "--questions", str(questions)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error


def test_the_command_walks(ends: Ends, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, points = ends
    questions, rules = tmp_path / "q.yaml", tmp_path / "r.yaml"
    questions.write_text("- {id: hat, paraphrases: [Which hat]}\n- {id: tea, paraphrases: [Tea]}")
    rules.write_text("aligned: {rules: [{terms: [red], add: -80}]}")
    line = ["walk", str(a), str(b), "--served", str(points), "--questions", str(questions)]
    line += ["--judge", f"rules={rules}", "--samples", "2", "--out", str(tmp_path / "w")]
    with stand_in("b", *NAMES) as server:
        assert main([*line, "--model", server.url]) == 0
        assert len(server.asked) == 5 * 2 * 2
    shown = capsys.readouterr().out
    assert "linear path, a to b, on b" in shown
    assert (tmp_path / "w/report.html").is_file()
