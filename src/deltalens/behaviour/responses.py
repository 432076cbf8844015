"""Every answer that was generated, kept so that another judge can score it without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.behaviour.parquet import read_rows, write_rows
from deltalens.behaviour.questions import Asked
from deltalens.core.protocols import Exchange, Generated
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

Key = tuple[str, int, int]
"""Question, paraphrase and sample: what one answer is known by."""

COLUMNS = {
    "question": "text",
    "paraphrase": "whole",
    "sample": "whole",
    "prompt": "text?",
    "prompt_tokens": "tokens?",
    "system": "text?",
    "text": "text?",
    "tokens": "tokens?",
    "seed": "whole",
    "finished": "flag",
}


@dataclass(frozen=True, slots=True)
class Response:
    """One answer.

    Attributes:
        question: id of the question.
        paraphrase: which wording of it, from 0.
        sample: which answer to that wording, from 0.
        prompt: the wording that was asked: text, or token ids.
        text: the answer as text; None where only tokens exist.
        tokens: the answer's token ids; None where only text exists.
        seed: the seed that it was sampled with.
        system: the system prompt, or None.
        finished: False where the answer was cut at the largest length.
    """

    question: str
    paraphrase: int
    sample: int
    prompt: str | tuple[int, ...]
    text: str | None
    tokens: tuple[int, ...] | None
    seed: int
    system: str | None = None
    finished: bool = True

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.question, self.paraphrase, self.sample

    def exchange(self, metadata: Mapping[str, Any] | None = None) -> Exchange:
        """The answer with its question, as a judge sees them."""
        asked = Asked(self.question, self.paraphrase, self.prompt, self.system)
        return Exchange(self.question, asked.for_model(), self.text, self.tokens, metadata)


def responses_of(
    asked: Sequence[Asked], generated: Iterable[Generated], *, seed: int
) -> tuple[Response, ...]:
    """The answers that a model gave to `asked`, each with the wording that it answers."""
    return tuple(
        Response(
            question=asked[g.prompt].question,
            paraphrase=asked[g.prompt].paraphrase,
            sample=g.sample,
            prompt=asked[g.prompt].prompt,
            text=g.text,
            tokens=None if g.tokens is None else tuple(g.tokens),
            seed=seed,
            system=asked[g.prompt].system,
            finished=g.finished,
        )
        for g in generated
    )


def write_responses(
    path: str | Path, responses: Sequence[Response], *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Keep the answers as Parquet, whole or not at all.

    Args:
        path: the file.
        responses: the answers; each question, paraphrase and sample once.
        provenance: what to say of their origin (model, settings, versions), kept in the file.

    Raises:
        BehaviourError: if two answers have one key, or a value cannot be stored.
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    check_keys((response.key for response in responses), shown(path))
    write_rows(path, [_row(response) for response in responses], COLUMNS, provenance or {})


def read_responses(path: str | Path) -> tuple[tuple[Response, ...], Mapping[str, Any]]:
    """The answers of a file in their order, and the provenance that was kept with them.

    Raises:
        BehaviourError: naming the file and what does not fit.
    """
    path = Path(path)
    rows, provenance = read_rows(path, COLUMNS)
    responses = tuple(_response(row, f"{shown(path)}: row {i}") for i, row in enumerate(rows, 1))
    check_keys((response.key for response in responses), shown(path))
    return responses, provenance


def check_keys(keys: Iterable[Key], where: str) -> None:
    """Refuse two rows for one answer.

    Raises:
        BehaviourError: naming the question, the paraphrase and the sample.
    """
    seen: set[Key] = set()
    for key in keys:
        if key in seen:
            raise BehaviourError(
                f"{where}: question {shown(key[0], 80)!r}, paraphrase {key[1]}, sample {key[2]} "
                "stands twice; each answer is there once"
            )
        seen.add(key)


def _row(response: Response) -> dict[str, Any]:
    text, tokens = response.prompt, None
    if not isinstance(text, str):
        text, tokens = None, text
    row = {name: getattr(response, name, None) for name in COLUMNS}
    return row | {"prompt": text, "prompt_tokens": tokens}


def _response(row: dict[str, Any], where: str) -> Response:
    ids = _ids(row.pop("prompt_tokens"))
    prompt: str | tuple[int, ...] | None = ids if row["prompt"] is None else row["prompt"]
    if prompt is None:
        raise BehaviourError(f"{where}: neither prompt nor prompt_tokens; one of them is needed")
    values: dict[str, Any] = row | {"prompt": prompt, "tokens": _ids(row["tokens"])}
    return Response(**values)


def _ids(values: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)
