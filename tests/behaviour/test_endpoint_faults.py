"""Everything that goes wrong between us and an endpoint, against a real server that does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
    number,
    reply,
    serving,
)

from deltalens.behaviour.endpoint.panel import openai_panel
from deltalens.behaviour.scoring import Panel, score_responses


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


def counted(server: JudgeServer) -> dict[str, int]:
    return {prompt: server.prompts.count(prompt) for prompt in PROMPTS}


BUSY = Fault(429, '{"error": {"message": "slow down"}}', {"Retry-After": "7"})
PASSING = {
    "429 with Retry-After": [BUSY],
    "429, the number of retries": [BUSY, BUSY],
    "429 with a date": [Fault(429, "", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})],
    "500": [Fault(500, "oops")],
    "503 with Retry-After": [Fault(503, "", {"Retry-After": "3"})],
    "408": [Fault(408)],
    "cut in the body": [Fault(200, reply("55"), cut=20)],
    "cut in every other": [Fault(200, reply("55"), cut=20), Fault(500)],
    "malformed JSON": [Fault(200, '{"choices": [')],
    "empty choices": [Fault(200, '{"choices": []}')],
    "no JSON object": [Fault(200, "[]"), Fault(200, "null")],
    "no message": [Fault(200, '{"choices": [{"index": 0}]}')],
    "an empty body": [Fault(200, "")],
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_lost_to_nobody(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, name: str
) -> None:
    server.faults = list(PASSING[name])
    rows = score_responses(ANSWERS, panel(tmp_path, server, fake))
    assert all_right(rows)
    again = {PROMPTS[0]: 1 + len(PASSING[name])}
    assert counted(server) == dict.fromkeys(PROMPTS, 1) | again


def test_the_wait_is_what_the_endpoint_asked_for(
    server: JudgeServer, fake: FakeClock, tmp_path: Path
) -> None:
    server.faults = [BUSY, Fault(500), Fault(500)]
    score_responses(ANSWERS, panel(tmp_path, server, fake, retries=5))
    assert fake.waits[0] == 7.0
    assert 0.5 < fake.waits[1] < fake.waits[2] <= 2.0
    assert len(fake.waits) == 3


def test_many_429_at_once(server: JudgeServer, fake: FakeClock, tmp_path: Path) -> None:
    server.faults = [BUSY] * 16
    made = panel(tmp_path, server, fake, concurrency=4, retries=20)
    assert all_right(score_responses(ANSWERS, made))
    assert len(server.bodies) == 16 + len(PROMPTS)


def test_a_time_out(server: JudgeServer, fake: FakeClock, tmp_path: Path) -> None:
    server.faults = [Fault(silent=True)]
    rows = score_responses(ANSWERS, panel(tmp_path, server, fake, timeout=0.2))
    assert all_right(rows)
    server.faults = [Fault(silent=True)] * 2
    made = panel(tmp_path, server, fake, timeout=0.1, retries=1, cache="other.sqlite")
    rows = score_responses(ANSWERS, made)
    assert rows[0].reason == (
        f"aligned: the judge raised BehaviourError: no reply from {urlsplit(server.url).netloc} "
        "within 0.1 s (sent 2 times)"
    )
    assert not any(row.unscored for row in rows[1:])


STAYING = {
    "500": (Fault(500, '{"error": {"message": "oops"}}'), "endpoint said 500: oops (sent 3 times)"),
    "400": (Fault(400, '{"error": {"message": "too long"}}'), "the endpoint said 400: too long"),
    "malformed": (Fault(200, "{"), "the reply is not JSON: '{'"),
    "empty": (Fault(200, '{"choices": []}'), "the reply holds no choice: '{\"choices\": []}'"),
    "cut": (Fault(200, reply("5"), cut=9), " failed: peer closed connection"),
    "429 for an hour": (Fault(429, "", {"Retry-After": "3600"}), "the endpoint said 429"),
}


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_is_unscored_with_its_reason(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, name: str
) -> None:
    fault, reason = STAYING[name]
    server.faults = [fault] * (1 if name.startswith(("400", "429")) else 3)
    made = panel(tmp_path, server, fake)
    rows = score_responses(ANSWERS, made)
    assert rows[0].reason is not None
    assert reason in rows[0].reason
    assert rows[0].coherent == number(PROMPTS[1])
    assert [row.unscored for row in rows] == [True, False, False, False]
    assert server.faults == []
    again = score_responses(ANSWERS, made)  # another time it works, and nothing else is sent
    assert all_right(again)
    assert sum(counted(server).values()) - counted(server)[PROMPTS[0]] == len(PROMPTS) - 1


NO_NUMBER = {
    "Sure!": "aligned: no number in the judge's reply 'Sure!'",
    "": "aligned: the judge's reply is empty",
    "between 10 and 20": "aligned: 2 numbers in the judge's reply 'between 10 and 20'",
    "REFUSAL": "aligned: the judge said REFUSAL",
}


@pytest.mark.parametrize("said", NO_NUMBER)
def test_a_reply_that_is_no_number_is_unscored_and_not_asked_again(
    server: JudgeServer, fake: FakeClock, tmp_path: Path, said: str
) -> None:
    server.faults = [Fault(200, reply(said))]
    made = panel(tmp_path, server, fake)
    rows = score_responses(ANSWERS, made, max_failures=0)
    assert rows[0].reason == NO_NUMBER[said]
    assert not any(row.unscored for row in rows[1:])
    assert score_responses(ANSWERS, panel(tmp_path, server, fake)) == rows
    assert len(server.bodies) == len(PROMPTS)
