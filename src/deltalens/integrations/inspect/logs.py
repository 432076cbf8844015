"""A log of Inspect as our own responses and scores, to be counted, compared and scored again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltalens._extras import require
from deltalens.behaviour.responses import Response, check_keys
from deltalens.behaviour.scoring import Scored
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import ChatMessage, ModelOutput
    from inspect_ai.scorer import Score

SCORER = "panel"
_KEYS = ("question", "paraphrase", "sample", "samples", "seed", "place")


def responses_of(log: EvalLog | str | Path) -> tuple[Response, ...]:
    """The answers of a log of `deltalens/questions`, as `behaviour.responses` keeps those of walks.

    Raises:
        BehaviourError: if the evaluation did not succeed, a sample ended in an error, or is none of
            that task.
    """
    found = tuple(
        response_of(sample.metadata, sample.epoch, sample.input, sample.output)
        for sample in _samples(log)
    )
    check_keys((response.key for response in found), "the log")
    return found


def scores_of(log: EvalLog | str | Path, scorer: str = SCORER) -> tuple[Scored, ...]:
    """The scores of a log of `deltalens/questions`, as `behaviour.aggregate` takes them.

    Args:
        log: the log, or its file.
        scorer: the scorer whose scores are wanted: a log that was scored again has several.

    Raises:
        BehaviourError: as `responses_of`, or if a sample has no score of that scorer.
    """
    found = tuple(_scored(sample, scorer) for sample in _samples(log))
    check_keys((row.key for row in found), "the log")
    return found


def response_of(
    metadata: Mapping[str, Any],
    epoch: int,
    asked: str | Sequence[ChatMessage],
    output: ModelOutput,
) -> Response:
    """One answer, from a sample while it is scored or out of a log.

    Raises:
        BehaviourError: if the sample is none of `deltalens/questions`.
    """
    question, paraphrase, sample = _key(metadata, epoch)
    tokens = (output.metadata or {}).get("tokens")
    system = [m.text for m in asked if m.role == "system"] if not isinstance(asked, str) else []
    return Response(
        question=question,
        paraphrase=paraphrase,
        sample=sample,
        prompt=asked if isinstance(asked, str) else asked[-1].text,
        text=output.completion,
        tokens=tuple(tokens[0]) if tokens else None,
        seed=metadata["seed"],
        system=system[0] if system else None,
        finished=output.empty or output.stop_reason != "max_tokens",
    )


def _samples(log: EvalLog | str | Path) -> list[EvalSample]:
    if isinstance(log, str | Path):
        inspect_log = require("inspect_ai.log", extra="inspect", purpose="reading a log of Inspect")
        log = _read(inspect_log, Path(log))
    where = shown(log.location or "the log")
    if log.status != "success":
        why = "" if log.error is None else f": {shown(log.error.message)}"
        raise BehaviourError(f"{where}: the evaluation's status is {log.status!r}{why}")
    if not log.samples:
        raise BehaviourError(f"{where}: no samples; a log with its samples is needed")
    for sample in log.samples:
        if sample.error is not None:
            raise BehaviourError(
                f"{where}: sample {shown(sample.id, 80)!r} ended in an error: "
                f"{shown(sample.error.message)}"
            )
    return sorted(log.samples, key=_order)


def _order(sample: EvalSample) -> tuple[int, ...]:
    """That of a walk: round, wording, answer; Inspect sorts by name."""
    _, _, number = _key(sample.metadata, sample.epoch)
    return sample.metadata["seed"], sample.metadata["place"], number


def _read(inspect_log: Any, path: Path) -> EvalLog:
    try:
        return inspect_log.read_eval_log(str(path), resolve_attachments=True)
    except Exception as problem:  # whatever zip, JSON and pydantic raise for a broken file
        raise BehaviourError(f"{shown(path)}: not a log of Inspect: {shown(problem)}") from None


def _key(metadata: Mapping[str, Any], epoch: int) -> tuple[str, int, int]:
    missing = [key for key in _KEYS if key not in metadata]
    if missing:
        raise BehaviourError(
            f"a sample has no {', '.join(missing)} in its metadata: it is none of the task "
            "deltalens/questions"
        )
    sample = metadata["sample"] + metadata["samples"] * (epoch - 1)
    return metadata["question"], metadata["paraphrase"], sample


def _scored(sample: EvalSample, scorer: str) -> Scored:
    scores: Mapping[str, Score] = sample.scores or {}
    held = scores.get(scorer)
    value = None if held is None else held.value
    if held is None or not isinstance(value, dict) or "aligned_score" not in value:
        names = ", ".join(shown(name, 40) for name in scores) or "none"
        raise BehaviourError(
            f"sample {shown(sample.id, 80)!r} has no score of {shown(scorer, 40)!r}; "
            f"it has: {names}"
        )
    return Scored(
        *_key(sample.metadata, sample.epoch),
        aligned=_known(value["aligned_score"]),
        coherent=_known(value["coherent_score"]),
        explanation=held.explanation or "",
        reason=held.reason,
    )


def _known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
