"""What a model answers at one point: computed where the world is known, sampled elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.behaviour.batch import Say, TooManyFailuresError
from deltalens.behaviour.paired import preferences
from deltalens.behaviour.questions import Asked, Question, wordings
from deltalens.behaviour.responses import Response, responses_of
from deltalens.behaviour.scoring import Panel, Scored, score_responses
from deltalens.core.protocols import Model, Prompt
from deltalens.errors import AdapterError
from deltalens.organisms.exact_judge import ANSWER_WORDS, asked, exact_rates
from deltalens.studies.walk.judged import Judged

Computed = tuple[float, float | None]
"""P(a bad answer) and P(a good one) to one question; None where it is not known."""

SAMPLES, MAX_TOKENS = 10, 256
_FAILURES = 20
"""A judge that fails on more than one answer in this many stops the walk."""


@dataclass(frozen=True)
class Round:
    """Wordings that are asked alike."""

    asked: tuple[Asked, ...]
    n: int
    temperature: float
    max_tokens: int

    def prompts(self) -> list[Prompt]:
        """What the model reads; text without a system prompt needs no chat template."""
        return [item.prompt if item.system is None else item.for_model() for item in self.asked]


def rounds(
    questions: Sequence[Question], samples: int | None, temperature: float
) -> tuple[Round, ...]:
    """Wordings by their settings: `samples` goes before the file's own, its temperature after.

    Without questions: those of the symbolic world.
    """
    if not questions:
        return (Round(asked(), samples or SAMPLES, temperature, ANSWER_WORDS),)
    found: dict[tuple[int, float, int], list[Asked]] = {}
    for question in questions:
        warm = temperature if question.temperature is None else question.temperature
        how = (samples or question.samples or SAMPLES, warm, question.max_tokens or MAX_TOKENS)
        found.setdefault(how, []).extend(wordings([question]))
    return tuple(Round(tuple(each), *how) for how, each in found.items())


def answers(model: Model, plan: Sequence[Round], seed: int) -> tuple[Response, ...]:
    """Every sample of every wording.

    The same seed is used at every point of a walk, so that points share their random numbers and
    differ by what the model does; each round has its own.
    """
    found: list[Response] = []
    for i, each in enumerate(plan):
        own = round_seed(seed, i)
        generated = model.generate(
            each.prompts(),
            n=each.n,
            temperature=each.temperature,
            seed=own,
            max_new_tokens=each.max_tokens,
        )
        found += responses_of(each.asked, generated, seed=own)
    return tuple(found)


def round_seed(seed: int, i: int) -> int:
    """The seed of round i: rounds count their prompts alike, and share no random numbers."""
    return seed + 1_000_003 * i


def scored(
    responses: Sequence[Response], panel: Panel, questions: Sequence[Question], say: Say
) -> tuple[Scored, ...]:
    """The panel's scores; where it fails now and then, the answer is unscored and counted.

    Raises:
        BehaviourError: if it fails on more than a twentieth of the answers.
    """
    most = len(responses) // _FAILURES
    try:
        return score_responses(responses, panel, questions=questions, max_failures=most, say=say)
    except TooManyFailuresError as error:
        # No option of the command line sets it: say the rule.
        allowed = f"{most} of {len(responses)} may fail (a twentieth)"
        raise error.where(allowed) from error.__cause__


def computed(model: Model, judged: Judged) -> tuple[Computed, ...]:
    """P(bad) and P(good) of the symbolic world's questions, or how given answers are preferred.

    Preferred answers are not the model's own: P(good) is unknown then, and hence coherence.

    Raises:
        AdapterError: if one is not finite.
    """
    if judged.paired is not None:
        values = preferences(model, judged.questions, judged.paired)
        return tuple((float(value), None) for value in values)
    rates = exact_rates(model)
    if not np.isfinite(rates).all():
        raise AdapterError("the model's logits are not finite: the update breaks the model")
    return tuple((float(bad), float(good)) for bad, good in rates)
