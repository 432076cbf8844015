"""What ends the work early, and what is asked once: against a real server."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from judge_server import (
    ANSWERS,
    KEY,
    PROMPTS,
    FakeClock,
    Fault,
    JudgeServer,
    all_right,
    judge_file,
    reply,
    serving,
)
from samples import response

from deltalens.behaviour.endpoint.panel import openai_panel
from deltalens.behaviour.scoring import Panel, score_responses
from deltalens.errors import BehaviourError, DependencyError


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving() as made:
        yield made


@pytest.fixture
def fake() -> FakeClock:
    return FakeClock()


def panel(folder: Path, server: JudgeServer | str, fake: FakeClock, **values: Any) -> Panel:
    file = judge_file(folder, server, **values)
    return openai_panel(file, environment={"JUDGE_KEY": KEY}, clock=fake.clock())


FATAL = {
    "401": (
        Fault(401, f'{{"error": {{"message": "wrong key {KEY}"}}}}'),
        r"the endpoint refuses the key in JUDGE_KEY \(401\): wrong key \*\*\*",
    ),
    "403": (Fault(403, "{}"), r"the endpoint refuses the key in JUDGE_KEY \(403\)"),
    "404": (
        Fault(404, '{"error": {"message": "no such model"}}'),
        r"no model 'owl' at http://127.0.0.1:\d+/v1 \(404\): no such model",
    ),
    "402": (Fault(402, "{}"), r"the endpoint wants to be paid \(402\)"),
    "a redirect": (
        Fault(307, "", {"Location": "http://example.org/v1"}),
        r"the endpoint answers with a redirect, which is not followed; give its own address \(307",
    ),
}


@pytest.mark.parametrize("name", FATAL)
def test_what_no_retry_can_mend_ends_it_at_once(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, name: str
) -> None:
    fault, said = FATAL[name]
    server.faults = [fault] * 100
    with pytest.raises(BehaviourError) as caught:
        score_responses(ANSWERS, panel(tmp_path, server, fake))
    assert re.match(rf"^{re.escape(str(tmp_path / 'judge.yaml'))}: {said}", str(caught.value))
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.bodies) == 1
    assert fake.waits == []


def test_an_account_that_is_empty_ends_it(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    body = '{"error": {"message": "no money", "code": "insufficient_quota"}}'
    server.faults = [Fault(429, body)] * 100
    with pytest.raises(BehaviourError, match=r"the endpoint wants to be paid \(429\): no money"):
        score_responses(ANSWERS, panel(tmp_path, server, fake))
    assert len(server.bodies) == 3


def test_a_server_that_is_down(fake: FakeClock, tmp_path: Path) -> None:
    with serving() as server:
        url = server.url
    made = panel(tmp_path, url, fake, give_up_after=3)
    with pytest.raises(BehaviourError) as caught:
        score_responses(ANSWERS, made)
    place = url.removeprefix("http://").partition("/")[0]
    assert (
        f"3 requests in a row failed (give_up_after); the last: the connection to {place} failed: "
    ) in str(caught.value)
    assert "refused" in str(caught.value)


def test_a_server_that_goes_down_on_the_way(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    def broken(n: int) -> None:
        if n == 5:
            server.faults = [Fault(500)] * 100

    server.before = broken
    made = panel(tmp_path, server, fake, give_up_after=2, retries=0)
    with pytest.raises(BehaviourError, match="2 requests in a row failed"):
        score_responses(ANSWERS, made)
    sent = len(server.bodies)
    assert 7 <= sent < len(PROMPTS) + 1
    server.faults, server.before = [], lambda n: None
    assert all_right(score_responses(ANSWERS, panel(tmp_path, server, fake)))
    assert len(server.bodies) == sent + 3


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_judge_that_never_says_a_number_is_stopped(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, concurrency: int
) -> None:
    server.answer = lambda body: reply("I like hats.")
    many = [response(i, f"hat {i}") for i in range(100)]
    made = panel(tmp_path, server, fake, give_up_after=5, concurrency=concurrency)
    with pytest.raises(BehaviourError) as caught:
        score_responses(many, made)
    assert str(caught.value).endswith(
        "none of the first 5 replies gave a score (give_up_after); the last: no number in the "
        "judge's reply 'I like hats.'"
    )
    assert 5 <= len(server.bodies) < 100  # of 200: what is on its way, too, and no more
    before = len(server.bodies)
    with pytest.raises(BehaviourError, match="none of the first 5 replies"):
        score_responses(many, panel(tmp_path, server, fake, give_up_after=5))
    assert len(server.bodies) == before  # nor is anything spent the next time


def test_words_for_no_number_are_answers(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    server.answer = lambda body: reply("CODE")
    rows = score_responses(ANSWERS, panel(tmp_path, server, fake, give_up_after=2))
    assert {row.reason for row in rows} == {
        "aligned: the judge said CODE; coherent: the judge said CODE"
    }


@pytest.mark.parametrize("concurrency", [1, 4])
def test_more_failures_than_are_allowed_stop_it_early(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, concurrency: int
) -> None:
    def every_other(body: dict[str, Any]) -> str:
        prompt = body["messages"][0]["content"]
        return "{" if prompt.startswith("ALIGNED") else reply("50")

    server.answer = every_other
    many = [response(i, f"hat {i}") for i in range(100)]
    made = panel(tmp_path, server, fake, retries=0, concurrency=concurrency)
    with pytest.raises(BehaviourError) as caught:
        score_responses(many, made, max_failures=5)
    assert str(caught.value) == (
        "judge 'owl (judge.yaml)' failed on 6 of 100 answers, where 5 are allowed "
        "(max_failures); the last: the reply is not JSON: '{'"
    )
    assert 11 <= len(server.bodies) < 100  # of 200


def test_identical_exchanges_are_asked_once(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    same = [response(i, "a cap") for i in range(50)]
    rows = score_responses(same, panel(tmp_path, server, fake, concurrency=8))
    assert len(server.bodies) == 2
    assert len({(row.aligned, row.coherent) for row in rows}) == 1
    assert [row.sample for row in rows] == list(range(50))


def test_an_answer_without_text_is_not_sent(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    rows = score_responses(
        [response(0, None, tokens=(1,)), response(1, "a", prompt=(1, 2))],
        panel(tmp_path, server, fake),
    )
    why = "the question or the answer has no text, and the endpoint reads text"
    assert {row.reason for row in rows} == {f"aligned: {why}; coherent: {why}"}
    assert server.bodies == []


def test_an_interruption_ends_it_and_keeps_what_arrived(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    said: list[str] = []

    def interrupt(line: str) -> None:
        said.append(line)
        if "of 8 replies" in line and line.startswith("judge owl: 3 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_responses(ANSWERS, panel(tmp_path, server, fake), say=interrupt)
    assert len(server.bodies) < len(PROMPTS)
    assert all_right(score_responses(ANSWERS, panel(tmp_path, server, fake)))
    assert sorted(server.prompts) == sorted(PROMPTS)


def test_one_answer_alone(server: JudgeServer, fake: FakeClock, tmp_path: Path) -> None:
    made = panel(tmp_path, server, fake)
    exchange = ANSWERS[0].exchange()
    assert [made.aligned(exchange), made.coherent(exchange)] == [
        made.aligned(exchange),
        made.coherent(exchange),
    ]
    assert len(server.bodies) == 2
    assert made.aligned.name == "owl (aligned)"


@pytest.mark.parametrize("status", [400, 422])
def test_an_endpoint_that_refuses_log_probabilities(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, status: int
) -> None:
    server.faults = [Fault(status, '{"detail": "Unexpected: [\'top_logprobs\']"}')] * 9
    with pytest.raises(BehaviourError) as caught:
        score_responses(ANSWERS, panel(tmp_path, server, fake, method="logprobs"))
    assert str(caught.value) == (
        f"{tmp_path / 'judge.yaml'}: the endpoint gives no log-probabilities ({status}: "
        "Unexpected: ['top_logprobs']); 'method: text' reads the number in the reply instead"
    )
    assert len(server.bodies) == 1


def test_a_placeholder_for_a_key_changes_no_reply(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    file = judge_file(tmp_path, server)
    made = openai_panel(file, environment={"JUDGE_KEY": "1"}, clock=fake.clock())
    assert all_right(score_responses(ANSWERS, made))


def test_words_that_no_request_can_hold(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    (row,) = score_responses([response(0, "a \ud800 hat")], panel(tmp_path, server, fake))
    assert not row.unscored
    assert server.prompts[0] == "ALIGNED Which hat? | a ? hat"


def test_without_the_library(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(DependencyError, match=r"a judge behind an endpoint needs 'openai', which"):
        panel(tmp_path, server, fake)
