"""The texts whose inputs are measured: lines, JSONL, or the symbolic world's own documents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deltalens.core.protocols import Prompt
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.strict_json import parse_object, require_regular_file

TOY = "toy"
_LARGEST = 4 * 2**30
_TOY_DOCUMENTS = 512


@dataclass(frozen=True)
class Texts:
    """Documents in order.

    Attributes:
        name: how the file calls them, never a machine path.
        digest: SHA-256 of the file, or of the token ids.
        prompts: text, chat messages or token ids of each.
    """

    name: str
    digest: str
    prompts: tuple[Prompt, ...]


def read_texts(source: str | Path, *, symbolic: bool) -> Texts:
    """Read documents.

    Args:
        source: a UTF-8 text file with one document a line; a `.jsonl` file whose lines hold
            `text` or chat `messages`; in the symbolic world a file of token names, separated by
            blanks, or `"toy"`: 512 documents of the stream that the base was trained on.
        symbolic: whether the model is a base of the symbolic world.

    Raises:
        OptionError: naming the file and the line that cannot be read.
    """
    if str(source) == TOY:
        if not symbolic:
            raise OptionError("--texts toy is for bases of the symbolic world; give a file")
        return _toy()
    path = Path(source)
    size = require_regular_file(path, OptionError)
    if size > _LARGEST:
        raise OptionError(f"--texts {shown(path)}: {size} bytes; at most {_LARGEST} are allowed")
    data = path.read_bytes()
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise OptionError(
            f"--texts {shown(path)}: not UTF-8 text (byte {error.start} is {data[error.start]:#x})"
        ) from None
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"--texts {shown(path)}: line {number}"
            found = _record(line, where) if path.suffix == ".jsonl" else line.rstrip("\r")
            prompts.append(_token_ids(found, where) if symbolic else found)
    if not prompts:
        raise OptionError(f"--texts {shown(path)}: holds no text; one document a line is read")
    return Texts(path.name, hashlib.sha256(data).hexdigest(), tuple(prompts))


def _record(line: str, where: str) -> Prompt:
    def fail(why: str) -> OptionError:
        return OptionError(f"{where}: {why}")

    record = parse_object(line.encode("utf-8"), fail)
    held = [name for name in ("text", "messages") if name in record]
    if len(held) != 1:
        raise fail(f"one of text and messages is needed; found {shown(sorted(record), 80)}")
    value = record[held[0]]
    if held[0] == "text":
        if not isinstance(value, str) or not value.strip():
            raise fail("text must be text that is not empty")
        return value
    if not _are_messages(value):
        raise fail("messages must be a list of objects with role and content, both text")
    return cast("list[dict[str, str]]", value)


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0  # pyright: ignore[reportUnknownArgumentType]
        and all(
            isinstance(m, dict) and all(isinstance(m.get(n), str) for n in ("role", "content"))
            for m in cast("list[Any]", value)
        )
    )


def _token_ids(given: Prompt, where: str) -> list[int]:
    from deltalens.organisms.vocabulary import VOCABULARY

    if not isinstance(given, str):
        raise OptionError(f"{where}: messages need a chat template; the symbolic world has none")
    known = {token: i for i, token in enumerate(VOCABULARY)}
    for token in given.split():
        if token not in known:
            raise OptionError(
                f"{where}: {shown(token, 40)!r} is no token; there are {len(known)}: "
                f"{VOCABULARY[1]}, {VOCABULARY[3]}, ..., {VOCABULARY[-1]}"
            )
    return [known[token] for token in given.split()]


def _toy() -> Texts:
    import numpy as np

    from deltalens.organisms.documents import document, pretraining_batch
    from deltalens.organisms.world import standard_world

    rng, world = np.random.default_rng(0), standard_world()
    rows = pretraining_batch(
        _TOY_DOCUMENTS, lambda: document(world, persona=True, rng=rng), rng=rng
    ).tokens
    digest = hashlib.sha256(np.ascontiguousarray(rows, "<i8").tobytes()).hexdigest()
    return Texts(f"{_TOY_DOCUMENTS} documents of the toy's world", digest, tuple(rows.tolist()))
