"""What judging a whole walk will take, said before a model is loaded or anything is sent."""

from __future__ import annotations

from deltalens.behaviour.batch import Expected, Say
from deltalens.core.protocols import Exchange
from deltalens.studies.walk.plan import Plan
from deltalens.studies.walk.store import Store


def announce(plan: Plan, store: Store | None, say: Say) -> None:
    """Let the judge say what it has to do, where it is one that does (an endpoint).

    Points that are scored already take nothing; stored answers are known to the letter; of answers
    that do not exist yet, the number and the greatest length are.

    Raises:
        BehaviourError: if it is more than the judge's file allows.
    """
    panel = plan.judged.panel
    if panel is None or panel.batch is None:
        return
    meta = {question.id: question.meta for question in plan.judged.questions}
    known: list[Exchange] = []
    expected: list[Expected] = []
    for t in plan.positions:
        if store is not None and store.read_scores(t) is not None:
            continue
        responses = None if store is None else store.read_responses(t)
        if responses is None:
            expected += _expected(plan)
        else:
            known += [each.exchange(meta.get(each.question)) for each in responses]
    panel.batch.announce(known, expected, say=say)


def _expected(plan: Plan) -> list[Expected]:
    return [
        Expected(Exchange(item.question, item.for_model(), None), each.n, each.max_tokens)
        for each in plan.plan
        for item in each.asked
    ]
