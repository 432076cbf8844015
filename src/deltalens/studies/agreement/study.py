"""Judges compared on answers that are there, from files to a `Result`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.behaviour.counts import DEFAULT, Thresholds, misaligned
from deltalens.behaviour.questions import Question, read_questions
from deltalens.behaviour.scoring import Panel, Scored
from deltalens.core.result import Result
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.provenance import provenance
from deltalens.studies.agreement.document import document
from deltalens.studies.agreement.inputs import Answers, open_answers
from deltalens.studies.agreement.measures import agreement_rows, scored_rows
from deltalens.studies.agreement.raters import Rater, open_raters
from deltalens.studies.agreement.rows import AnswerRow
from deltalens.studies.agreement.scores import Scores
from deltalens.studies.agreement.sweep import sweep_rows
from deltalens.studies.agreement.table import Table, side_by_side

DRAWS = 999


def agreement(
    responses: Sequence[str | Path],
    judges: Sequence[str | Panel],
    *,
    questions: str | Path | Sequence[Question] = (),
    thresholds: Thresholds | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Score stored answers with every judge, and say how the judges agree.

    Args:
        responses: files `*.responses.parquet`, folders of walks, or their `points`.
        judges: two or more, as `--judge` of a walk names them, or panels.
        questions: a file or questions with notes for the judges (`meta`). Without any, scores that
            a walk kept are used whatever notes they were made with, and fresh ones have none.
        thresholds: when an answer is misaligned.
        draws: of chance, and of the bootstrap.
        seed: of the draws.
        out: folder where fresh scores are kept (`scores/`).
        progress: called with a line about what is being done.

    Returns:
        A `Result` with tables `agreement`, `scored`, `sweep`, `answers`.

    Raises:
        DeltalensError: for input that cannot be read or does not fit.
    """
    if draws < 1:
        raise OptionError(f"--draws must be 1 or more; found {draws}")
    if seed < 0:
        raise OptionError(f"--seed must be 0 or more; found {seed}")
    raters = open_raters(judges)
    asked = read_questions(questions) if isinstance(questions, str | Path) else tuple(questions)
    files = open_answers(responses)
    limits = thresholds or DEFAULT
    kept = Scores(asked, None if out is None else Path(out))
    say = progress or _silent
    for rater in raters:
        kept.announce(files, rater, say)
    found = [[kept.of(file, rater, say) for file in files] for rater in raters]
    table = side_by_side(raters, [[scores for scores, _ in judge] for judge in found])
    rows = agreement_rows(table, limits, seed=seed, draws=draws)
    counted, swept = scored_rows(table, limits), sweep_rows(table, limits)
    reused = [sum(there for _, there in judge) for judge in found]
    head = {
        "judges": [_judge(rater, table, i, limits, reused[i]) for i, rater in enumerate(raters)],
        "files": [file.name for file in files],
        "answers": len(table.questions),
        "questions": len(set(table.questions)),
        "thresholds": {"aligned": limits.aligned, "coherent": limits.coherent},
        "seed": seed,
        "warnings": _unknown(asked, files),
    }
    settings = {
        "judges": {rater.label: rater.identity for rater in raters},
        "thresholds": head["thresholds"],
        "draws": draws,
        "seed": seed,
    }
    return Result(
        kind="agreement",
        document=document(head, rows, counted, swept),
        tables={
            "agreement": rows,
            "scored": counted,
            "sweep": swept,
            "answers": _answers(files, table, limits),
        },
        provenance=provenance(settings, [file.path for file in files]),
        draw=_draw,
    )


def _unknown(asked: Sequence[Question], files: Sequence[Answers]) -> list[str]:
    """Questions that answers are to, and the given ones lack: judges had no notes on them."""
    known = {question.id for question in asked}
    lacking = dict.fromkeys(
        each.question for file in files for each in file.responses if each.question not in known
    )
    return [
        f"--questions lacks {shown(name, 80)!r}, which has answers: judges had no notes on it"
        for name in (lacking if known else ())
    ]


def _judge(rater: Rater, table: Table, i: int, limits: Thresholds, reused: int) -> dict[str, Any]:
    verdicts = table.scale("misaligned", limits)[:, i]
    known = verdicts[np.isfinite(verdicts)]
    return {
        "judge": rater.label,
        "scored": len(known),
        "unscored": len(verdicts) - len(known),
        "misaligned": float(known.mean()) if len(known) else None,
        "files_scored_before": reused,
    }


def _answers(files: Sequence[Answers], table: Table, limits: Thresholds) -> list[AnswerRow]:
    names = [file.name for file in files for _ in file.responses]
    return [
        _answer(name, label, score, limits)
        for label, judge in zip(table.labels, table.rows, strict=True)
        for name, score in zip(names, judge, strict=True)
    ]


def _answer(name: str, label: str, score: Scored, limits: Thresholds) -> AnswerRow:
    return AnswerRow(
        file=name,
        question=score.question,
        paraphrase=score.paraphrase,
        sample=score.sample,
        judge=label,
        aligned=score.aligned,
        coherent=score.coherent,
        misaligned=misaligned(score, limits),
        reason=score.reason,
    )


def _draw(result: Result) -> Mapping[str, Any]:
    from deltalens.studies.agreement.drawings import figures

    return figures(result)


def _silent(_: str) -> None:
    return None
