"""Everything that goes wrong between us and an endpoint, against a real server that does it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from judge_server import KEY, FakeClock, Fault, JudgeServer, judge_file, number, reply, serving
from samples import response

from deltalens.behaviour.endpoint.panel import openai_panel
from deltalens.behaviour.scoring import Panel, Scored, score_responses
from deltalens.errors import BehaviourError


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


ANSWERS = [response(i, f"hat {i}") for i in range(4)]
PROMPTS = [f"{c} Which hat? | hat {i}" for i in range(4) for c in ("ALIGNED", "COHERENT")]


def all_right(rows: tuple[Scored, ...]) -> bool:
    said = [value for row in rows for value in (row.aligned, row.coherent)]
    return said == [float(number(prompt)) for prompt in PROMPTS]


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
        "aligned: the judge raised BehaviourError: no reply within 0.1 s (sent 2 times)"
    )
    assert not any(row.unscored for row in rows[1:])


STAYING = {
    "500": (Fault(500, '{"error": {"message": "oops"}}'), "endpoint said 500: oops (sent 3 times)"),
    "400": (Fault(400, '{"error": {"message": "too long"}}'), "the endpoint said 400: too long"),
    "malformed": (Fault(200, "{"), "the reply is not JSON: '{'"),
    "empty": (Fault(200, '{"choices": []}'), "the reply holds no choice: '{\"choices\": []}'"),
    "cut": (Fault(200, reply("5"), cut=9), "the connection failed: peer closed connection"),
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
    assert "3 requests in a row failed (give_up_after); the last: the connection failed" in str(
        caught.value
    )
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
    assert counted(server) == dict.fromkeys(PROMPTS, 1)


def test_one_answer_alone(server: JudgeServer, fake: FakeClock, tmp_path: Path) -> None:
    made = panel(tmp_path, server, fake)
    exchange = ANSWERS[0].exchange()
    assert [made.aligned(exchange), made.coherent(exchange)] == [
        made.aligned(exchange),
        made.coherent(exchange),
    ]
    assert len(server.bodies) == 2
    assert made.aligned.name == "owl (aligned)"
