"""Sampling whose randomness belongs to each answer, and not to torch or to the batch.

Every answer draws its own numbers from `default_rng([seed, prompt, sample])`, one for each token,
and turns them into tokens through the cumulative distribution. So the global generators are never
touched, another batch size gives the same answers (up to rounding), and two models that are asked
with one seed share their random numbers, which makes their difference less noisy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from deltalens.core.shapes import Array, Float, Int
from deltalens.errors import AdapterError, OptionError
from deltalens.models.runtime import Runtime
from deltalens.models.tokens import Batch, Row, batches

Draw = Sequence[int]
"""What an answer's random numbers are seeded with: seed, prompt and sample, unless others."""


class Answer(NamedTuple):
    """Token ids without what ended them, and whether anything did."""

    tokens: tuple[int, ...]
    finished: bool


def sample(
    runtime: Runtime,
    prompts: Sequence[Row],
    *,
    n: int,
    temperature: float,
    seed: int,
    max_new_tokens: int,
    stop: Collection[int],
    batch_size: int,
    draws: Sequence[Draw] | None = None,
) -> list[Answer]:
    """`n` answers to each prompt, prompt by prompt, from the model's own distribution.

    Nothing of a model's generation settings (top-p, penalties) is applied, because what is
    measured is the model; temperature 0 takes the likeliest token. `draws` are what the answers
    draw their numbers from, in place of `(seed, prompt, sample)`.

    Raises:
        OptionError: if an option is impossible.
        AdapterError: if the logits are not finite.
    """
    if n < 1 or max_new_tokens < 1 or not 0 <= temperature < np.inf or seed < 0:
        raise OptionError(
            f"n = {n}, max_new_tokens = {max_new_tokens}, temperature = {temperature:g}, "
            f"seed = {seed}: positive counts, and neither temperature nor seed under 0, are needed"
        )
    rows = [row for row in prompts for _ in range(n)]
    if draws is None:
        draws = [(seed, i // n, i % n) for i in range(len(rows))]
    if len(draws) != len(rows) or not all(draws) or min(map(min, draws), default=0) < 0:
        raise OptionError(
            f"{len(draws)} draws for {len(rows)} answers: one each is needed, of whole numbers of "
            "0 or more"
        )
    answers: list[Answer | None] = [None] * len(rows)
    for batch in batches(rows, batch_size, side="left"):
        own = [np.random.default_rng(list(draws[i])) for i in batch.index.tolist()]
        uniform = np.stack([rng.random(max_new_tokens) for rng in own])
        tokens = _continue(runtime, batch, uniform, temperature, frozenset(stop))
        for i, drawn in zip(batch.index.tolist(), tokens, strict=True):
            answers[i] = _cut(drawn.tolist(), stop)
    return [answer for answer in answers if answer is not None]


def _continue(
    runtime: Runtime,
    batch: Batch,
    uniform: Float[Array, "row step"],
    temperature: float,
    stop: frozenset[int],
) -> Int[Array, "row drawn"]:
    """Draw tokens until every row has met a stop or the steps are used up."""
    ids, mask, cache = batch.ids, batch.mask, None
    drawn = np.zeros((len(ids), 0), dtype=np.int64)
    ended = np.zeros(len(ids), dtype=bool)
    for step in range(uniform.shape[1]):
        logits, cache = runtime.step(ids, mask, cache)
        ids = _pick(runtime, logits, uniform[:, step], temperature)[:, None]
        drawn = np.hstack([drawn, ids])
        mask = np.hstack([mask, np.ones_like(ids)])
        ended |= np.isin(ids[:, 0], list(stop))
        if ended.all():
            break
    return drawn


def _pick(
    runtime: Runtime, logits: Any, uniform: Float[Array, " row"], temperature: float
) -> Int[Array, " row"]:
    """The first token whose cumulative probability exceeds the row's uniform number."""
    torch = runtime.torch
    with torch.inference_mode():
        if temperature == 0:
            token, sound = logits.argmax(-1), logits.sum(-1)
        else:
            mass = (logits.double() / temperature).softmax(-1).cumsum(-1)
            sound = mass[:, -1]
            bar = torch.from_numpy(uniform).to(mass.device) * sound
            token = (mass <= bar[:, None]).sum(-1).clamp(max=mass.shape[-1] - 1)
        if not bool(torch.isfinite(sound).all()):
            raise AdapterError("the model's logits are not finite: the update breaks the model")
        return token.cpu().numpy()


def _cut(tokens: list[int], stop: Collection[int]) -> Answer:
    for i, token in enumerate(tokens):
        if token in stop:
            return Answer(tuple(tokens[:i]), finished=True)
    return Answer(tuple(tokens), finished=False)
