"""What a covariance file says of itself, as written and as a stranger's file is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from deltalens.core.moment import MOMENT_KINDS, MomentKind
from deltalens.core.text import shown
from deltalens.errors import BaseModelError

FORMAT = "deltalens.covariances/1"
Fail = Callable[[str], BaseModelError]


@dataclass(frozen=True)
class CovarianceInfo:
    """What a covariance file says of itself.

    Attributes:
        model: name of the base.
        model_digest: SHA-256 of its weights and configuration.
        texts: name of the texts; no machine path.
        texts_digest: SHA-256 of the texts.
        kind: form of every moment.
        centred: whether the mean was taken out.
        rank: directions of the low-rank form, else None.
        seed: of the low-rank form's test matrix.
        n_documents: texts read.
        n_tokens: tokens that count.
        n_dropped: tokens left out: the first of each text, and beginning-of-sequence tokens.
        n_cut: texts cut at the largest length.
        drop_first: how many were left out at the start of each text.
        inputs: name -> the modules that read this input.
        captured: name -> share of `tr C` outside the diagonal rest.
        versions: of what shaped the numbers.
    """

    model: str
    model_digest: str
    texts: str
    texts_digest: str
    kind: MomentKind
    centred: bool
    rank: int | None
    seed: int
    n_documents: int
    n_tokens: int
    n_dropped: int
    n_cut: int
    drop_first: int
    inputs: Mapping[str, tuple[str, ...]]
    captured: Mapping[str, float]
    versions: Mapping[str, str]


def parse_info(record: dict[str, Any], fail: Fail) -> CovarianceInfo:
    """The record in a file's header.

    Raises:
        BaseModelError: from `fail`, for a format, kind or field that is not as it must be.
    """
    if record.get("format") != FORMAT:
        raise fail(f"format {shown(record.get('format'), 60)!r}; {FORMAT!r} is read")
    types: dict[str, tuple[type, ...]] = {
        **dict.fromkeys(("model", "model_digest", "texts", "texts_digest", "kind"), (str,)),
        "centred": (bool,),
        "rank": (int, type(None)),
        **dict.fromkeys(
            ("seed", "n_documents", "n_tokens", "n_dropped", "n_cut", "drop_first"), (int,)
        ),
        **dict.fromkeys(("inputs", "captured", "versions"), (dict,)),
    }
    for name, allowed in types.items():
        if name not in record or type(record[name]) not in allowed:
            raise fail(f"{name} must be {' or '.join(t.__name__ for t in allowed)}")
    kind = record["kind"]
    if kind not in MOMENT_KINDS:
        raise fail(f"kind {shown(kind, 40)!r}; known are {', '.join(MOMENT_KINDS)}")
    inputs = cast("dict[str, Any]", record["inputs"])
    for name, modules in inputs.items():
        if not _are_texts(modules):
            raise fail(f"inputs: {shown(name, 80)} must list module names")
    held = [module for modules in inputs.values() for module in modules]
    if len(set(held)) != len(held):
        raise fail("inputs: a module stands twice")
    values = {name: record[name] for name in types}
    values["inputs"] = {name: tuple(modules) for name, modules in inputs.items()}
    return CovarianceInfo(**values)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, str) for item in cast("list[object]", value)
    )
