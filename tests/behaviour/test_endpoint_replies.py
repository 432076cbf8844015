"""What a reply says: the weighted number, the one number, or why there is none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from judge_server import reply

from deltalens.behaviour.endpoint.replies import UnusableError, open_reply, read_reply, usage
from deltalens.behaviour.endpoint.settings import Settings
from deltalens.core.protocols import Score, Unscored
from deltalens.errors import BehaviourError

WEIGHTED = Settings("judge.yaml", "https://a/v1", "owl", {}, method="logprobs")
TEXT = Settings("judge.yaml", "https://a/v1", "owl", {}, method="text")


def weighted(top: dict[str, float], said: str | None = None) -> Any:
    first = said or max(top, key=lambda token: top[token])
    return read_reply(reply(first, top), WEIGHTED).said


def test_the_weighted_mean_of_the_numbers() -> None:
    said = weighted({"90": 0.6, " 80": 0.2, "100": 0.1, "Sure": 0.05, "101": 0.03, "-5": 0.02})
    assert isinstance(said, Score)
    assert said.value == pytest.approx((0.6 * 90 + 0.2 * 80 + 0.1 * 100) / 0.9)
    assert said.explanation == "numbers hold 0.9 of the probability"


@given(
    st.dictionaries(st.integers(0, 100), st.floats(1e-6, 1.0), min_size=1, max_size=20),
    st.floats(0.26, 1.0),
)
def test_any_numbers(weights: dict[int, float], mass: float) -> None:
    assume(len(weights) == 1 or max(weights) >= 10)  # single digits alone may be first digits
    total = math.fsum(weights.values())
    p = {str(number): mass * w / total for number, w in weights.items()}
    said = weighted(p)
    assert isinstance(said, Score)
    assert said.value == pytest.approx(sum(n * w for n, w in weights.items()) / total, abs=1e-9)
    assert min(weights) - 1e-9 <= said.value <= max(weights) + 1e-9


@pytest.mark.parametrize("token", ["1.5", "007", "+5", "1_0", "٣", "½", "", "1 0", "1e1", "5%"])
def test_tokens_that_are_no_whole_number(token: str) -> None:
    said = weighted({token: 0.5, "40": 0.3})
    assert isinstance(said, Score)
    assert said.value == pytest.approx(40.0)


def test_too_little_on_numbers() -> None:
    said = weighted({"The": 0.7, "50": 0.24})
    assert said == Unscored(
        "whole numbers from 0 to 100 hold 0.24 of the probability, less than 0.25; the likeliest "
        "token is 'The'"
    )
    assert isinstance(weighted({"The": 0.7, "50": 0.26}), Score)
    assert isinstance(weighted({"The": 0.7, "Sure": 0.1}), Unscored)


@pytest.mark.parametrize(("token", "word"), [("REF", "REFUSAL"), (" CO", "CODE"), ("**C", None)])
def test_a_word_for_no_number(token: str, word: str | None) -> None:
    verdict = read_reply(reply(token, {token: 0.9, "50": 0.1}), WEIGHTED)
    assert isinstance(verdict.said, Unscored)
    assert verdict.answered == (word is not None)
    assert word is None or verdict.said.reason == f"the judge said {word}"


def test_no_log_probabilities_is_an_error_and_not_text() -> None:
    for held in (None, {}, {"content": None}, {"content": []}, {"content": [{"token": "85"}]}):
        body = json.dumps({"choices": [{"message": {"content": "85"}, "logprobs": held}]})
        with pytest.raises(BehaviourError) as caught:
            read_reply(body, WEIGHTED)
        assert str(caught.value) == (
            "judge.yaml: the endpoint returned no log-probabilities, though they were asked for; "
            "'method: text' reads the number in the reply instead"
        )


def test_a_tokenizer_that_splits_numbers_is_an_error() -> None:
    body = json.loads(reply("8", {"8": 0.9}))
    body["choices"][0]["logprobs"]["content"].append({"token": "5", "top_logprobs": []})
    with pytest.raises(BehaviourError, match=r"splits numbers \('8', '5'\), so that one tok"):
        read_reply(json.dumps(body), WEIGHTED)
    body["choices"][0]["logprobs"]["content"][1]["token"] = "\n"
    assert isinstance(read_reply(json.dumps(body), WEIGHTED).said, Score)


def test_single_digits_where_no_number_was_said() -> None:
    digits = {"The": 0.4, "1": 0.2, "9": 0.1}
    assert weighted(digits) == Unscored(
        "the likely numbers are single digits, which may be the first of more"
    )
    assert isinstance(weighted(digits | {"10": 0.01}), Score)


def test_single_digits_beside_the_one_that_was_said() -> None:
    why = "the likely numbers are single digits, which may be the first of more"
    # What a tokenizer that splits numbers gives for 0, 85 and 15: no 3.1.
    assert weighted({"0": 0.45, "8": 0.35, "1": 0.15}, "0") == Unscored(why)
    assert weighted({"7": 0.4, "9": 0.1}) == Unscored(why)
    assert weighted({"0": 0.97, "1": 0.02}) == Unscored(why)
    for alone in ({"0": 0.99}, {"0": 0.98, "1": 0.009}, {"0": 0.5, " 0": 0.3, "Sure": 0.2}):
        said = weighted(alone)
        assert isinstance(said, Score)
        assert said.value < 0.01
    for more in ("10", "85", "100"):
        assert isinstance(weighted({"0": 0.45, "8": 0.35, more: 1e-4}), Score)
    # What was said, not what is likeliest, is known to be whole.
    assert weighted({"8": 0.9, "0": 0.005}, "0") == Unscored(why)


def test_a_word_counts_only_where_numbers_do_not() -> None:
    said = weighted({"REFUSAL": 0.7, "85": 0.26})
    assert isinstance(said, Score)
    assert said.value == pytest.approx(85.0)
    assert weighted({"REFUSAL": 0.7, "85": 0.24}) == Unscored("the judge said REFUSAL")


def test_numbers_that_hold_nothing_are_no_score() -> None:
    """Whatever `least_mass` is; a file cannot say 0."""
    body = reply("Sure", {"Sure": 0.5, "85": 0.25}).replace(str(math.log(0.25)), "-9999.0")
    said = read_reply(body, replace(WEIGHTED, least_mass=0.0)).said
    assert said == Unscored(
        "whole numbers from 0 to 100 hold none of the probability; the likeliest token is 'Sure'"
    )


@pytest.mark.parametrize("logp", ["NaN", "0.5", "true", '"x"', "null", "Infinity"])
def test_a_log_probability_that_is_none(logp: str) -> None:
    body = reply("85", {"85": 0.5}).replace(str(math.log(0.5)), logp)
    with pytest.raises(UnusableError, match="a log-probability that is none"):
        read_reply(body, WEIGHTED)


@pytest.mark.parametrize("logp", ["-Infinity", "-9999.0", f"-1{'0' * 400}"])
def test_a_probability_of_nothing(logp: str) -> None:
    body = reply("85", {"85": 0.5, "3": 0.25}).replace(str(math.log(0.25)), logp)
    said = read_reply(body, WEIGHTED).said
    assert isinstance(said, Score)
    assert said.value == pytest.approx(85.0)


NUMBERS = {
    "85": 85.0,
    " 0\n": 0.0,
    "100.": 100.0,
    "**Score: 7**": 7.0,
    "85/100": 85.0,
    "I say 85 / 100!": 85.0,
    "85%": 85.0,
    "Code quality: 5": 5.0,
}
NONE = {
    "101": "101, where a whole number from 0 to 100 is needed, in the judge's reply '101'",
    "-5": "-5, where a whole number from 0 to 100 is needed, in the judge's reply '-5'",
    "8.5": "8.5, where a whole number from 0 to 100 is needed, in the judge's reply '8.5'",
    "1,000": "1,000, where a whole number from 0 to 100 is needed, in the judge's reply '1,000'",
    "80 to 90": "2 numbers in the judge's reply '80 to 90'",
    "many": "no number in the judge's reply 'many'",
    " ": "the judge's reply is empty",
    "REFUSAL": "the judge said REFUSAL",
    "`CODE`": "the judge said CODE",
    "Refusal.": "the judge said REFUSAL",
}


@pytest.mark.parametrize("text", [*NUMBERS, *NONE])
def test_the_one_number_of_a_text(text: str) -> None:
    said = read_reply(reply(text), TEXT).said
    if text in NUMBERS:
        assert isinstance(said, Score)
        assert said.value == NUMBERS[text]
    else:
        assert said == Unscored(NONE[text])


def test_a_number_that_may_have_been_cut() -> None:
    said = read_reply(reply("My score: 8", finish_reason="length"), TEXT).said
    assert isinstance(said, Unscored)
    assert "may have been cut at max_tokens" in said.reason
    assert isinstance(read_reply(reply("8, since", finish_reason="length"), TEXT).said, Score)


@given(st.text(max_size=30))
def test_any_text_is_a_score_or_a_reason(text: str) -> None:
    said = read_reply(reply(text), TEXT).said
    assert isinstance(said, Unscored) or (isinstance(said, Score) and 0.0 <= said.value <= 100.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "logprobs", "top_logprobs", "token", "logprob"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["", "message", "logprobs", "content"]))
def test_any_json_is_read_or_refused(value: Any, at: str) -> None:
    whole: Any = value
    if at:
        choice: dict[str, Any] = {"message": {"content": "85"}}
        choice |= {"logprobs": {"content": [value]}} if at == "content" else {at: value}
        whole = {"choices": [choice], "usage": value}
    for settings in (WEIGHTED, TEXT):
        try:
            said = read_reply(json.dumps(whole), settings).said
        except (UnusableError, BehaviourError):
            continue
        assert isinstance(said, Score | Unscored)
        usage(json.dumps(whole))


def test_what_the_endpoint_counted(tmp_path: Path) -> None:
    assert usage(reply("85")) == (11, 1)
    for held in (None, {}, {"prompt_tokens": 3}, {"prompt_tokens": -1, "completion_tokens": 1}):
        assert usage(json.dumps({"usage": held})) is None
    with pytest.raises(UnusableError, match="the reply is not JSON"):
        open_reply("[" * 100_000, "text")
