"""Hidden states on disk: written a batch at a time and mapped, so that memory holds a batch.

The file has no name, so nothing is left of it, whatever ends the process. It is written and not
mapped for writing: on a full disk a write fails, where a store to mapped memory kills the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deltalens.core.protocols import FeatureBatch
from deltalens.core.shapes import Array, Float, Int
from deltalens.core.text import shown
from deltalens.errors import AdapterError, OutputError

_TOKENS = 2**32
"""More than any prompt has: a row's key is `prompt * _TOKENS + position`."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The hidden states of one model, in the order in which they were read.

    Attributes:
        hidden: `(row, layer, dim)`, mapped from a file.
        prompt: the prompt of each row.
        position: its token in the prompt.
        cuts: where batches begin, and the end.
        keys: prompt and position of every row as one number, rising.
        order: the row of each key.
    """

    hidden: Float[Array, "row layer dim"]
    prompt: Int[Array, " row"]
    position: Int[Array, " row"]
    cuts: tuple[int, ...]
    keys: Int[Array, " row"]
    order: Int[Array, " row"]

    def batches(self) -> Iterator[FeatureBatch]:
        """The batches as they were read."""
        for start, stop in zip(self.cuts, self.cuts[1:], strict=False):
            rows = slice(start, stop)
            hidden = np.asarray(self.hidden[rows]).transpose(1, 0, 2)
            yield FeatureBatch(hidden, self.prompt[rows], self.position[rows])

    def like(self, batch: FeatureBatch) -> Float[Array, "layer row dim"]:
        """The hidden states of the same prompts and tokens as a batch of another model's.

        Raises:
            AdapterError: if the batch holds a token that was not read before.
        """
        wanted = _keys(batch.prompt, batch.position)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        if not np.array_equal(self.keys[place], wanted):
            raise AdapterError("the model read other tokens than at the ends of the path")
        return np.asarray(self.hidden[self.order[place]]).transpose(1, 0, 2)


def keep(batches: Iterator[FeatureBatch], scratch: Path | None = None) -> Kept:
    """Write every batch to a file without a name, and map it.

    Args:
        batches: hidden states as a model gives them; at least one row.
        scratch: folder of the file; None: where the system keeps temporary files.

    Raises:
        AdapterError: if a hidden state is not finite.
        OutputError: if the file cannot be written.
    """
    prompts: list[Int[Array, " row"]] = []
    positions: list[Int[Array, " row"]] = []
    cuts, shape, dtype = [0], (0, 0), np.dtype(np.float32)
    place = tempfile.gettempdir() if scratch is None else scratch
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            for batch in batches:
                require_finite(batch)
                layers, n, dim = batch.hidden.shape
                shape, dtype = (layers, dim), batch.hidden.dtype
                file.write(np.ascontiguousarray(batch.hidden.transpose(1, 0, 2)).data)
                prompts.append(batch.prompt)
                positions.append(batch.position)
                cuts.append(cuts[-1] + n)
            file.flush()
            # The mapping keeps the file's content when the file is closed, and lets it go at last.
            hidden = np.memmap(file, dtype, "r", shape=(cuts[-1], *shape))
    except OSError as error:
        raise OutputError(
            f"{shown(place)}: hidden states cannot be kept there: {error.strerror or error}"
        ) from None
    prompt, position = np.concatenate(prompts), np.concatenate(positions)
    keys = _keys(prompt, position)
    order = np.argsort(keys, kind="stable")
    return Kept(hidden, prompt, position, tuple(cuts), keys[order], order)


def require_finite(batch: FeatureBatch) -> None:
    """Refuse hidden states that are not finite.

    Raises:
        AdapterError: if there is one.
    """
    if not np.isfinite(batch.hidden).all():
        raise AdapterError("the model's hidden states are not finite: the update breaks the model")


def _keys(prompt: Int[Array, " row"], position: Int[Array, " row"]) -> Int[Array, " row"]:
    return prompt.astype(np.int64) * _TOKENS + position
