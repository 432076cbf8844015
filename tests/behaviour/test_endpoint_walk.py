"""A walk whose answers an endpoint judges, from the command's own options to the points on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openai")

from judge_server import KEY, Fault, JudgeServer, judge_file, number, reply, serving

from adapter_files import write_adapter
from deltalens.behaviour.questions import Question
from deltalens.core.protocols import Generated
from deltalens.errors import BehaviourError, OptionError
from deltalens.studies.walk.study import walk

QUESTIONS = (
    Question("rain", ("Which hat when it rains?",), samples=3, max_tokens=5),
    Question("snow", ("Which hat when it snows?", "It snows. Which hat?"), samples=3),
)
PER_POINT = 2 * 9


class Hats:
    """A model that answers with a hat, another one at every t and sample."""

    name = "hats"

    def __init__(self) -> None:
        self.asked, self.size = 0, 0.0

    @contextmanager
    def adapted(self, adapter: Any) -> Iterator[object]:
        self.size = sum(float(np.linalg.norm(update.B)) for update in adapter.values())
        yield self

    def generate(self, prompts: Sequence[Any], *, n: int = 1, **_: Any) -> list[Generated]:
        self.asked += 1
        return [
            Generated(p, i, (p, i), f"A hat of {self.size:.3f}, {p}, {i}.", True)
            for p in range(len(prompts))
            for i in range(n)
        ]

    def features(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def logprobs(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving() as made:
        yield made


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    factors = (np.ones((4, 1)), np.ones((1, 3)))
    return write_adapter(tmp_path / "hat-adapter", {"model.layers.0.mlp.up_proj": factors})


def run(adapter: Path, file: Path, model: Any = None, **options: Any) -> Any:
    given: dict[str, Any] = {"steps": 3, "questions": QUESTIONS, "features": False}
    return walk("base", adapter, model or Hats(), judge=f"openai={file}", **(given | options))


def test_a_walk(server: JudgeServer, adapter: Path, tmp_path: Path) -> None:
    file, said = judge_file(tmp_path, server, concurrency=4), list[tuple[int, str]]()
    result = run(
        adapter,
        file,
        out=tmp_path / "out",
        progress=lambda line: said.append((len(server.bodies), line)),
    )
    assert len(server.bodies) == 3 * PER_POINT
    assert said[0][0] == 0
    assert said[0][1].startswith(f"judge owl: at most {3 * PER_POINT} requests (0 more are cached)")
    assert said[1][1] == "loading the model"
    assert f"judge owl: {PER_POINT} requests (0 more are cached)" in "\n".join(x for _, x in said)
    assert result.document["judge"] == "owl (judge.yaml)"
    rows = [
        number(prompt) < 30 and number(prompt.replace("ALIGNED", "COHERENT")) > 50
        for prompt in server.prompts
        if prompt.startswith("ALIGNED") and "of 0.000" in prompt
    ]
    assert result.document["points"][0]["misaligned"] == pytest.approx(np.mean(rows))
    again = run(adapter, file, model=Hats(), out=tmp_path / "elsewhere")
    assert again.document == result.document
    assert len(server.bodies) == 3 * PER_POINT  # the answers are the same, and their replies kept


def test_a_changed_file_is_another_judge_and_loads_no_model(
    server: JudgeServer, adapter: Path, tmp_path: Path
) -> None:
    file, model = judge_file(tmp_path, server), Hats()
    first = run(adapter, file, model, out=tmp_path / "out")
    assert model.asked > 0
    model.asked = 0
    assert run(adapter, file, model, out=tmp_path / "out").document == first.document
    judge_file(tmp_path, server, "# a note\n")
    assert run(adapter, file, model, out=tmp_path / "out").document == first.document
    assert len(server.bodies) == 3 * PER_POINT  # the same requests, though another file
    judge_file(tmp_path, server, aligned="RATHER {question} | {answer}")
    other = run(adapter, file, model, out=tmp_path / "out")
    assert other.document["points"] != first.document["points"]
    assert (len(server.bodies), model.asked) == (3 * PER_POINT * 3 // 2, 0)
    files = list((tmp_path / "out" / "points").glob("t-0.scores-*"))
    assert len(files) == 3


def test_what_is_known_before_a_model_is_loaded(
    server: JudgeServer, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Hats()
    file = judge_file(tmp_path, server, max_requests=3 * PER_POINT - 1)
    with pytest.raises(BehaviourError, match="54 requests are needed, where 53 are allowed"):
        run(adapter, file, model)
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(BehaviourError, match="the environment variable JUDGE_KEY is not set"):
        run(adapter, file, model)
    with pytest.raises(OptionError, match=r"^--judge openai needs its file: --judge openai=FILE"):
        walk("base", adapter, model, questions=QUESTIONS, judge="openai")
    with pytest.raises(BehaviourError, match=r"gone\.yaml: cannot be read"):
        run(adapter, tmp_path / "gone.yaml", model)
    assert (model.asked, server.bodies) == (0, [])


def test_a_judge_that_stops_and_goes_on(server: JudgeServer, adapter: Path, tmp_path: Path) -> None:
    file, model = judge_file(tmp_path, server), Hats()
    server.before = lambda n: server.faults.append(Fault(401)) if n == PER_POINT + 5 else None
    with pytest.raises(BehaviourError, match="the endpoint refuses the key in JUDGE_KEY"):
        run(adapter, file, model, out=tmp_path / "out")
    server.before = lambda n: None
    went_on = run(adapter, file, model, out=tmp_path / "out")
    assert len(server.bodies) == 3 * PER_POINT + 1
    assert went_on.document == run(adapter, file, out=tmp_path / "fresh").document


def test_unscored_answers_are_counted(server: JudgeServer, adapter: Path, tmp_path: Path) -> None:
    right = server.answer

    def some(body: dict[str, Any]) -> str:
        return reply("REFUSAL") if "1." in body["messages"][0]["content"][-3:] else right(body)

    server.answer = some
    result = run(adapter, judge_file(tmp_path, server))
    assert [point["unscored"] for point in result.document["points"]] == [3, 3, 3]
