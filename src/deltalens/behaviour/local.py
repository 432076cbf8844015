"""A judge that is a language model of one's own: a rubric, and how likely each score is.

Nothing is sampled. The model reads the rubric with a question and an answer in it, and

    P(s) = P(s, and then the end | rubric),   s = "0", "1", .. "100"

is computed for all 101 scores; the score is their mean under P, normalised over the 101. The end
belongs to it: without one, "1" would hold "10" and "100". Where the 101 have too little of the
probability (`mass`) the model would have said something else, and the answer is unscored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from deltalens.behaviour.scoring import TOP
from deltalens.core.protocols import ChoosingModel, Exchange, Prompt, Score, Unscored
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import BehaviourError, DeltalensError

SCORES = tuple(str(value) for value in range(101))
LEAST_MASS = 0.1
FIELDS = ("question", "answer")
_MANY = 64  # answers that are given to the model at once
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Reply:
    """How a model's reply is read.

    Attributes:
        start: what the reply begins with, whatever the score; may be empty.
        ends: what may follow the score beside the end of the turn; each a token of the model.
        least_mass: probability of all 101 scores under which an answer is unscored.

    Raises:
        BehaviourError: if an end begins with a digit.
    """

    start: str = ""
    ends: tuple[str, ...] = ()
    least_mass: float = LEAST_MASS

    def __post_init__(self) -> None:
        for end in self.ends:
            if end[:1].isdigit():
                raise BehaviourError(
                    f"end {shown(end, 40)!r} begins with a digit, which goes on with the score and "
                    "does not end it"
                )


@dataclass(frozen=True, slots=True)
class Rubric:
    """What the judge is asked, with `{question}` and `{answer}` in it.

    Raises:
        BehaviourError: if one of them is missing, or another field is there.
    """

    text: str
    where: str = "rubric"

    def __post_init__(self) -> None:
        found = _FIELD.findall(self.text)
        if unknown := [name for name in found if name not in FIELDS]:
            raise BehaviourError(
                f"{self.where}: unknown field {{{shown(unknown[0], 60)}}}; allowed: {{question}}, "
                "{answer}"
            )
        if lacking := [name for name in FIELDS if name not in found]:
            raise BehaviourError(
                f"{self.where}: no {{{lacking[0]}}} in it; {{question}} and {{answer}} are needed"
            )

    def filled(self, question: str, answer: str) -> str:
        """The rubric about one answer; braces in the answer itself are left alone."""
        values = {"question": question, "answer": answer}
        return _FIELD.sub(lambda found: values[found[1]], self.text)


class LocalJudge:
    """Scores one criterion by the likelihood of every score.

    Attributes:
        name: how reports call it.
    """

    def __init__(
        self,
        name: str,
        model: Callable[[], ChoosingModel],
        rubric: Rubric,
        *,
        reply: Reply | None = None,
        blank: float | None = None,
        identity: Callable[[], str] | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            name: how reports call it.
            model: gives the model, when the first answer is judged.
            rubric: what it is asked.
            reply: how its reply is read.
            blank: the score of an answer without a visible character; None: as any other.
            identity: gives a digest of everything that its scores depend on.
        """
        self.name = name
        self._model, self._rubric, self._blank = model, rubric, blank
        self._reply, self._identity = reply or Reply(), identity
        self._prepared: dict[str, Score | Unscored] = {}

    @property
    def identity(self) -> str | None:
        """A digest of everything that its scores depend on; None where it is unknown."""
        return None if self._identity is None else self._identity()

    def __call__(self, exchange: Exchange) -> Score | Unscored:
        """Score one answer; unscored where there is no text, or hardly any probability."""
        found = self._prepared.get(self._prompt(exchange))
        return self.score_all([exchange])[0] if found is None else found

    def prepare(self, exchanges: Sequence[Exchange]) -> None:
        """Score many answers, equal ones once, for calls to come; the last ones are forgotten.

        Where some cannot be scored (one is longer than the model reads), these are left to the
        calls, which say why.
        """
        self._prepared = {}
        unlike = list({self._prompt(each): each for each in exchanges}.values())
        for start in range(0, len(unlike), _MANY):
            some = unlike[start : start + _MANY]
            with suppress(DeltalensError):
                said = self.score_all(some)
                self._prepared |= dict(zip(map(self._prompt, some), said, strict=True))

    def score_all(self, exchanges: Sequence[Exchange]) -> list[Score | Unscored]:
        """Score many answers, as many in a forward pass as the model's batch size says."""
        found: list[Score | Unscored | None] = [self._without_model(each) for each in exchanges]
        open_ = [i for i, said in enumerate(found) if said is None]
        if open_:
            logp = self._model().choice_logprobs(
                [self._prompt(exchanges[i]) for i in open_],
                SCORES,
                start=self._reply.start,
                ends=self._reply.ends,
            )
            for i, row in zip(open_, logp, strict=True):
                found[i] = score_of(row, self._reply.least_mass)
        return [said for said in found if said is not None]

    def _without_model(self, exchange: Exchange) -> Score | Unscored | None:
        if exchange.response is None or question_of(exchange.prompt) is None:
            return Unscored("the question or the answer has no text, and the judge reads text")
        if self._blank is not None and not exchange.response.strip():
            return Score(self._blank, "blank answer")
        return None

    def _prompt(self, exchange: Exchange) -> str:
        if exchange.response is None:
            return ""
        return self._rubric.filled(question_of(exchange.prompt) or "", exchange.response)


def score_of(logp: Float[Array, " score"], least_mass: float = LEAST_MASS) -> Score | Unscored:
    """`sum_s s P(s) / sum_s P(s)` over the 101 scores, or unscored under `least_mass`.

    Args:
        logp: log P of each score from 0 to 100, in nats.
        least_mass: the least `sum_s P(s)`.
    """
    p = np.exp(logp)
    mass = float(p.sum())
    if not np.isfinite(mass) or mass < least_mass or mass == 0.0:
        return Unscored(
            f"the scores 0 to 100 have probability {mass:.2g} in all, where {least_mass:g} is "
            "needed: the model would reply with something else"
        )
    mean = float(p @ np.arange(len(SCORES)) / mass)
    return Score(min(max(mean, 0.0), TOP), f"{mean:.1f} (mass {mass:.2g})")


def question_of(prompt: Prompt) -> str | None:
    """What was asked, as text, a system prompt first; None for token ids."""
    if isinstance(prompt, str):
        return prompt
    parts = [turn for turn in prompt if not isinstance(turn, int)]
    return "\n\n".join(turn["content"] for turn in parts) if parts else None
