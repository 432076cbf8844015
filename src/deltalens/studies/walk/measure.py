"""The walk itself: one context for all points, each kept as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from deltalens.core.protocols import Model
from deltalens.organisms.loop import reproducible
from deltalens.studies.walk.along import on_path
from deltalens.studies.walk.announce import announce
from deltalens.studies.walk.plan import Plan
from deltalens.studies.walk.store import Point, Store
from deltalens.studies.walk.walker import Walker, scored

Progress = Callable[[str], None]


def walk_points(
    load: Callable[[], Model], plan: Plan, store: Store | None, say: Progress
) -> list[Point]:
    """Every point, finished ones from the store; the model is loaded only if one is missing."""
    announce(plan, store, say)
    found = {} if store is None else _finished(plan, store, say)
    missing = [t for t in _ends_first(plan.positions) if t not in found]
    if found:
        say(f"{len(found)} of {len(plan.positions)} points are there already")
    if missing:
        say("loading the model")
        with _threads(plan), on_path(load(), plan.path) as at:
            walker = Walker(plan, at, store, say)
            for i, t in enumerate(missing, 1):
                say(f"t = {t:g}: point {i} of {len(missing)}")
                found[t] = walker.measure(t)
    return [found[t] for t in plan.positions]


def _finished(plan: Plan, store: Store, say: Progress) -> dict[float, Point]:
    """Points of the store; where only this judge's scores are missing, they are made now."""
    found: dict[float, Point] = {}
    for t in plan.positions:
        point = store.read(t)
        if point is None:
            continue
        if plan.judged.panel is None:
            found[t] = point
            continue
        responses = store.read_responses(t)
        if responses is not None:
            say(f"t = {t:g}: scores of the answers that are there")
            found[t] = replace(point, scores=scored(plan, t, responses, store, say))
    return found


def _threads(plan: Plan) -> AbstractContextManager[None]:
    return reproducible(0) if plan.one_thread else nullcontext()


def _ends_first(every: Sequence[float]) -> list[float]:
    return sorted(every, key=lambda t: (t not in (0.0, 1.0), t))
