"""What a model and a judge must offer, so that studies know neither torch nor any service.

A class satisfies a protocol by having its methods; nothing is inherited and nothing is registered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from deltalens.core.adapter import Adapter
from deltalens.core.shapes import Array, Float, Int

Prompt = str | Sequence[int] | Sequence[Mapping[str, str]]
"""A question: text, token ids, or chat messages (`{"role": ..., "content": ...}`)."""

Continuation = str | Sequence[int]
"""What follows a prompt: text or token ids."""

Positions = Literal["last", "answer", "all"]
"""The last token of the prompt, every token of the continuation, or every token of both."""

POSITIONS: tuple[Positions, ...] = get_args(Positions)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBatch:
    """Hidden states of one batch, after every block, at the positions that were asked for.

    Attributes:
        hidden: `Float[Array, "layer row dim"]`, before the model's final norm.
        prompt: index of the prompt that each row belongs to, in the order given by the caller.
        position: the row's token, counted from the first token of its prompt.
    """

    hidden: Float[Array, "layer row dim"]
    prompt: Int[Array, " row"]
    position: Int[Array, " row"]


@dataclass(frozen=True, slots=True)
class Generated:
    """One sampled answer.

    Attributes:
        prompt: index of the prompt.
        sample: index of the sample, from 0.
        tokens: ids of the answer, without what ended it; None where only the text is known.
        text: the answer as text, or None where the model has no tokenizer.
        finished: False where the answer was cut at the largest length.
    """

    prompt: int
    sample: int
    tokens: tuple[int, ...] | None
    text: str | None
    finished: bool


@runtime_checkable
class Model(Protocol):
    """A language model that can be looked at under an update, and is given back unchanged."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    def adapted(self, adapter: Adapter) -> AbstractContextManager[object]:
        """The model with `adapter` added, while the context lasts."""
        ...

    def features(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[Continuation] | None = None,
        *,
        positions: Positions = "last",
        batch_size: int | None = None,
    ) -> Iterator[FeatureBatch]:
        """Hidden states after every block, a batch at a time, always in the same batches."""
        ...

    def logprobs(
        self, prompts: Sequence[Prompt], continuations: Sequence[Continuation]
    ) -> Float[Array, " pair"]:
        """`log P(continuation | prompt)` of each pair, summed over its tokens, in nats."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        temperature: float = 1.0,
        seed: int = 0,
        max_new_tokens: int = 256,
    ) -> list[Generated]:
        """`n` samples of each prompt, prompt by prompt."""
        ...


class Mix(Protocol):
    """The coefficients of the updates that a model carries."""

    def set(self, coefficients: Sequence[float]) -> None:
        """Make the model `W + sum_i c_i dW_i` from now on."""
        ...


@runtime_checkable
class MixingModel(Model, Protocol):
    """A model that moves between sums of the same updates without loading them again."""

    def mixed(self, ends: Sequence[Adapter]) -> AbstractContextManager[Mix]:
        """The model with `ends` at hand, all coefficients 0 until they are set."""
        ...


@runtime_checkable
class ChoosingModel(Model, Protocol):
    """A model that says how likely each of many short texts is as the whole rest of its answer."""

    def choice_logprobs(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[str],
        *,
        start: str = "",
        ends: Sequence[str] = (),
    ) -> Float[Array, "prompt choice"]:
        """`log P(choice, and then the end | prompt, start)`, in nats.

        The end is that of the turn, or one of `ends`.
        """
        ...


@runtime_checkable
class CountingModel(Model, Protocol):
    """A model that says how many tokens a continuation has."""

    def continuation_lengths(self, continuations: Sequence[Continuation]) -> Int[Array, " text"]:
        """Tokens of each continuation, as `logprobs` sums over them."""
        ...


@runtime_checkable
class PointsModel(Model, Protocol):
    """A model that holds some points of one path and no other update, as a server does.

    It has no hidden states to give.
    """

    @property
    def positions(self) -> tuple[float, ...]:
        """Where its points are, rising."""
        ...

    def require(self, kind: str, ends: Sequence[Adapter]) -> None:
        """Refuse a path that its points do not lie on."""
        ...

    def digest(self) -> str:
        """SHA-256 of everything that its answers are known to depend on."""
        ...

    def ready(self) -> Model:
        """The model, known to answer at all its points."""
        ...

    def at(self, t: float | None) -> AbstractContextManager[Model]:
        """The model at a position; None is the base."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What a reader of its answers should know."""
        ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and one answer, as a judge sees them.

    Attributes:
        question: id of the question.
        prompt: what the model was asked, in one of its paraphrases.
        response: the answer's text; None where only tokens exist.
        tokens: the answer's token ids; None where only text exists.
        metadata: whatever else the question's author wrote down for the judge.
    """

    question: str
    prompt: Prompt
    response: str | None
    tokens: tuple[int, ...] | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What a judge says of an exchange; the scale is the judge's, and is stated by it."""

    value: float
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Unscored:
    """A judge had no opinion, and why. Counted, never dropped."""

    reason: str


@runtime_checkable
class Judge(Protocol):
    """Scores exchanges on one criterion."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    def __call__(self, exchange: Exchange) -> Score | Unscored:
        """Score one exchange."""
        ...
