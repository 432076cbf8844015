"""Stored answers: files, or the folders of walks that keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalens.behaviour.responses import Response, read_responses
from deltalens.core.text import shown
from deltalens.errors import BehaviourError, OptionError
from deltalens.io.provenance import sha256_file

SUFFIX = ".responses.parquet"


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one file.

    Attributes:
        name: how tables call the file.
        path: the file.
        sha256: of its bytes: what scores of these answers name.
        responses: the answers in their order.
    """

    name: str
    path: Path
    sha256: str
    responses: tuple[Response, ...]


def open_answers(paths: Sequence[str | Path]) -> tuple[Answers, ...]:
    """The answers in files, in the folders of walks (`--out`), or in their `points`.

    Raises:
        OptionError: if nothing is given, a folder keeps no answers, or a file is given twice.
        BehaviourError: if a file is no file of answers, or an answer has no text.
    """
    files = [file for path in paths for file in _files(Path(path))]
    if not files:
        raise OptionError("no answers are given: files *.responses.parquet, or a walk's folder")
    seen: dict[Path, Path] = {}
    for file in files:
        if seen.setdefault(file.resolve(), file) is not file:
            raise OptionError(f"{shown(file)}: given twice; each answer is counted once")
    several = len({file.parent for file in files}) > 1
    return tuple(_open(file, several=several) for file in files)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    for folder in (path, path / "points"):
        if found := sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: _order(file.name)):
            return found
    raise OptionError(
        f"{shown(path)}: no file *{SUFFIX} in it or in its points/; a walk keeps answers there "
        "where it samples them"
    )


def _order(name: str) -> tuple[float, str]:
    """Points along their path, `t-0.1` before `t-1`."""
    try:
        return float(name.removesuffix(SUFFIX).removeprefix("t-")), name
    except ValueError:
        return float("inf"), name


def _open(path: Path, *, several: bool) -> Answers:
    responses, _ = read_responses(path)
    if not responses:
        raise BehaviourError(f"{shown(path)}: no answer in it")
    for i, response in enumerate(responses, 1):
        if response.text is None or not isinstance(response.prompt, str):
            what = "answer" if response.text is None else "question"
            raise BehaviourError(
                f"{shown(path)}: row {i}: the {what} has no text; judges read text"
            )
    name = path.name.removesuffix(SUFFIX)
    if several:
        folder = path.parent.parent if path.parent.name == "points" else path.parent
        name = f"{folder.name}/{name}"
    return Answers(name, path, sha256_file(path), responses)
