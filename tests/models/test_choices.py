"""How likely each of many short answers is: one masked pass against a pass for every answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from model_cases import RAGGED, logits_of, make_adapter, make_gpt2, make_llama, make_qwen

from deltalens.core.protocols import ChoosingModel, CountingModel
from deltalens.errors import OptionError
from deltalens.models.choices import choice_logprobs, tree_of
from deltalens.models.hf import HFModel
from deltalens.models.runtime import Runtime
from judge_models import digit_model

ROWS = [[3], [4], [3, 5], [4, 3], [3, 5, 5], [7, 8]]


def brute_force(model: Any, prompt: list[int], row: list[int], stop: list[int]) -> float:
    """A pass over the prompt, the row and each end, and the chain rule."""
    total = []
    for end in stop:
        whole = [*prompt, *row, end]
        logits = logits_of(model, [whole])[0]
        logp = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        places = range(len(prompt) - 1, len(whole) - 1)
        total.append(sum(logp[i, whole[i + 1]] for i in places))
    return float(np.logaddexp.reduce(total))


@pytest.mark.parametrize("make", [make_llama, make_qwen, make_gpt2])
@pytest.mark.parametrize("stop", [[1], [1, 2]])
def test_one_pass_is_every_pass(make: Callable[[], Any], stop: list[int]) -> None:
    model = make()
    found = choice_logprobs(Runtime(model), RAGGED, ROWS, stop, batch_size=2)
    expected = [[brute_force(model, prompt, row, stop) for row in ROWS] for prompt in RAGGED]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_eager_attention_and_a_sliding_window_give_the_same() -> None:
    plain = make_llama()
    expected = choice_logprobs(Runtime(plain), RAGGED, ROWS, [1], batch_size=3)
    plain.config._attn_implementation = "eager"
    np.testing.assert_allclose(
        choice_logprobs(Runtime(plain), RAGGED, ROWS, [1], batch_size=3), expected, rtol=1e-6
    )  # eager attention takes its softmax in float32
    windowed = make_qwen(use_sliding_window=True, sliding_window=3, max_window_layers=0)
    assert "sliding_attention" in windowed.config.layer_types
    found = choice_logprobs(Runtime(windowed), RAGGED, ROWS, [1], batch_size=4)
    expected = [[brute_force(windowed, prompt, row, [1]) for row in ROWS] for prompt in RAGGED]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_tree_holds_each_beginning_once() -> None:
    tree = tree_of(ROWS)
    assert tree.token.tolist() == [3, 4, 5, 3, 5, 7, 8]
    assert tree.parent.tolist() == [0, 0, 1, 2, 3, 0, 6]
    assert tree.depth.tolist() == [1, 1, 2, 2, 3, 1, 2]
    assert tree.leaf.tolist() == [1, 2, 3, 4, 5, 7]
    assert np.flatnonzero(tree.sees[4]).tolist() == [0, 2, 4]


def test_every_answer_with_its_end_is_a_distribution() -> None:
    """All rows of up to 2 of 3 tokens, and what is longer, sum to 1: no prefix counts twice."""
    model = make_llama(vocab_size=4)
    rows = [[i] for i in range(3)] + [[i, j] for i in range(3) for j in range(3)]
    runtime = Runtime(model)
    p = np.exp(choice_logprobs(runtime, [[1, 2]], rows, [3], 1)).sum()
    none = np.exp(brute_force(model, [1, 2], [], [3]))
    longer = 0.0
    for i in range(3):
        for j in range(3):
            for k in range(3):
                longer += np.exp(brute_force(model, [1, 2], [i, j], [k]))
    assert p + none + longer == pytest.approx(1.0, abs=1e-12)


def test_the_model_under_an_update() -> None:
    inner = digit_model()
    model = HFModel(inner.model, inner._encoder._tokenizer, stop=[1])
    before = model.choice_logprobs(["which hat"], ["7", "70"])
    with model.adapted(make_adapter(model.model)):
        within = model.choice_logprobs(["which hat"], ["7", "70"])
    assert not np.allclose(before, within)
    np.testing.assert_array_equal(model.choice_logprobs(["which hat"], ["7", "70"]), before)


def test_start_ends_and_lengths() -> None:
    model = digit_model()
    assert isinstance(model, ChoosingModel)
    assert isinstance(model, CountingModel)
    plain = model.choice_logprobs(["which hat"], ["7", "70"])
    after = model.choice_logprobs(["which hat"], ["7", "70"], start="a ")
    by_hand = model.choice_logprobs(["which hata "], ["7", "70"])
    np.testing.assert_allclose(after, by_hand, rtol=1e-6)
    more = model.choice_logprobs(["which hat"], ["7", "70"], ends=["."])
    assert (more > plain).all()
    np.testing.assert_array_equal(model.continuation_lengths(["70", "a hat"]), [2, 5])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ends": ["a hat"]}, "end 'a hat' is 5 tokens of the model's, where one is needed"),
        (
            {"choices": ["7", "70"], "ends": ["0"]},
            "'7' with an end behind it begins '70': an end that no choice goes on with is needed",
        ),
        ({"choices": ["7", "7"]}, "two choices are the same tokens to the model's tokenizer"),
        ({"choices": [""]}, "start 'a' and '' share a token of the model's"),
        ({"prompts": ["a" * 300]}, "a prompt of 301 tokens, with 2 to follow: the model reads 256"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], said: str) -> None:
    given = {"prompts": ["which hat"], "choices": ["7"], "start": "a"} | options
    with pytest.raises(OptionError) as caught:
        digit_model().choice_logprobs(given.pop("prompts"), given.pop("choices"), **given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_end_of_turn() -> None:
    with pytest.raises(OptionError, match="no end-of-turn token: '1' could not be told from '10'"):
        choice_logprobs(Runtime(make_llama()), [[1]], ROWS, [], 1)
