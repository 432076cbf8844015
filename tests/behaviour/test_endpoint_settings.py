"""The file of an endpoint judge: what may stand in it, and one line for what may not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from judge_server import KEY, judge_file

from deltalens.behaviour.endpoint.address import is_loopback, read_key
from deltalens.behaviour.endpoint.rubrics import check_rubric, default_rubrics, fill
from deltalens.behaviour.endpoint.settings import read_settings
from deltalens.behaviour.judges import judge_by_name
from deltalens.core.protocols import Exchange
from deltalens.errors import BehaviourError

HTTPS = "https://judge.example/v1"


def said(file: Path) -> str:
    with pytest.raises(BehaviourError) as caught:
        read_settings(file)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    where, message = str(caught.value).split(": ", 1)
    assert where == str(file)
    return message


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "judge.yaml"
    file.write_text(f"base_url: {HTTPS}/\nmodel: owl\n")
    settings = read_settings(file)
    assert (settings.base_url, settings.model, settings.method) == (HTTPS, "owl", "logprobs")
    assert (settings.key_env, settings.temperature) == ("OPENAI_API_KEY", 0.0)
    assert (settings.max_tokens, settings.top_logprobs) == (2, 20)
    assert settings.rubrics == default_rubrics()
    file.write_text(f"base_url: {HTTPS}\nmodel: owl\nmethod: text\n")
    assert read_settings(file).max_tokens == 16


def test_every_key(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "max_tokens": 3,
        "temperature": 0.5,
        "top_logprobs": 5,
        "least_mass": 0.5,
        "concurrency": 2,
        "requests_per_minute": 60,
        "tokens_per_minute": 1000,
        "timeout": 5,
        "retries": 0,
        "give_up_after": 3,
        "max_requests": 7,
        "max_cost": 1.5,
    }
    more = "prices: {input: 2.5, output: 10}\nextra: {seed: 0}\n"
    settings = read_settings(judge_file(tmp_path, HTTPS, more, **given))
    assert {name: getattr(settings, name) for name in given} == given
    assert (settings.prices, settings.extra) == ((2.5, 10.0), {"seed": 0})
    assert settings.cache == tmp_path / "replies.sqlite"


WRONG = {
    "api_key: x": "'api_key' has no place in a file; an environment variable holds the key, and "
    "'key_env: NAME' names it",
    "Authorization: x": "'Authorization' has no place in a file; an environment variable holds",
    "extra: {api_key: x}": "extra: 'api_key' has no place in a file",
    "extra: {n: 3}": "extra: 'n' is set by deltalens, not here",
    "extra: {seed: .nan}": "extra: a number that is not finite cannot be sent",
    "extra: [1]": "extra: a mapping is needed; found a list",
    "retry: 3": "unknown key 'retry'; did you mean 'retries'? allowed: base_url, model, key_env",
    "max_cost: 3": "max_cost needs prices (input and output, per million)",
    "prices: {input: 1}": "prices: output: a number of 0 or more is needed; found nothing",
    "prices: {inputs: 1}": "prices: unknown key 'inputs'; did you mean 'input'? allowed: ",
    "requests_per_minute: 0": "requests_per_minute: a whole number of 1 or more is needed; found",
    "least_mass: 0": "least_mass: a number from 0.001 to 1 is needed; found the number 0",
    "top_logprobs: 21": "top_logprobs: a number from 1 to 20 is needed; found the number 21",
    "give_up_after: 2.5": "give_up_after: a whole number is needed; found 2.5",
    "max_requests: many": "max_requests: a whole number of 1 or more is needed; found text",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_line_that_is_wrong(tmp_path: Path, line: str) -> None:
    assert said(judge_file(tmp_path, HTTPS, line + "\n")).startswith(WRONG[line])


VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "one token": (
        {"method": "logprobs", "max_tokens": 1},
        "max_tokens: 2 or more is needed with method logprobs: the second token tells whether",
    ),
    "method": ({"method": "logprob"}, "method: unknown 'logprob'; did you mean 'logprobs'? allow"),
    "model": ({"model": ""}, "model: the text is empty"),
    "key": ({"key_env": KEY}, "key_env: the NAME of an environment variable is needed (capitals"),
    "no http": ({"base_url": "ftp://a/v1"}, "base_url: 'ftp://a/v1' is no address of an endpoint"),
    "no host": ({"base_url": "https:///v1"}, "base_url: 'https:///v1' is no address of an"),
    "a path": ({"base_url": "judge/v1"}, "base_url: 'judge/v1' is no address of an endpoint; one"),
    "port": ({"base_url": "http://a:b"}, "base_url: not an address; http:// or https:// is needed"),
    "label": ({"base_url": "https://a..b/v1"}, "base_url: not an address; http:// or https:// is"),
    "user": ({"base_url": f"https://me:{KEY}@a/v1"}, "base_url: an address with a user, a passw"),
    "query": ({"base_url": f"https://a/v1?k={KEY}"}, "base_url: an address with a user, a passw"),
    "open": (
        {"base_url": "http://judge.example/v1"},
        "base_url: http would send the key in JUDGE_KEY unencrypted to judge.example; https is "
        "needed, or 'key_env: null' for no key",
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_is_wrong(tmp_path: Path, name: str) -> None:
    values, message = VALUES[name]
    assert said(judge_file(tmp_path, HTTPS, **values)).startswith(message)


def test_what_is_missing_and_what_is_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "judge.yaml"
    file.write_text("model: owl\n")
    assert said(file) == "base_url is missing, and is needed"
    file.write_text(f"base_url: {HTTPS}\n")
    assert said(file) == "model is missing, and is needed"
    file.write_text("- owl\n")
    assert said(file).startswith("a mapping of base_url, model, key_env")


def test_http_without_a_key_and_on_this_machine(tmp_path: Path) -> None:
    open_host = judge_file(tmp_path, "http://judge.example/v1", key_env=None)
    assert read_settings(open_host).key_env is None
    for url in ("http://localhost:8000/v1", "http://127.0.0.2/v1", "http://[::1]:1/v1"):
        assert read_settings(judge_file(tmp_path, url)).key_env == "JUDGE_KEY"
        assert is_loopback(url)
    assert not is_loopback("http://localhost.example/v1")
    assert not is_loopback("http://10.0.0.1/v1")


def test_a_key_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = judge_file(tmp_path, HTTPS)
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    missing = re.escape(f"{file}: the environment variable JUDGE_KEY is not set; it holds the")
    for value in (None, "", "  "):
        if value is not None:
            monkeypatch.setenv("JUDGE_KEY", value)
        with pytest.raises(BehaviourError, match=f"^{missing}"):
            judge_by_name("openai", file=file)
    monkeypatch.setenv("JUDGE_KEY", "two words")
    with pytest.raises(
        BehaviourError, match="JUDGE_KEY holds characters that no key has"
    ) as caught:
        judge_by_name("openai", file=file)
    assert "two" not in str(caught.value)
    assert read_key("A", "file", {"A": f"{KEY}\n"}) == KEY
    assert read_key(None, "file", {}) == ""


RUBRICS = {
    "{question}": "the judge would not see {answer}, which is needed",
    "{answer}": "the judge would not see {question}, which is needed",
    "{question} {answr}": "unknown field {answr}; did you mean 'answer'? allowed: question, "
    "answer, system (a brace that is meant is doubled)",
    " ": "the text is empty",
}


@pytest.mark.parametrize("rubric", RUBRICS)
def test_a_rubric_that_is_wrong(rubric: str) -> None:
    with pytest.raises(BehaviourError) as caught:
        check_rubric(rubric, "aligned")
    assert str(caught.value) == f"aligned: {RUBRICS[rubric]}"


def test_filling_is_one_pass() -> None:
    template = check_rubric('{{"q": {question}, {answer}}} { } {system}|', "x")
    prompt = [
        {"role": "system", "content": "Be {brief}."},
        {"role": "user", "content": "{answer}?"},
    ]
    exchange = Exchange("hats", prompt, "{question} {{")
    assert fill(template, exchange) == '{"q": {answer}?, {question} {{} { } Be {brief}.|'
    assert fill("{question}|{answer}{system}", Exchange("a", "Why?", "So.")) == "Why?|So."
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert fill("{question}|{answer}", Exchange("a", turns, "c")) == "user: a\nassistant: b|c"
    assert fill("{question}{answer}", Exchange("a", (1, 2), "c")) is None
    assert fill("{question}{answer}", Exchange("a", "b", None)) is None


def test_the_rubrics_that_ship_are_whole() -> None:
    for name, rubric in default_rubrics().items():
        filled = fill(rubric, Exchange("hats", "Which hat?", "A wide one."))
        assert filled is not None, name
        assert "Question: Which hat?" in filled
        assert "from 0 to 100" in filled
        assert "{" not in filled
