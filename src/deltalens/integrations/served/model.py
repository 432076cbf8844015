"""A server's models as a `PointsModel`: a walk asks them as it asks a local one."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.protocols import Continuation, FeatureBatch, Generated, Positions, Prompt
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.integrations.served.client import Answered, Client, EndedError
from deltalens.integrations.served.points import Points, several


class ServedModel:
    """Points of a path behind an address; nothing is uploaded.

    Attributes:
        points: position -> the server's model.
        concurrency: requests at a time.
    """

    def __init__(
        self, points: Points, client: Client, *, concurrency: int, model: str | None = None
    ) -> None:
        self.points, self.concurrency = points, concurrency
        self._client, self._model = client, model

    @property
    def name(self) -> str:
        """How reports call it."""
        return self.points.name

    @property
    def positions(self) -> tuple[float, ...]:
        """Where the server has points, rising."""
        return tuple(sorted(self.points.names))

    def require(self, kind: str, ends: Sequence[Adapter]) -> None:
        """Refuse a path that the points do not lie on."""
        self.points.require(kind, ends)

    def digest(self) -> str:
        """SHA-256 over the server's names and the adapters behind them; the address may change."""
        return self.points.digest()

    def ready(self) -> ServedModel:
        """The server is there and has the models.

        Raises:
            OptionError: naming the models that it lacks, and those that it has.
        """
        if self.points.unlisted:
            self._client.answers()
            return self
        listed = self._client.models()
        missing = [name for name in self.points.names.values() if name not in listed]
        if missing:
            raise OptionError(
                f"--model {shown(self._client.url, 120)}: the server has no model "
                f"{several(missing)}; it has {several(listed)}"
            )
        return self

    @contextmanager
    def at(self, t: float | None) -> Generator[ServedModel]:
        """The model at a position.

        Raises:
            OptionError: if there is none.
        """
        name = self.points.base if t is None else self.points.names.get(t)
        if name is None:
            where = "the base" if t is None else f"t = {t:g}"
            raise OptionError(f"{where} is not served; served are {several(self._names())}")
        yield ServedModel(self.points, self._client, concurrency=self.concurrency, model=name)

    def notes(self) -> tuple[str, ...]:
        """What a reader of the answers should know."""
        sampled = (
            "answers were sampled by a server: a local walk of the same seed gives other texts"
        )
        if self.points.made is not None:
            return (sampled,)
        return (sampled, "what the served models were made from is known by their names only")

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        temperature: float = 1.0,
        seed: int = 0,
        max_new_tokens: int = 256,
    ) -> list[Generated]:
        """`n` samples of each prompt, prompt by prompt; a request and a seed of its own for each.

        Raises:
            OptionError: if no point was chosen, or a prompt is no text.
            BehaviourError: if an answer does not come; nothing is made of the others.
        """
        if self._model is None:
            raise OptionError("a server answers at a point: use it inside at(t)")
        settings = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": 1.0}
        asked = [(i, j) for i in range(len(prompts)) for j in range(n)]
        texts = [_messages(prompt) for prompt in prompts]
        bodies = [
            {"model": self._model, "messages": texts[i], "seed": _seed(seed, i, j), **settings}
            for i, j in asked
        ]
        return [
            Generated(i, j, None, answer.text, answer.finished)
            for (i, j), answer in zip(asked, self._answers(bodies), strict=True)
        ]

    def _answers(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answered]:
        """All answers in order; the first failure ends what has not been sent."""
        self._client.begin()
        with ThreadPoolExecutor(self.concurrency) as pool:
            asked = [pool.submit(self._asked, body) for body in bodies]
            try:
                done, _ = wait(asked, return_when=FIRST_EXCEPTION)
                for one in done:
                    error = one.exception()
                    if error is not None and not isinstance(error, EndedError):
                        raise error
                return [one.result() for one in asked]
            except BaseException:
                self._client.end()
                raise

    def _asked(self, body: Mapping[str, Any]) -> Answered:
        try:
            return self._client.answer(body)
        except BaseException:
            self._client.end()
            raise

    def features(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[Continuation] | None = None,
        *,
        positions: Positions = "last",
        batch_size: int | None = None,
    ) -> Iterator[FeatureBatch]:
        """A server gives no hidden states."""
        del prompts, continuations, positions, batch_size
        raise OptionError("a server gives no hidden states: features need a local model")

    def logprobs(
        self, prompts: Sequence[Prompt], continuations: Sequence[Continuation]
    ) -> Float[Array, " pair"]:
        """The chat interface scores no given answer."""
        del prompts, continuations
        raise OptionError(
            "a server's chat interface gives no log-probability of a given answer: that needs a "
            "local model"
        )

    def adapted(self, adapter: Adapter) -> AbstractContextManager[object]:
        """No adapter is uploaded."""
        raise OptionError(
            f"{shown(adapter.name)}: a server has the points that it was started with, and takes "
            "no other adapter"
        )

    def _names(self) -> list[str]:
        return [f"t = {t:g}" for t in self.positions]


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if prompt and all(isinstance(part, Mapping) for part in prompt):
        return [dict(message) for message in cast("Sequence[Mapping[str, str]]", prompt)]
    raise OptionError("a server is asked in text or chat messages; token ids are no prompt for it")


def _seed(seed: int, prompt: int, sample: int) -> int:
    """31 bits: what every server takes."""
    return int(np.random.SeedSequence([seed, prompt, sample]).generate_state(1)[0] >> 1)
