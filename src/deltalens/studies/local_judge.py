"""The panel of `--judge local=FILE.yaml`: a model of one's own, loaded when it is first asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from deltalens.behaviour.batch import Expected, Say
from deltalens.behaviour.local import LocalJudge, Rubric
from deltalens.behaviour.local_file import LocalFile, read_local
from deltalens.behaviour.scoring import Panel
from deltalens.core.protocols import ChoosingModel, Exchange
from deltalens.studies.walk.settings import folder_digest


def local_panel(file: str | Path) -> Panel:
    """The two judges of a file; both ask one model.

    It is loaded apart from the model of a walk, even from the same folder: a judge carries no
    update, and does not move along the path with what it judges.

    Args:
        file: see `behaviour.local_file`.

    Raises:
        BehaviourError: one line that names the file, the key and what is wrong with it.
    """
    path = Path(file)
    source = _Source(read_local(path))
    aligned = source.judge("aligned", source.given.aligned, None)
    coherent = source.judge("coherent", source.given.coherent, 0.0)
    return Panel(f"local ({path.name})", aligned, coherent, _Together((aligned, coherent)))


class _Together:
    """Answers in batches; a model of one's own costs nothing that had to be announced."""

    def __init__(self, judges: tuple[LocalJudge, ...]) -> None:
        self._judges = judges

    def announce(
        self, known: Sequence[Exchange], expected: Sequence[Expected], *, say: Say
    ) -> None:
        n = len(known) + sum(each.n for each in expected)
        say(f"{n} answers for a local judge, {len(self._judges)} rubrics each")

    def prepare(self, exchanges: Sequence[Exchange], *, say: Say, max_failures: int | None) -> None:
        del say, max_failures  # failures are counted where the judges are called
        for judge in self._judges:
            judge.prepare(exchanges)


class _Source:
    """What both judges share: the model, and what their scores depend on."""

    def __init__(self, given: LocalFile) -> None:
        self.given = given

    def judge(self, criterion: str, rubric: Rubric, blank: float | None) -> LocalJudge:
        return LocalJudge(
            f"local {criterion}",
            lambda: self.model,
            rubric,
            reply=self.given.reply,
            blank=blank,
            identity=lambda: self.identity,
        )

    @cached_property
    def model(self) -> ChoosingModel:
        from deltalens.models.hf import HFModel

        given = self.given
        return HFModel.load(
            given.model, dtype=given.dtype, batch_size=given.batch_size, name=given.model.name
        )

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the model's folder, the rubrics and how replies are read."""
        given = self.given
        held = {
            "model": folder_digest(given.model),
            "dtype": given.dtype,
            "reply": asdict(given.reply),
            "rubrics": [given.aligned.text, given.coherent.text],
        }
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
