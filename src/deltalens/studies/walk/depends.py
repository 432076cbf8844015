"""What answers and features of a walk depend on, and what scores depend on beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from deltalens.behaviour.questions import Question
from deltalens.connectivity.paths import BASE
from deltalens.core.adapter import Adapter
from deltalens.io.provenance import versions
from deltalens.studies.walk.inputs import Target
from deltalens.studies.walk.judged import Judged
from deltalens.studies.walk.plan import Plan
from deltalens.studies.walk.settings import Settings, adapter_digest

_SHAPING = ("deltalens", "numpy", "torch", "transformers")


def settings_of(
    plan: Plan, target: Target, *, steps: int, samples: int | None, temperature: float
) -> Settings:
    """Everything that answers and features depend on: no judge is among it."""
    held = versions()
    asked = [_asked(question) for question in plan.judged.questions]
    given = None if plan.given is None else _sha256(sorted(map(list, plan.given.items())))
    start, end = plan.path.ends
    return {
        "path": plan.path.kind,
        "steps": steps,
        "from": plan.positions[0],
        "to": plan.positions[-1],
        "a": _end(start),
        "b": _end(end),
        "model": f"sha256:{target.digest()}",
        "questions": _sha256(asked),
        "behaviour": plan.judged.name is not None,
        "samples": samples,
        "features": plan.read is not None,
        "feature tokens": plan.read or "last",
        "feature answers": given,
        "temperature": temperature,
        "seed": plan.seed,
        **_contrasts(plan.judged),
        **{f"version of {name}": held.get(name) for name in _SHAPING},
    }


def judge_of(judged: Judged) -> Settings:
    """What scores depend on beside the answers: the judge, its file, and notes written for it."""
    notes: Sequence[Any] = [[question.id, question.meta] for question in judged.questions]
    return {
        "judge": judged.name,
        "judge file": judged.identity and f"sha256:{judged.identity}",
        "notes": _sha256(notes),
    }


def _asked(question: Question) -> dict[str, Any]:
    """What a question's answers depend on: neither notes for a judge nor answers to compare."""
    held = asdict(question) | {"meta": None}
    del held["contrast"]
    return held


def _contrasts(judged: Judged) -> Settings:
    if judged.paired is None:
        return {}
    pairs = [[question.id, *map(asdict, question.contrast)] for question in judged.questions]
    return {"contrasts": _sha256(pairs), "compared": judged.paired}


def _end(end: Adapter) -> str:
    return f"sha256:{adapter_digest(end)}" if end.specs else BASE


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
