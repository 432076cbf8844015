"""Where features are read: at the last token of each prompt, or on a fixed answer to it.

An answer is teacher forced: its tokens are the same at every t and for the base, so that what
differs is how the models read it, and not what they would have said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from deltalens.behaviour.questions import Asked, wordings
from deltalens.behaviour.responses import Response
from deltalens.core.protocols import Continuation, FeatureBatch, Model, Prompt
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.organisms.exact_judge import asked
from deltalens.organisms.world import standard_world
from deltalens.studies.walk.behaviour import Round
from deltalens.studies.walk.judged import Judged

FeatureTokens = Literal["last", "answer"]

Answers = Mapping[tuple[str, int], Continuation]
"""Question and paraphrase -> the answer whose tokens are read."""


@dataclass(frozen=True)
class Reading:
    """What a model reads for its features.

    Attributes:
        prompts: every wording; with answers, those that have one.
        answers: one for each prompt, or None for the prompts' last tokens.
        unread: wordings without an answer.
    """

    prompts: tuple[Prompt, ...]
    answers: tuple[Continuation, ...] | None = None
    unread: int = 0

    def of(self, model: Model, batch_size: int | None = None) -> Iterator[FeatureBatch]:
        """The model's hidden states, a batch at a time."""
        if self.answers is None:
            return model.features(self.prompts, batch_size=batch_size)
        return model.features(self.prompts, self.answers, positions="answer", batch_size=batch_size)


@dataclass(frozen=True)
class Read:
    """Where features are read, as far as it is known before a walk.

    Attributes:
        tokens: None where features are not measured.
        answers: those to be read; None: the last tokens, or answers yet to be sampled.
    """

    tokens: FeatureTokens | None
    answers: Answers | None = None


def open_reading(
    tokens: str,
    answers: Sequence[Continuation] | None,
    judged: Judged,
    *,
    features: bool,
    symbolic: bool,
) -> Read:
    """The options, checked; answers are given ones, or the symbolic world's good ones.

    Raises:
        OptionError: if the option is unknown, or there would be no answer to read.
    """
    if tokens not in get_args(FeatureTokens):
        raise OptionError(
            f"--feature-tokens {shown(tokens, 40)!r} is not known; known are last, answer"
        )
    if tokens == "last":
        if answers is not None:
            raise OptionError("feature_answers are given, but features are read at last tokens")
        return Read("last" if features else None)
    if not features:
        raise OptionError("--feature-tokens answer with --no-features: no feature would be read")
    return Read("answer", _known_answers(answers, judged, symbolic=symbolic))


def _known_answers(
    answers: Sequence[Continuation] | None, judged: Judged, *, symbolic: bool
) -> Answers | None:
    every = asked() if symbolic else wordings(judged.questions)
    if answers is None:
        if symbolic:
            return _zipped(every, standard_world().good[:, :, 0].reshape(len(every), -1).tolist())
        if judged.panel is None:
            how = "without --judge" if judged.paired is None else "with --judge paired"
            raise OptionError(
                f"--feature-tokens answer {how}: no answer is sampled that could be read"
            )
        return None
    if len(answers) != len(every):
        raise OptionError(
            f"feature_answers holds {len(answers)} answers, and there are {len(every)} wordings; "
            "one for each is needed"
        )
    if not all(answers):
        raise OptionError(f"feature_answers[{[*map(bool, answers)].index(False)}] is empty")
    return _zipped(every, answers)


def first_answers(responses: Sequence[Response]) -> Answers:
    """The first answer to each wording that has a token; a wording without one is left out."""
    found: dict[tuple[str, int], Continuation] = {}
    for response in sorted(responses, key=lambda response: response.sample):
        said = response.tokens or response.text
        if said:
            found.setdefault((response.question, response.paraphrase), said)
    return found


def reading(plan: Sequence[Round], answers: Answers | None) -> Reading:
    """What is read in all rounds; None: the last token of every prompt.

    Raises:
        OptionError: if no wording has an answer.
    """
    pairs = [pair for each in plan for pair in zip(each.asked, each.prompts(), strict=True)]
    if answers is None:
        return Reading(tuple(prompt for _, prompt in pairs))
    held = [
        (prompt, answers[key])
        for item, prompt in pairs
        if (key := (item.question, item.paraphrase)) in answers
    ]
    if not held:
        raise OptionError(
            "--feature-tokens answer: no answer at t = 0 has a token to read features at"
        )
    prompts, said = zip(*held, strict=True)
    return Reading(prompts, said, len(pairs) - len(held))


def _zipped(every: Sequence[Asked], answers: Sequence[Continuation]) -> Answers:
    pairs = zip(every, answers, strict=True)
    return {(item.question, item.paraphrase): answer for item, answer in pairs}
