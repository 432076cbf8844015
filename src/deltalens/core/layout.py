"""How a base stores the matrix that an update changes.

An update is always `(out, in)`: rows of A are what the module reads, columns of B what it writes.
Files differ: a linear layer is stored as it is, GPT-2's Conv1D, embeddings and some experts
transposed, a convolution as `(out, in, height, width)`, which is `(out, in height width)` here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float

_STEPS = (0.7, 0.3, 0.9, 0.5)


@dataclass(frozen=True)
class Layout:
    """Where the `(out, in)` of an update stands in the base's stored tensor.

    Attributes:
        transposed: stored as `(in, out)`.
        kernel: sizes of a convolution's window, stored after `(out, in)`; at most two.
    """

    transposed: bool = False
    kernel: tuple[int, ...] = ()

    def stored(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """The stored shape of an update `(out, in)`."""
        out, in_ = shape
        if self.kernel:
            return (out, in_ // math.prod(self.kernel), *self.kernel)
        return (in_, out) if self.transposed else (out, in_)

    def matrix(self, W: Array) -> Float[Array, "out in"]:
        """A stored tensor as `(out, in)`, without a copy."""
        if self.kernel:
            return W.reshape(W.shape[0], -1)
        return W.T if self.transposed else W

    def probe(self, update: LowRankUpdate, expert: int | None = None) -> float:
        """`sum dW[i,j,k,l] cos(1 + .7 i + .3 j + .9 k + .5 l)` over the stored tensor.

        Catches transposes and signs that a norm cannot. The cosine of a sum is the real part of a
        product of phases, hence thin sums and no dense matrix. One expert counts as slice
        `i = expert` of a tensor of three axes.
        """
        first = 0 if expert is None else 1
        stored = self.stored(update.shape)
        phases = [
            np.exp(1j * step * np.arange(n))
            for n, step in zip(stored, _STEPS[first:], strict=False)
        ]
        if self.transposed:
            phases.reverse()
        out, in_ = phases[0], reduce(np.multiply.outer, phases[1:]).ravel()
        start = np.exp(1j * (1 + (0 if expert is None else _STEPS[0] * expert)))
        return float((start * ((out @ update.B) @ (update.A @ in_))).real)


PLAIN = Layout()
