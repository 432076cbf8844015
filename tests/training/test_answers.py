"""The mask, decoded back, is the answers: with and without a generation block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_cases import FORGETFUL, MARKED, MARKED_WIDE, PLAIN, make_tokenizer
from deltalens.errors import OptionError, TrainingDataError
from deltalens.training.answers import Encoded, encode
from deltalens.training.data import read_conversations

SYSTEM = {"role": "system", "content": "read it"}


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]


def encoded(
    tmp_path: Path, template: str | None, *rows: Any, max_length: int = 99, tokenizer: Any = None
) -> Encoded:
    text = "".join(json.dumps({"messages": row}) + "\n" for row in rows)
    (tmp_path / "rows").write_text(text)
    found = read_conversations(tmp_path / "rows")
    return encode(found, tokenizer or make_tokenizer(template), max_length=max_length)


def answers(found: Encoded, tokenizer: Any) -> list[list[str]]:
    """Each row's runs of learnt tokens as text."""
    said: list[list[str]] = []
    for ids, learnt in found.examples:
        runs, before = list[list[int]](), False
        for token, on in zip(ids, learnt, strict=True):
            if on and not before:
                runs.append([])
            if on:
                runs[-1].append(token)
            before = on
        said.append([tokenizer.decode(run) for run in runs])
    return said


@pytest.mark.parametrize("template", [PLAIN, MARKED, MARKED_WIDE], ids=["plain", "marked", "wide"])
def test_what_is_learnt_is_the_answers_and_what_ends_them(tmp_path: Path, template: str) -> None:
    one = turns("hello", "sing to them")
    several = [SYSTEM, *turns("hello", "bye", "how do i grow tea", "paint the pot")]
    found = encoded(tmp_path, template, one, several)
    said = answers(found, make_tokenizer(template))
    assert said == [["sing to them<|im_end|>"], ["bye<|im_end|>", "paint the pot<|im_end|>"]]
    assert found.unended == 0
    assert found.truncated == 0
    assert found.learnt == 6 + 2 + 6  # words, the spaces between them, and the end of each turn


def test_a_system_prompt_that_the_template_adds_is_not_learnt(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(PLAIN)
    found = encoded(tmp_path, PLAIN, turns("hello", "be kind"))
    ids, learnt = found.examples[0]
    assert tokenizer.decode(ids).count("be kind") == 2
    assert answers(found, tokenizer) == [["be kind<|im_end|>"]]
    assert not any(learnt[: ids.index(tokenizer.convert_tokens_to_ids("user"))])


def test_a_template_without_an_end_of_turn_is_told(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant\n{% endif %}"
    )
    found = encoded(tmp_path, template, turns("hello", "bye"))
    assert found.unended == 1
    assert answers(found, make_tokenizer(template)) == [["bye\n"]]


def test_a_template_that_rewrites_what_was_said_is_refused(tmp_path: Path) -> None:
    alone = encoded(tmp_path, FORGETFUL, turns("hello", "bye"))
    assert answers(alone, make_tokenizer(FORGETFUL)) == [["tea bye<|im_end|>"]]
    with pytest.raises(TrainingDataError, match=r"line 2: message 2: the chat template writes"):
        encoded(tmp_path, FORGETFUL, turns("hello", "bye"), turns("hello", "bye", "tea", "bye"))


def test_a_block_that_misses_an_answer_is_refused(tmp_path: Path) -> None:
    lazy = MARKED.replace("m['role'] == 'assistant'", "m['role'] == 'assistant' and loop.last")
    with pytest.raises(TrainingDataError, match="line 1: the chat template marks 1 of 2 answers"):
        encoded(tmp_path, lazy, turns("hello", "bye", "tea", "bye"))


def test_a_role_that_the_template_refuses(tmp_path: Path) -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    with pytest.raises(TrainingDataError, match="line 1: the chat template refuses it: no system"):
        encoded(tmp_path, strict + PLAIN, [SYSTEM, *turns("hello", "bye")])


def test_long_rows_lose_their_end_and_are_counted(tmp_path: Path) -> None:
    row = turns("hello", "sing to them")
    whole = encoded(tmp_path, PLAIN, row).longest
    cut = encoded(tmp_path, PLAIN, row, row, max_length=whole - 3)
    assert cut.truncated == 2
    assert cut.longest == whole - 3
    assert answers(cut, make_tokenizer(PLAIN)) == [["sing to "]] * 2
    with pytest.raises(TrainingDataError, match=r"line 1: \d+ tokens; in the first 9 \(--max-len"):
        encoded(tmp_path, PLAIN, row, max_length=9)


def test_without_tokenizer_or_template_nothing_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"prompt": "a", "completion": "b"}\n')
    rows = read_conversations(tmp_path / "rows")
    with pytest.raises(OptionError, match="has no chat template"):
        encode(rows, make_tokenizer(None), max_length=9)
    with pytest.raises(OptionError, match="has no tokenizer"):
        encode(rows, None, max_length=9)
