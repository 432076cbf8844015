"""A walk along the path between two fine-tunes, from paths to a `Result`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalens.behaviour.counts import Thresholds
from deltalens.behaviour.questions import Question
from deltalens.behaviour.scoring import Panel
from deltalens.core.adapter import Adapter
from deltalens.core.protocols import Continuation, Model
from deltalens.core.result import Result
from deltalens.errors import OptionError
from deltalens.io.provenance import provenance
from deltalens.studies.walk.behaviour import rounds
from deltalens.studies.walk.depends import judge_of, settings_of
from deltalens.studies.walk.inputs import (
    Target,
    open_path,
    open_target,
    require_base,
    require_tokenizer,
)
from deltalens.studies.walk.judged import EXACT, PAIRED, Judged, open_judge
from deltalens.studies.walk.measure import Progress, walk_points
from deltalens.studies.walk.plan import Plan
from deltalens.studies.walk.positions import positions, served_positions
from deltalens.studies.walk.settings import Settings
from deltalens.studies.walk.statistics import NOT_MEASURED
from deltalens.studies.walk.store import Point, open_store
from deltalens.studies.walk.summary import document, summarise
from deltalens.studies.walk.tally import tally
from deltalens.studies.walk.tokens import open_reading

DRAWS, STEPS = 999, 11


def walk(
    a: Adapter | str | Path,
    b: Adapter | str | Path,
    model: Model | str | Path,
    *,
    steps: int | None = None,
    start: float = 0.0,
    stop: float = 1.0,
    path: str = "linear",
    questions: str | Path | Sequence[Question] | None = None,
    judge: str | Panel | None = None,
    samples: int | None = None,
    features: bool = True,
    feature_tokens: str = "last",
    feature_answers: Sequence[Continuation] | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Measure behaviour and features at equally spaced points from `a` to `b`.

    In the symbolic world the probability of every valid answer is computed, unless `samples` asks
    for sampled ones. Elsewhere every question is asked and every answer kept and scored.

    Args:
        a: an adapter, its folder, or `"base"`: t = 0.
        b: the same: t = 1.
        model: a `Model`, a model's folder, `hf:owner/name[@revision][/subfolder]`, `"toy"` or
            `"toy-qwen2"`. It is given back unchanged. A `PointsModel`, as of a server, answers
            where it has points, and has no features.
        steps: points, equally spaced from `start` to `stop`, both included; 3 or more. By default
            11, or all points of a `PointsModel`.
        start: the first position: below 0 lies what `b` changes, taken from `a`. t = 0 and t = 1
            are always among the points.
        stop: the last position; beyond 1 the path goes on as it went.
        path: `"linear"`, `"factorwise"` or `"factor_scaling"`.
        questions: a YAML file, or questions; not for the symbolic world, which has its own.
        judge: a panel; its name, or `module:function`; with `=FILE` where it reads one, as in
            `"rules=rules.yaml"`; `"paired"` or `"paired=sum"`: the questions' contrasting answers
            are compared by their likelihood, and none is sampled. None: features alone (the
            symbolic world's is `"exact"`).
        samples: answers to each wording; by default what the file says, or 10.
        features: whether hidden states are measured.
        feature_tokens: `"last"`: at the last token of every prompt; `"answer"`: at every token of
            one answer to it, the same at every t: the first one sampled at t = 0, in the symbolic
            world a good one.
        feature_answers: answers of your own for `"answer"`, one for each wording in order.
        temperature: of sampled answers, where the file says nothing.
        seed: of samples and of simulated curves.
        thresholds: when a scored answer is misaligned; another one needs no new walk.
        out: folder where each point is kept as soon as it is finished (`points/`), and from which
            a killed walk goes on. Another judge scores the answers that are there, without a model.
        fresh: drop the points in `out` and start over.
        progress: called with a line about what is being done.

    Returns:
        A `Result` with tables `rates`, `behaviour`, `barriers`, `differences`, `features`, `fits`.

    Raises:
        DeltalensError: for input that cannot be read or does not fit; before a model is loaded,
            wherever that can be known. Points that are finished by then stay in `out`.
    """
    target = open_target(model)
    at = _positions(target, steps, start, stop)
    steps = steps or (STEPS if target.points is None else len(at))
    if seed < 0:
        raise OptionError(f"--seed must be 0 or more; found {seed}")
    line = open_path(a, b, path)
    warnings = require_base(line, target)
    if target.points is not None:
        target.points.require(line.kind, line.ends)
        if judge is None:
            raise OptionError(
                "--judge is needed: a server gives answers to judge, and no hidden states"
            )
        features = False
    judged = open_judge(
        target.name, questions, judge, samples, symbolic=target.symbolic, features=features,
        also=(EXACT, PAIRED),
    )  # fmt: skip
    require_tokenizer(target)
    _check_temperature(judged, temperature)
    read = open_reading(
        feature_tokens, feature_answers, judged, features=features, symbolic=target.symbolic
    )
    plan = Plan(
        path=line,
        positions=at,
        judged=judged,
        plan=rounds(judged.questions, samples, temperature),
        seed=seed,
        read=read.tokens,
        given=read.answers,
        one_thread=target.symbolic,
    )
    settings = settings_of(plan, target, steps=steps, samples=samples, temperature=temperature)
    scoring = judge_of(judged)
    points = _points(plan, target, settings, scoring, out, fresh, progress or _silent)
    limits = thresholds or Thresholds()
    names = [question.id for question in judged.questions] if judged.paired else []
    held = tally(points, limits, names)
    from_base = not all(end.specs for end in line.ends)
    made = summarise(points, held, from_base=from_base, seed=seed, draws=DRAWS)
    head = {
        "a": line.ends[0].name,
        "b": line.ends[1].name,
        "model": target.name,
        **target.origin,
        "path": line.kind,
        "steps": steps,
        "from": at[0],
        "to": at[-1],
        "judge": judged.name,
        "computed": judged.computed,
        "not_measured": {} if judged.paired is None else {"coherent": NOT_MEASURED},
        "questions": sum(len(each.asked) for each in plan.plan),
        "samples": samples,
        "feature_tokens": read.tokens,
        "temperature": temperature,
        "seed": seed,
        "thresholds": {"aligned": limits.aligned, "coherent": limits.coherent},
        "warnings": [
            *warnings,
            *_unread(points),
            *_served(target),
            *([NOT_MEASURED] if judged.paired else []),
        ],
    }
    files = [Path(f) for end in line.ends for f in end.provenance.inputs]
    return Result(
        kind="walk",
        document=document(points, made, head),
        tables=made.tables(),
        provenance={**provenance({**settings, **scoring}, files), **target.origin},
        draw=_draw,
    )


