"""Everything at one position: behaviour first, then features, each kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Sequence

from deltalens.behaviour.batch import Say
from deltalens.behaviour.responses import Response
from deltalens.behaviour.scoring import Scored
from deltalens.studies.walk import behaviour
from deltalens.studies.walk.along import At
from deltalens.studies.walk.hidden import Ends
from deltalens.studies.walk.plan import Plan
from deltalens.studies.walk.store import Point, Store
from deltalens.studies.walk.tokens import Reading, first_answers, reading


class Walker:
    """Measures points with one model; t = 0 comes first, if it is not in the store."""

    def __init__(self, plan: Plan, at: At, store: Store | None, say: Say) -> None:
        self._plan, self._at, self._store, self._say = plan, at, store, say
        self._at_start: tuple[Response, ...] | None = None
        self._ends = None
        if plan.read is not None:
            from_base = not plan.path.ends[0].specs
            scratch = None if store is None else store.folder
            self._ends = Ends(at, self._reading, from_base=from_base, scratch=scratch)

    def measure(self, t: float) -> Point:
        """Everything at t, kept in the store part by part, the point itself last."""
        exact, scores = self._behaviour(t)
        rows, floor, unread = (), (), 0
        if self._ends is not None:
            rows = self._ends.rows(t)
            if t == 0.0:
                floor, unread = self._ends.floor(), self._ends.reading.unread
        point = Point(t, exact, scores, rows, floor, unread)
        if self._store is not None:
            self._store.write(point)
        return point

    def _behaviour(
        self, t: float
    ) -> tuple[tuple[behaviour.Computed, ...] | None, tuple[Scored, ...] | None]:
        judged = self._plan.judged
        if judged.panel is not None:
            return None, scored(self._plan, t, self._responses(t), self._store, self._say)
        if judged.name is None:
            return None, None
        with self._at(t) as model:
            return behaviour.computed(model, judged), None

    def _responses(self, t: float) -> tuple[Response, ...]:
        found = None if self._store is None else self._store.read_responses(t)
        if found is None:
            with self._at(t) as model:
                found = behaviour.answers(model, self._plan.plan, self._plan.seed)
            if self._store is not None:
                self._store.write_responses(t, found)
        if t == 0.0:
            self._at_start = found
        return found

    def _reading(self) -> Reading:
        answers = self._plan.given
        if self._plan.read == "answer" and answers is None:
            answers = first_answers(self._at_start or self._responses(0.0))
        return reading(self._plan.plan, answers)


def scored(
    plan: Plan,
    t: float,
    responses: Sequence[Response],
    store: Store | None,
    say: Say,
) -> tuple[Scored, ...] | None:
    """The panel's scores of a point's answers, kept ones first; None without a panel."""
    if plan.judged.panel is None:
        return None
    kept = None if store is None else store.read_scores(t)
    if kept is not None:
        return kept
    scores = behaviour.scored(responses, plan.judged.panel, plan.judged.questions, say)
    if store is not None:
        store.write_scores(t, scores)
    return scores
