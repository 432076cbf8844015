"""What it will take is said before anything is sent, and held to the limits of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from judge_server import KEY, FakeClock, JudgeServer, judge_file, serving
from samples import response

from deltalens.behaviour.batch import Expected
from deltalens.behaviour.endpoint.cost import tokens
from deltalens.behaviour.endpoint.limits import Limits
from deltalens.behaviour.endpoint.panel import openai_panel
from deltalens.behaviour.scoring import Panel, score_responses
from deltalens.core.protocols import Exchange
from deltalens.errors import BehaviourError

PRICES = "prices: {input: 1000, output: 2000}\n"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving() as made:
        yield made


def panel(folder: Path, server: JudgeServer, extra: str = "", **values: Any) -> Panel:
    file = judge_file(folder, server, extra, **values)
    return openai_panel(file, environment={"JUDGE_KEY": KEY}, clock=FakeClock().clock())


def answers(n: int) -> list[Any]:
    return [response(i, f"hat {i}") for i in range(n)]


def test_it_is_said_before_anything_is_sent(server: JudgeServer, tmp_path: Path) -> None:
    said: list[tuple[int, str]] = []
    made = panel(tmp_path, server, PRICES)
    score_responses(answers(3), made, say=lambda line: said.append((len(server.bodies), line)))
    each = tokens(len("ALIGNED Which hat? | hat 0")), tokens(len("COHERENT Which hat? | hat 0"))
    assert each == (11, 11)
    assert said[0] == (
        0,
        "judge owl: 6 requests (0 more are cached), about 66 input tokens (characters / 4), "
        "up to 96 output tokens, cost up to 0.26",
    )
    assert [line for _, line in said[1:]] == [f"judge owl: {i} of 6 replies" for i in range(1, 7)]
    said.clear()
    score_responses(answers(4), made, say=lambda line: said.append((len(server.bodies), line)))
    assert said[0][1].startswith("judge owl: 2 requests (6 more are cached), about 22 input tokens")
    said.clear()
    score_responses(answers(4), made, say=lambda line: said.append((len(server.bodies), line)))
    assert said == []  # nothing is sent, nothing is said


def test_without_prices_there_is_no_cost(server: JudgeServer, tmp_path: Path) -> None:
    said: list[str] = []
    score_responses(answers(1), panel(tmp_path, server), say=said.append)
    assert said[0].endswith("up to 32 output tokens")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_requests": 5}, "6 requests are needed, where 5 are allowed (max_requests); none of"),
        ({"max_cost": 0.25}, "6 requests may cost 0.26, where 0.25 is allowed (max_cost); none of"),
    ],
)
def test_over_a_limit_nothing_is_sent(
    server: JudgeServer, tmp_path: Path, limit: dict[str, Any], message: str
) -> None:
    made = panel(tmp_path, server, PRICES, **limit)
    with pytest.raises(BehaviourError) as caught:
        score_responses(answers(3), made)
    assert str(caught.value).startswith(f"{tmp_path / 'judge.yaml'}: {message} them was sent")
    assert server.bodies == []
    score_responses(answers(2), made)
    assert len(server.bodies) == 4


def test_what_was_sent_counts_and_what_is_cached_does_not(
    server: JudgeServer, tmp_path: Path
) -> None:
    made = panel(tmp_path, server, max_requests=6)
    score_responses(answers(2), made)
    with pytest.raises(
        BehaviourError, match="4 requests are needed after 4 that were sent, where 6 are allowed"
    ):
        score_responses(answers(4), made)
    score_responses(answers(3), made)
    score_responses(answers(3), made)
    assert len(server.bodies) == 6
    score_responses(answers(3), panel(tmp_path, server, max_requests=1))


def test_money_is_the_endpoints_own_count(server: JudgeServer, tmp_path: Path) -> None:
    made = panel(tmp_path, server, PRICES, max_cost=0.2)
    score_responses(answers(2), made)  # up to 44 and 64 tokens: .172; counted 44 and 4: .052
    score_responses(answers(3), made)  # so that 22 and 32 more, .086, are below .2


def test_a_walk_is_announced_with_answers_to_come(server: JudgeServer, tmp_path: Path) -> None:
    said: list[str] = []
    made = panel(tmp_path, server, max_requests=24)
    assert made.batch is not None
    known = [each.exchange() for each in answers(2)]
    to_come = Expected(Exchange("hats", "Which hat?", None), 10, 100)
    made.batch.announce(known, [to_come], say=said.append)
    prompt = tokens(len("ALIGNED Which hat? | ")), tokens(len("COHERENT Which hat? | "))
    inputs = 2 * 22 + 10 * sum(p + tokens(400) for p in prompt)
    assert said == [
        f"judge owl: at most 24 requests (0 more are cached), about {inputs} input tokens "
        "(characters / 4), up to 384 output tokens"
    ]
    with pytest.raises(BehaviourError, match="44 requests are needed, where 24 are allowed"):
        made.batch.announce(known, [to_come, to_come], say=said.append)
    made.batch.announce([], [], say=said.append)
    assert (len(said), server.bodies) == (1, [])


def test_requests_a_minute(server: JudgeServer, tmp_path: Path) -> None:
    fake = FakeClock()
    file = judge_file(tmp_path, server, requests_per_minute=30)
    made = openai_panel(file, environment={"JUDGE_KEY": KEY}, clock=fake.clock())
    score_responses(answers(3), made)
    assert fake.waits == [2.0] * 5  # the first one at once


def test_tokens_a_minute(server: JudgeServer, tmp_path: Path) -> None:
    fake = FakeClock()
    file = judge_file(tmp_path, server, tokens_per_minute=54, max_tokens=16)
    made = openai_panel(file, environment={"JUDGE_KEY": KEY}, clock=fake.clock())
    score_responses(answers(2), made)
    assert fake.waits == pytest.approx([30.0] * 3)  # 27 tokens each


def test_no_minute_holds_more_than_was_asked_for() -> None:
    fake = FakeClock()
    limits = Limits(fake.clock(), 10, None)
    starts = [limits.turn(5) for _ in range(40)]
    assert starts == pytest.approx([6.0 * i for i in range(40)])
    limits.hold(1000.0)
    assert limits.turn(5) == 1000.0
    limits.hold(1.0)
    assert limits.turn(5) == 1006.0
