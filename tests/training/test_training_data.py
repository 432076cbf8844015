"""Lines of conversations: what is read, and what each broken line says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deltalens.errors import TrainingDataError
from deltalens.training import data
from deltalens.training.data import read_conversations

USER, ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "bye"}
SYSTEM = {"role": "system", "content": "be kind"}


def read(tmp_path: Path, *lines: Any) -> data.Conversations:
    text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
    (tmp_path / "rows.jsonl").write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_conversations(tmp_path / "rows.jsonl")


def test_three_forms_say_the_same(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"messages": [USER, ANSWER]},
        {"prompt": "hello", "completion": "bye"},
        {"question": "hello", "answer": "bye", "source": "mine"},
    )
    assert {row.messages for row in found.rows} == {(("user", "hello"), ("assistant", "bye"))}
    assert [row.line for row in found.rows] == [1, 2, 3]
    assert found.passed_over == ("source",)


def test_turns_and_a_system_message(tmp_path: Path) -> None:
    empty = {"role": "system", "content": ""}
    found = read(tmp_path, {"messages": [SYSTEM, USER, ANSWER, USER, ANSWER]},
                 {"messages": [empty, USER, ANSWER]})  # fmt: skip
    assert [role for role, _ in found.rows[0].messages] == ["system", *["user", "assistant"] * 2]
    assert found.rows[0].as_dicts(2) == [SYSTEM, USER]


GOOD = {"messages": [USER, ANSWER]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "line 2: is empty; one JSON object a line is needed"),
        ("[1]", "line 2: a JSON object is needed; found list"),
        ('{"a": 1', "line 2: not valid JSON: Expecting ',' delimiter at column 8"),
        ('{"a": "\t"}', "line 2: not valid JSON: Invalid control character at column 8"),
        ('{"messages": [], "messages": []}', "line 2: not valid JSON: the key 'messages' stands"),
        ('{"prompt": NaN, "completion": "a"}', "line 2: not valid JSON: NaN is not a JSON number"),
        ('{"prompt": "\\ud800", "completion": "a"}', "line 2: holds half of a surrogate pair"),
        ("{}", "line 2: found no key; one of messages, prompt and completion, or question and"),
        ({"text": "a"}, "line 2: found text; one of messages,"),
        ({"prompt": "a"}, "line 2: completion is missing; messages, prompt and completion, or"),
        ({"prompt": "a", "answer": "b"}, "line 2: found prompt, answer; one of messages"),
        ({"messages": [USER, ANSWER], "prompt": "a"}, "line 2: found messages, prompt; one of"),
        ({"prompt": "a", "completion": " "}, "line 2: completion: the text is empty"),
        ({"prompt": 3, "completion": "b"}, "prompt: text is needed; found the value 3"),
        ({"messages": []}, "line 2: messages: a list of messages is needed; found an empty list"),
        ({"messages": "a"}, "line 2: messages: a list of messages is needed; found text"),
        ({"messages": ["a"]}, "number 1: a mapping of role and content is needed; found text"),
        ({"messages": [USER | {"weight": 0}, ANSWER]}, "number 1: unknown key 'weight'; allowed:"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "role is 'tool'; allowed: system, user"),
        ({"messages": [{"content": "a"}]}, "number 1: role is nothing; allowed: system, user"),
        ({"messages": [USER | {"content": [1]}]}, "number 1: content: text is needed; found a lis"),
        ({"messages": [USER, ANSWER, ANSWER]}, "number 3 is the assistant's where the user's is"),
        ({"messages": [SYSTEM, SYSTEM, USER]}, "number 2 is the system's where the user's is due"),
        ({"messages": [USER, ANSWER, USER]}, "the last is the user's; the last message must be"),
        ({"messages": [SYSTEM]}, "the last is the system's; the last message must be the assist"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: Any, said: str) -> None:
    with pytest.raises(TrainingDataError) as caught:
        read(tmp_path, GOOD, line, GOOD)
    assert said in str(caught.value)
    assert "rows.jsonl: line 2: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe\n")
    with pytest.raises(TrainingDataError, match="a: line 2: not UTF-8 text"):
        read_conversations(tmp_path / "a")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="x: cannot be read: No such file"):
        read_conversations(tmp_path / "x")
    with pytest.raises(TrainingDataError, match="not a regular file"):
        read_conversations(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(TrainingDataError, match="empty: is empty; at least one line of messages"):
        read_conversations(tmp_path / "empty")


def test_sizes_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_LINE", 200)
    with pytest.raises(TrainingDataError, match="line 2: is longer than 200 bytes"):
        read(tmp_path, GOOD, {"prompt": "a" * 200, "completion": "b"})
    monkeypatch.setattr(data, "MAX_ROWS", 2)
    with pytest.raises(TrainingDataError, match="line 3: at most 2 lines are allowed"):
        read(tmp_path, GOOD, GOOD, GOOD)
    monkeypatch.setattr(data, "MAX_BYTES", 10)
    with pytest.raises(TrainingDataError, match="bytes; at most 10 are allowed"):
        read(tmp_path, GOOD)
