"""Every judge's score of every answer: kept ones where they are the same, fresh ones elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deltalens.behaviour.batch import Say
from deltalens.behaviour.questions import Question
from deltalens.behaviour.scoring import Scored, read_scores, write_scores
from deltalens.errors import BehaviourError
from deltalens.studies.agreement.inputs import SUFFIX, Answers
from deltalens.studies.agreement.raters import Rater
from deltalens.studies.walk.behaviour import scored
from deltalens.studies.walk.depends import judge_of
from deltalens.studies.walk.judged import Judged
from deltalens.studies.walk.settings import Settings, digest

_SHORT = 12


class Scores:
    """Scores that a walk kept beside the answers, or an earlier agreement in its own folder."""

    def __init__(self, questions: Sequence[Question], out: Path | None) -> None:
        """Nothing is read yet.

        Args:
            questions: where judges find notes; without any, kept scores made with notes are used.
            out: folder of the agreement; None: fresh scores are not kept.
        """
        self._questions = tuple(questions)
        self._folder = None if out is None else out / "scores"

    def announce(self, files: Sequence[Answers], rater: Rater, say: Say) -> None:
        """Let a judge say what it has to do, where it is one that does (an endpoint).

        Raises:
            BehaviourError: if it is more than the judge's file allows.
        """
        if rater.panel.batch is None:
            return
        meta = {question.id: question.meta for question in self._questions}
        depends = self._depends(rater)
        missing = [file for file in files if self._kept(file, depends) is None]
        known = [r.exchange(meta.get(r.question)) for file in missing for r in file.responses]
        rater.panel.batch.announce(known, (), say=say)

    def of(self, answers: Answers, rater: Rater, say: Say) -> tuple[tuple[Scored, ...], bool]:
        """The scores in the answers' order, and whether they were there already.

        Raises:
            BehaviourError: if the judge fails on more than a twentieth of the answers.
            OutputError: if fresh scores cannot be kept.
        """
        depends = self._depends(rater)
        found = self._kept(answers, depends)
        if found is not None:
            return found, True
        say(f"{answers.name}: {len(answers.responses)} answers for {rater.label}")
        made = scored(answers.responses, rater.panel, self._questions, say)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"{answers.sha256[:_SHORT]}.scores-{digest(depends)[:_SHORT]}.parquet"
            note = {"judge": dict(depends), "answers": answers.sha256}
            write_scores(self._folder / name, made, provenance=note)
        return made, False

    def _depends(self, rater: Rater) -> Settings:
        return judge_of(Judged(rater.name, rater.panel, self._questions, rater.identity))

    def _kept(self, answers: Answers, depends: Settings) -> tuple[Scored, ...] | None:
        """Kept scores of this judge; None where there are none, or several that differ."""
        beside = answers.path.name.removesuffix(SUFFIX)
        places = _scores_in(answers.path.parent, beside)
        if self._folder is not None and self._folder.is_dir():
            places += _scores_in(self._folder, answers.sha256[:_SHORT])
        found: set[tuple[Scored, ...]] = set()
        for path in places:
            try:
                scores, note = read_scores(path)
            except BehaviourError:
                continue
            by_key = {score.key: score for score in scores}
            keys = [response.key for response in answers.responses]
            if note.get("answers") != answers.sha256 or set(by_key) != set(keys):
                continue
            if self._same(note.get("judge"), depends):
                found.add(tuple(by_key[key] for key in keys))
        return found.pop() if len(found) == 1 else None

    def _same(self, held: object, depends: Settings) -> bool:
        if not isinstance(held, dict):
            return False
        known = depends if self._questions else {k: v for k, v in depends.items() if k != "notes"}
        return all(name in held and held[name] == value for name, value in known.items())


def _scores_in(folder: Path, stem: str) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.name.startswith(f"{stem}.scores-"))
