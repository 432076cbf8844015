"""Any transformers causal language model as a `Model`."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.protocols import (
    POSITIONS,
    Continuation,
    FeatureBatch,
    Generated,
    Positions,
    Prompt,
)
from deltalens.core.shapes import Array, Float, Int
from deltalens.errors import OptionError
from deltalens.models.blocks import chosen, decoder_blocks, hidden_states
from deltalens.models.choices import choice_logprobs, choice_rows, end_tokens, require_apart
from deltalens.models.hooks import Hooks, build, remove
from deltalens.models.load import load
from deltalens.models.runtime import Runtime
from deltalens.models.sampling import Draw, sample
from deltalens.models.scoring import continuation_logprobs
from deltalens.models.tokens import Encoder, Row, batches


class HFModel:
    """A transformers causal language model; its weights are never written.

    Attributes:
        name: how reports call it.
        model: the torch model, in evaluation mode.
        batch_size: rows of a forward pass.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        name: str = "model",
        batch_size: int = 16,
        chat: bool | None = None,
        stop: Collection[int] | None = None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: a transformers causal language model, wherever its parts lie.
            tokenizer: its tokenizer; without one, prompts are token ids.
            name: how reports call it.
            batch_size: rows of a forward pass.
            chat: whether text goes through the chat template; by default if there is one.
            stop: tokens that end an answer; by default the model's end-of-sequence tokens.
        """
        self.model, self.name = model, name
        self.batch_size = _checked_size(batch_size)
        self._runtime = Runtime(model)
        vocabulary = model.get_input_embeddings().num_embeddings
        self._encoder = Encoder(tokenizer, vocabulary, chat=chat)
        self._stop = frozenset(_end_tokens(model) if stop is None else stop)
        self._state = object()  # another one whenever what the model computes changes

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        dtype: str | None = None,
        device: str | None = None,
        device_map: str | Mapping[str, Any] | None = None,
        name: str | None = None,
        batch_size: int = 16,
        chat: bool | None = None,
        stop: Collection[int] | None = None,
    ) -> HFModel:
        """Load from a local directory; the options are those of `load.load` and of the class.

        Raises:
            BaseModelError: if transformers cannot load it, or weights are missing from it.
            OptionError: if options do not go together.
        """
        path = Path(folder)
        model, tokenizer = load(path, dtype=dtype, device=device, device_map=device_map)
        called = name or path.name
        return cls(model, tokenizer, name=called, batch_size=batch_size, chat=chat, stop=stop)

    @contextmanager
    def mixed(self, ends: Sequence[Adapter]) -> Generator[HFMix]:
        """The model with `W + sum_i c_i dW_i`, the factors of all ends uploaded once.

        All coefficients are 0, hence the model is the base, until `mix.set` is called.

        Raises:
            AdapterError: if an end does not fit the model; before anything is changed.
            OptionError: if the model carries an adapter already.
        """
        mix = HFMix(self, build(self.model, ends))
        handles = mix.hooks.place()
        try:
            self._changed()
            yield mix
        finally:
            remove(handles)
            self._changed()

    @contextmanager
    def adapted(self, adapter: Adapter) -> Generator[HFModel]:
        """The model with `adapter` added, while the context lasts.

        Raises:
            AdapterError: if it does not fit the model; before anything is changed.
            OptionError: if the model carries an adapter already.
        """
        with self.mixed([adapter]) as mix:
            mix.set([1.0])
            yield self

    def features(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[Continuation] | None = None,
        *,
        positions: Positions = "last",
        batch_size: int | None = None,
    ) -> Iterator[FeatureBatch]:
        """Hidden states after every block, before the final norm, a batch at a time.

        Args:
            prompts: what the model reads.
            continuations: what follows each prompt; needed for `"answer"`.
            positions: `"last"`: the last token of each prompt; `"answer"`: the tokens of its
                continuation; `"all"`: every token of both.
            batch_size: rows of a forward pass, if not the model's own.

        Raises:
            OptionError: if prompts cannot be read, or if the batches are taken after the adapter
                has changed.
        """
        if positions not in POSITIONS:
            raise OptionError(f"positions is {positions!r}, where {POSITIONS} are allowed")
        if positions == "answer" and continuations is None:
            raise OptionError("positions 'answer' needs continuations")
        rows = self._encoder.prompts(prompts)
        lengths = [len(row) for row in rows]
        if continuations is not None:
            after = self._encoder.continuations(continuations, len(rows))
            rows = [[*row, *more] for row, more in zip(rows, after, strict=True)]
        size = self.batch_size if batch_size is None else _checked_size(batch_size)
        return self._features(rows, lengths, positions, size, self._state)

    def _features(
        self, rows: list[Row], lengths: list[int], positions: Positions, size: int, of: object
    ) -> Iterator[FeatureBatch]:
        blocks = decoder_blocks(self.model)
        for batch in batches(rows, size, side="right"):
            if self._state is not of:
                raise OptionError("the adapter changed while features were being read: take them"
                                  " inside the context, point by point")  # fmt: skip
            line, token = chosen(batch, lengths, positions)
            hidden = hidden_states(self._runtime, blocks, batch, line, token)
            yield FeatureBatch(hidden, batch.index[line], token)

    def logprobs(
        self, prompts: Sequence[Prompt], continuations: Sequence[Continuation]
    ) -> Float[Array, " pair"]:
        """`log P(continuation | prompt)` of each pair, summed over its tokens, in nats.

        Raises:
            OptionError: if there is not one continuation for each prompt, or one cannot be read.
        """
        before = self._encoder.prompts(prompts)
        after = self._encoder.continuations(continuations, len(before))
        return continuation_logprobs(self._runtime, before, after, self.batch_size)

    def choice_logprobs(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[str],
        *,
        start: str = "",
        ends: Sequence[str] = (),
    ) -> Float[Array, "prompt choice"]:
        """`log P(choice, and then the end | prompt, start)`, in nats; see `models.choices`.

        Args:
            prompts: what the model reads.
            choices: texts, any of which may be the rest of its answer.
            start: how the answer begins, whatever follows.
            ends: what may follow a choice beside the end of the turn, a token each.

        Raises:
            OptionError: if a prompt cannot be read or is too long, the tokenizer cannot tell
                choices apart, an end is no token or goes on within a choice, or there is none.
        """
        before, rows = choice_rows(self._encoder, choices, start)
        stop = self._stop | end_tokens(self._encoder, ends)
        require_apart(choices, rows, stop)
        read = [[*row, *before] for row in self._encoder.prompts(prompts)]
        return choice_logprobs(self._runtime, read, rows, stop, self.batch_size)

    def continuation_lengths(self, continuations: Sequence[Continuation]) -> Int[Array, " text"]:
        """Tokens of each continuation, as `logprobs` sums over them.

        Raises:
            OptionError: if one cannot be read.
        """
        rows = self._encoder.continuations(continuations, len(continuations))
        return np.array([len(row) for row in rows], dtype=np.int64)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        temperature: float = 1.0,
        seed: int = 0,
        max_new_tokens: int = 256,
        draws: Sequence[Draw] | None = None,
    ) -> list[Generated]:
        """`n` samples of each prompt, prompt by prompt; see `sampling` for their randomness.

        With `draws`, one for each answer, `(seed, i, j)` gives sample j of prompt i whatever is
        asked beside it: for callers that are asked answer by answer.

        Raises:
            OptionError: if a prompt cannot be read or an option is impossible.
            AdapterError: if the logits are not finite.
        """
        answers = sample(
            self._runtime,
            self._encoder.prompts(prompts),
            n=n,
            temperature=temperature,
            seed=seed,
            max_new_tokens=max_new_tokens,
            stop=self._stop,
            batch_size=self.batch_size,
            draws=draws,
        )
        return [
            Generated(i // n, i % n, tokens, self._encoder.text(tokens), finished)
            for i, (tokens, finished) in enumerate(answers)
        ]

    def prompt_lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """How many tokens the model reads for each prompt, chat template included."""
        return [len(row) for row in self._encoder.prompts(prompts)]

    def _changed(self) -> None:
        self._state = object()


class HFMix:
    """The coefficients of the updates that a model carries."""

    def __init__(self, model: HFModel, hooks: Hooks) -> None:
        self._model, self.hooks = model, hooks

    def set(self, coefficients: Sequence[float]) -> None:
        """Make the model `W + sum_i c_i dW_i` from now on.

        Raises:
            OptionError: if there is not one finite number for each end.
        """
        self.hooks.set(coefficients)
        self._model._changed()  # pyright: ignore[reportPrivateUsage]


def _end_tokens(model: Any) -> list[int]:
    settings = getattr(model, "generation_config", None) or model.config
    found = getattr(settings, "eos_token_id", None)
    return [] if found is None else [found] if isinstance(found, int) else list(found)


def _checked_size(size: int) -> int:
    if size < 1:
        raise OptionError(f"batch_size is {size}, where 1 or more is needed")
    return size
