"""Answers that are asked for one by one, generated in batches.

Inspect asks for every answer on its own, many at a time. The first to ask waits until no other
request has come for a moment, answers all of them in a thread, and passes the answers on. Where
it is cancelled, as by Ctrl-C, the thread stops after the batch that it is at, and whoever still
waits takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import anyio
import anyio.from_thread
import anyio.to_thread

from deltalens.core.protocols import Generated, Prompt
from deltalens.errors import DeltalensError
from deltalens.models.hf import HFModel

QUIET = 0.1
"""Seconds without another request after which those that are there are answered."""


class Request(NamedTuple):
    """One answer that is wanted."""

    prompt: Prompt
    draw: tuple[int, ...]
    temperature: float
    max_tokens: int


class Answer(NamedTuple):
    """One answer, and how many tokens were read for it."""

    generated: Generated
    read: int


@dataclass(eq=False)
class _Waiting:
    request: Request
    answer: Answer | None = None
    problem: Exception | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.problem is not None


class Batcher:
    """Collects requests of many tasks of one event loop."""

    def __init__(self, use: Callable[[Callable[[HFModel], None]], None]) -> None:
        """Make one.

        Args:
            use: calls what it is given with the model, in this thread.
        """
        self._use = use
        self._pending: list[_Waiting] = []
        self._turn = anyio.Lock()

    async def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers, in order.

        Raises:
            DeltalensError: what the model says of these requests.
        """
        mine = [_Waiting(request) for request in requests]
        self._pending += mine
        try:
            async with self._turn:
                if not all(waiting.done for waiting in mine):
                    await self._quiet()
                    taken, self._pending = self._pending, []
                    try:
                        await anyio.to_thread.run_sync(self._answer, taken)
                    finally:
                        left = [waiting for waiting in taken if not waiting.done]
                        self._pending = left + self._pending
        finally:  # whoever was cancelled is not answered any more
            self._pending = [waiting for waiting in self._pending if waiting not in mine]
        for waiting in mine:
            if waiting.problem is not None:
                raise waiting.problem
        return [waiting.answer for waiting in mine if waiting.answer is not None]

    async def _quiet(self) -> None:
        n = 0
        while n != len(self._pending):
            n = len(self._pending)
            await anyio.sleep(QUIET)

    def _answer(self, taken: Sequence[_Waiting]) -> None:
        """Answer all; in a thread, hence whatever happens is kept for those who wait."""
        try:
            self._use(lambda model: answer_all(model, taken))
        except Exception as problem:  # raised again by everyone who waits
            for waiting in taken:
                if not waiting.done:
                    waiting.problem = problem


def answer_all(model: HFModel, taken: Sequence[_Waiting]) -> None:
    """Answer requests in the order of their draws, those of one temperature and length together.

    A walk's answers have that order, so that what is asked at once is generated in a walk's own
    batches, and is the same to the last bit.
    """
    groups: dict[tuple[float, int], list[tuple[_Waiting, int]]] = {}
    for waiting in sorted(taken, key=lambda waiting: waiting.request.draw):
        if waiting.done:  # by another thread, while this one waited for the model
            continue
        request = waiting.request
        try:  # one by one: a prompt that cannot be read is nobody else's problem
            read = model.prompt_lengths([request.prompt])[0]
        except DeltalensError as problem:
            waiting.problem = problem
            continue
        groups.setdefault((request.temperature, request.max_tokens), []).append((waiting, read))
    for (temperature, max_tokens), group in groups.items():
        ordered = sorted(group, key=lambda pair: -pair[1])  # as `models.tokens.batches` does
        for start in range(0, len(ordered), model.batch_size):
            anyio.from_thread.check_cancelled()
            batch = ordered[start : start + model.batch_size]
            _answer_batch(model, batch, temperature, max_tokens)


def _answer_batch(
    model: HFModel, batch: Sequence[tuple[_Waiting, int]], temperature: float, max_tokens: int
) -> None:
    made = model.generate(
        [waiting.request.prompt for waiting, _ in batch],
        draws=[waiting.request.draw for waiting, _ in batch],
        temperature=temperature,
        max_new_tokens=max_tokens,
    )
    for (waiting, read), generated in zip(batch, made, strict=True):
        waiting.answer = Answer(generated, read)
