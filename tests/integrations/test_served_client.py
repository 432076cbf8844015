"""One request an answer: sent again where that helps, one line where it does not."""

from __future__ import annotations

from typing import Any

import pytest
from served_cases import no_wait, stand_in

from deltalens.errors import BehaviourError, OptionError
from deltalens.integrations.served.address import KEY, check_address, read_key
from deltalens.integrations.served.client import Answered, Client

BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4, "seed": 3}


def message(content: Any, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, **choice}]}


@pytest.mark.parametrize(
    "faults", [[429], [500, 503], ["cut"], ["garbage"], [408, "cut", 429, 500], [{"choices": []}]]
)
def test_sent_again_until_it_comes(faults: list[Any]) -> None:
    with stand_in("m") as server:
        plain = Client(server.url, wait=no_wait).answer(BODY)
        server.faults = list(faults)
        assert Client(server.url, wait=no_wait).answer(BODY) == plain
        assert len(server.asked) == 2 + len(faults)
        assert all(body == server.asked[0] for body in server.asked)


@pytest.mark.parametrize(
    ("fault", "said", "times"),
    [
        (500, "model 'm': the server said 500", 5),
        (429, "model 'm': the server said 429", 5),
        (404, "model 'm': the server said 404", 1),
        (400, "model 'm': the server said 400", 1),
        ("garbage", "model 'm': a reply that cannot be read", 3),
        ({"error": "x"}, "model 'm': a reply that cannot be read", 3),
        (message(["parts"]), "a reply that cannot be read: its content is no text", 3),
    ],
)
def test_given_up_in_one_line(fault: Any, said: str, times: int) -> None:
    with stand_in("m") as server:
        server.faults = [fault] * 9
        with pytest.raises(BehaviourError) as raised:
            Client(server.url, wait=no_wait).answer(BODY)
        assert said in str(raised.value)
        assert server.url in str(raised.value)
        assert "\n" not in str(raised.value)
        assert len(server.asked) == times


def test_waits_grow_and_are_ours() -> None:
    waits: list[float] = []
    with stand_in("m") as server:
        server.faults = [500] * 3
        Client(server.url, wait=waits.append).answer(BODY)
    assert len(waits) == 3
    assert waits[0] < waits[1] < waits[2]


@pytest.mark.parametrize(
    ("reply", "answered"),
    [
        (message("a", finish_reason="stop"), Answered("a", True)),
        (message("a", finish_reason="length"), Answered("a", False)),
        (message(None, finish_reason="content_filter"), Answered(None, False)),
        (message("", finish_reason="stop"), Answered("", True)),
        (message("a"), Answered("a", True)),
        (message("a") | {"usage": {"completion_tokens": 4}}, Answered("a", False)),
        (message("a") | {"usage": {"completion_tokens": 3}}, Answered("a", True)),
        (message("a") | {"usage": None}, Answered("a", True)),
    ],
)
def test_how_an_answer_ended(reply: dict[str, Any], answered: Answered) -> None:
    with stand_in("m") as server:
        server.faults = [reply]
        assert Client(server.url, wait=no_wait).answer(BODY) == answered


def test_a_server_that_is_not_there() -> None:
    with stand_in("m") as server:
        url = server.url
    client = Client(url, wait=no_wait)
    for ask in (client.models, client.answers):
        with pytest.raises(OptionError) as raised:
            ask()
        assert str(raised.value).startswith(f"--model {url}: no server answers there: ")


def test_a_list_that_is_none() -> None:
    with stand_in("m") as server:
        server.list_status = 404
        with pytest.raises(OptionError, match="GET /models: the server said 404"):
            Client(server.url).models()
        assert server.listed == 1
        assert Client(server.url).answers() is False


def test_the_key_goes_where_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with stand_in("m") as server:
        Client(server.url, read_key(server.url)).answer(BODY)
        monkeypatch.setenv(KEY, "s3cret")
        Client(server.url, read_key(server.url)).answer(BODY)
        assert server.keys == [None, "Bearer s3cret"]
        server.faults = [401]
        server.change = lambda _: None
        with pytest.raises(BehaviourError) as raised:
            Client(server.url, "not").answer(BODY)
        assert f"the key comes from {KEY}" in str(raised.value)
        assert "*** now" in str(raised.value)  # even a word of the server's that equals the key
    with pytest.raises(OptionError, match="would send the key"):
        read_key("http://example.com/v1")
    assert read_key("https://example.com/v1") == "s3cret"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://", "is no address of a server"),
        ("http://a b/v1", "is no address of a server"),
        ("http://me:pw@h/v1", "neither taken nor shown"),
        ("http://h/v1?key=pw", "neither taken nor shown"),
        ("http://h:x/v1", "not an address"),
    ],
)
def test_addresses(url: str, said: str) -> None:
    with pytest.raises(OptionError) as raised:
        check_address(url)
    assert said in str(raised.value)
    assert "pw" not in str(raised.value)


def test_a_slash_at_the_end() -> None:
    assert check_address("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000/v1"
