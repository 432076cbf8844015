"""Conversations from a JSONL file: one JSON object a line, read strictly.

Three forms of a line, and the first is what the other two are short for:

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"prompt": "...", "completion": "..."}
    {"question": "...", "answer": "..."}

Other keys of a line belong to somebody's bookkeeping: they are passed over and named. Inside a
message they could change what is learnt (`weight`), so there they are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deltalens.core.text import shown
from deltalens.errors import TrainingDataError
from deltalens.io.strict_json import parse_object, require_regular_file

MAX_BYTES: Final = 4 * 2**30
MAX_LINE: Final = 4 * 2**20
MAX_ROWS: Final = 2_000_000
ROLES: Final = ("system", "user", "assistant")
_PAIRS: Final = (("prompt", "completion"), ("question", "answer"))
_FORMS: Final = "messages, prompt and completion, or question and answer"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One line.

    Attributes:
        line: its number in the file, from 1.
        messages: `(role, content)`: an optional system message, then user and assistant in turn,
            the last one the assistant's.
    """

    line: int
    messages: tuple[tuple[str, str], ...]

    def as_dicts(self, n: int | None = None) -> list[dict[str, str]]:
        """The first n messages, as chat templates take them."""
        return [{"role": role, "content": text} for role, text in self.messages[:n]]


@dataclass(frozen=True, slots=True)
class Conversations:
    """A file.

    Attributes:
        path: where it is.
        rows: its lines, in order; at least one.
        passed_over: keys of lines that were not read.
    """

    path: Path
    rows: tuple[Conversation, ...]
    passed_over: tuple[str, ...] = ()


def read_conversations(path: str | Path) -> Conversations:
    """Every line of a file.

    Raises:
        TrainingDataError: naming the file, the line, what was found and what is allowed.
    """
    path = Path(path)
    rows: list[Conversation] = []
    others: set[str] = set()
    for number, data in _lines(path):
        where = f"{shown(path)}: line {number}"
        if not data.strip():
            raise TrainingDataError(f"{where}: is empty; one JSON object a line is needed")
        row = parse_object(data.rstrip(b"\r\n"), _failing(where), of_a_line=True)
        messages, known = _messages(row, where)
        others.update(set(row) - set(known))
        rows.append(Conversation(number, messages))
    if not rows:
        raise TrainingDataError(f"{shown(path)}: is empty; at least one line of {_FORMS} is needed")
    return Conversations(path, tuple(rows), tuple(sorted(others)))


def _failing(where: str) -> Callable[[str], TrainingDataError]:
    def fail(why: str) -> TrainingDataError:
        return TrainingDataError(f"{where}: {why}")

    return fail


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    size = require_regular_file(path, TrainingDataError)
    if size > MAX_BYTES:
        raise TrainingDataError(f"{shown(path)}: {size} bytes; at most {MAX_BYTES} are allowed")
    try:
        with path.open("rb") as file:
            number = 0
            while data := file.readline(MAX_LINE + 1):
                number += 1
                where = f"{shown(path)}: line {number}"
                if len(data) > MAX_LINE:
                    raise TrainingDataError(
                        f"{where}: is longer than {MAX_LINE} bytes, which is the most allowed"
                    )
                if number > MAX_ROWS:
                    raise TrainingDataError(f"{where}: at most {MAX_ROWS} lines are allowed")
                yield number, data
    except OSError as error:
        raise TrainingDataError(f"{shown(path)}: cannot be read: {error.strerror}") from None


def _messages(
    row: Mapping[str, Any], where: str
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The messages of a line, and the keys that they came from."""
    pairs = [pair for pair in _PAIRS if row.keys() & set(pair)]
    if ("messages" in row) + len(pairs) != 1:
        found = ", ".join(shown(key, 40) for key in row) or "no key"
        raise TrainingDataError(f"{where}: found {shown(found)}; one of {_FORMS} is needed")
    if not pairs:
        return _chat(row["messages"], f"{where}: messages"), ("messages",)
    ask, answer = pairs[0]
    for key in pairs[0]:
        if key not in row:
            raise TrainingDataError(f"{where}: {key} is missing; {_FORMS} is needed")
    user, assistant = (_text(row[key], f"{where}: {key}") for key in (ask, answer))
    return (("user", user), ("assistant", assistant)), pairs[0]


def _chat(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise TrainingDataError(f"{where}: a list of messages is needed; found {_kind(value)}")
    items: list[Any] = value
    messages = tuple(_message(item, f"{where}: number {i}") for i, item in enumerate(items, 1))
    turns = messages[1:] if messages[0][0] == "system" else messages
    for i, (role, _) in enumerate(turns):
        wanted = ROLES[1 + i % 2]
        if role != wanted:
            at = len(messages) - len(turns) + i + 1
            raise TrainingDataError(
                f"{where}: number {at} is the {role}'s where the {wanted}'s is due; allowed: one "
                "system message or none, then user and assistant in turn"
            )
    if len(turns) % 2 or not turns:
        raise TrainingDataError(
            f"{where}: the last is the {messages[-1][0]}'s; the last message must be the "
            "assistant's, since only answers are learnt"
        )
    return messages


def _message(item: Any, where: str) -> tuple[str, str]:
    if not isinstance(item, dict):
        raise TrainingDataError(
            f"{where}: a mapping of role and content is needed; found {_kind(item)}"
        )
    message: dict[str, Any] = item
    for key in message:
        if key not in ("role", "content"):
            raise TrainingDataError(
                f"{where}: unknown key {shown(key, 80)!r}; allowed: role, content"
            )
    role = message.get("role")
    if role not in ROLES:
        found = repr(shown(role, 40)) if isinstance(role, str) else _kind(role)
        raise TrainingDataError(f"{where}: role is {found}; allowed: {', '.join(ROLES)}")
    content = _text(message.get("content"), f"{where}: content", blank=role == "system")
    return role, content


def _text(value: Any, where: str, *, blank: bool = False) -> str:
    if not isinstance(value, str):
        raise TrainingDataError(f"{where}: text is needed; found {_kind(value)}")
    if not blank and not value.strip():
        raise TrainingDataError(f"{where}: the text is empty")
    return value


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float):
        return f"the value {shown(value, 40)}"
    names: dict[type, str] = {str: "text", dict: "a mapping", list: "a list"}
    if isinstance(value, list) and not value:
        return "an empty list"
    return names.get(type(value), type(value).__name__)