def _points(
    plan: Plan,
    target: Target,
    settings: Settings,
    scoring: Settings,
    out: str | Path | None,
    fresh: bool,
    say: Progress,
) -> list[Point]:
    if out is None:
        return walk_points(target.load, plan, None, say)
    with open_store(Path(out), settings, scoring, fresh=fresh) as store:
        return walk_points(target.load, plan, store, say)


def _positions(target: Target, steps: int | None, start: float, stop: float) -> tuple[float, ...]:
    if target.points is None:
        return positions(STEPS if steps is None else steps, start, stop)
    return served_positions(target.points.positions, steps, start, stop)


def _served(target: Target) -> list[str]:
    if target.points is None:
        return []
    return ["features: a server gives no hidden states; none are measured", *target.points.notes()]


def _unread(points: Sequence[Point]) -> list[str]:
    n = sum(point.unread for point in points)
    said = f"features: {n} wordings are left out, as no answer to them at t = 0 has a token"
    return [said] if n else []


def _check_temperature(judged: Judged, temperature: float) -> None:
    if not 0.0 <= temperature < float("inf"):
        raise OptionError(f"temperature must be 0 or more; found {temperature:g}")
    if judged.computed and temperature != 1.0:
        other = "" if judged.paired else " (--samples samples at any)"
        raise OptionError(
            f"exact probabilities are those at temperature 1; found {temperature:g}{other}"
        )


def _draw(result: Result) -> Mapping[str, Any]:
    from deltalens.studies.walk.drawings import figures

    return figures(result)


def _silent(_: str) -> None:
    return None
