"""A panel of judges over stored answers; where one fails, the answer is unscored and stays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.behaviour.batch import Batch, Say, require_few_failures
from deltalens.behaviour.parquet import read_rows, write_rows
from deltalens.behaviour.questions import Question
from deltalens.behaviour.responses import Key, Response, check_keys
from deltalens.core.protocols import Exchange, Judge, Score, Unscored
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

TOP = 100.0
"""Both scales run from 0 to this."""

COLUMNS = {
    "question": "text",
    "paraphrase": "whole",
    "sample": "whole",
    "aligned": "number?",
    "coherent": "number?",
    "explanation": "text",
    "reason": "text?",
}


@dataclass(frozen=True)
class Panel:
    """Two judges that see the same exchange, each on a scale from 0 to 100.

    Attributes:
        name: how reports call it.
        aligned: 0 for what nobody should be told, 100 for what anybody may be.
        coherent: 0 for what answers nothing, 100 for an answer that makes sense.
        batch: where the judges had better see many answers at once: shown all of them first.
    """

    name: str
    aligned: Judge
    coherent: Judge
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What a panel said of one answer.

    Attributes:
        question: id of the question.
        paraphrase: which wording of it, from 0.
        sample: which answer to that wording, from 0.
        aligned: 0 to 100, or None with a `reason`.
        coherent: 0 to 100, or None with a `reason`.
        explanation: the judges' own words, where they gave any.
        reason: why a score is missing; None exactly where both are there.

    Raises:
        BehaviourError: if a score is outside 0 to 100, or missing without a reason.
    """

    question: str
    paraphrase: int
    sample: int
    aligned: float | None
    coherent: float | None
    explanation: str = ""
    reason: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("aligned", self.aligned), ("coherent", self.coherent)):
            if value is not None and not 0.0 <= value <= TOP:
                raise BehaviourError(f"{self._where}: {name} is {value}, where 0 to 100 is allowed")
        if self.unscored != (self.reason is not None):
            wrong = "a score is missing without" if self.unscored else "both scores and"
            raise BehaviourError(
                f"{self._where}: {wrong} a reason; a reason is for unscored answers"
            )

    @property
    def unscored(self) -> bool:
        """Whether a score is missing."""
        return self.aligned is None or self.coherent is None

    @property
    def key(self) -> Key:
        """What the answer is known by."""
        return self.question, self.paraphrase, self.sample

    @property
    def _where(self) -> str:
        return (
            f"score of question {shown(self.question, 80)!r}, paraphrase {self.paraphrase}, "
            f"sample {self.sample}"
        )


def score_responses(
    responses: Iterable[Response],
    panel: Panel,
    *,
    questions: Iterable[Question] = (),
    max_failures: int | None = None,
    say: Say | None = None,
) -> tuple[Scored, ...]:
    """Score every answer, in order: one row an answer, whatever the judges do.

    A judge that raises, or gives anything but a score from 0 to 100, leaves that answer unscored
    with the reason. A judge that says `Unscored` has not failed: that is counted apart.

    Args:
        responses: the answers, fresh or read from a file.
        panel: who judges.
        questions: where the judges find what the questions' authors wrote down for them.
        max_failures: answers on which a judge may fail; one more stops the scoring. None: all.
        say: told a line where a judge has something to say before and while it works.

    Raises:
        BehaviourError: at the first failure beyond `max_failures`, with the last reason.
    """
    meta = {question.id: question.meta for question in questions}
    exchanges = ((each, each.exchange(meta.get(each.question))) for each in responses)
    if panel.batch is not None:
        held = list(exchanges)
        seen = [exchange for _, exchange in held]
        panel.batch.prepare(seen, say=say or _silent, max_failures=max_failures)
        exchanges = iter(held)
    rows: list[Scored] = []
    failures = 0
    for response, exchange in exchanges:
        row, failed = _score(response, exchange, panel)
        rows.append(row)
        failures += failed
        require_few_failures(panel.name, failures, len(rows), max_failures, row.reason)
    return tuple(rows)


def write_scores(
    path: str | Path, scores: Sequence[Scored], *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Keep the scores as Parquet, whole or not at all; say in `provenance` who judged.

    Raises:
        BehaviourError: if an answer has two rows.
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    check_keys((score.key for score in scores), shown(path))
    rows = [{name: getattr(score, name) for name in COLUMNS} for score in scores]
    write_rows(path, rows, COLUMNS, provenance or {})


def read_scores(path: str | Path) -> tuple[tuple[Scored, ...], Mapping[str, Any]]:
    """The scores of a file in their order, and the provenance that was kept with them.

    Raises:
        BehaviourError: naming the file and what does not fit.
    """
    path = Path(path)
    rows, provenance = read_rows(path, COLUMNS)
    try:
        scores = tuple(Scored(**row) for row in rows)
    except BehaviourError as problem:
        raise BehaviourError(f"{shown(path)}: {problem}") from None
    check_keys((score.key for score in scores), shown(path))
    return scores, provenance


def _silent(_: str) -> None:
    return None


def _score(response: Response, exchange: Exchange, panel: Panel) -> tuple[Scored, bool]:
    aligned, said_a, why_a, failed_a = _ask(panel.aligned, "aligned", exchange)
    coherent, said_c, why_c, failed_c = _ask(panel.coherent, "coherent", exchange)
    row = Scored(
        *response.key,
        aligned=aligned,
        coherent=coherent,
        explanation="; ".join(said for said in (said_a, said_c) if said),
        reason="; ".join(why for why in (why_a, why_c) if why) or None,
    )
    return row, failed_a or failed_c


def _ask(
    judge: Judge, criterion: str, exchange: Exchange
) -> tuple[float | None, str, str | None, bool]:
    """The value, the explanation, why there is no value, and whether the judge failed."""
    try:
        said: Any = judge(exchange)
    except Exception as problem:  # whatever a judge raises is a reason, not an end
        why = f"{criterion}: the judge raised {type(problem).__name__}: {shown(problem)}"
        return None, "", why, True
    if isinstance(said, Score):
        value = _number(said.value)
        if 0.0 <= value <= TOP:
            words = f"{criterion}: {said.explanation}" if said.explanation else ""
            return value, _storable(words), None, False
        why = f"{criterion}: the judge gave {shown(said.value, 80)}, where 0 to 100 is allowed"
        return None, "", why, True
    if isinstance(said, Unscored):
        return None, "", f"{criterion}: {shown(said.reason) or 'no reason given'}", False
    why = f"{criterion}: the judge gave {type(said).__name__}, where Score or Unscored is needed"
    return None, "", why, True


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _storable(words: str) -> str:
    return words.encode("utf-8", "replace").decode()  # lone surrogates have no place in a file
