"""The second moment of a module's inputs, whole or in a form that fits in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from deltalens.core.shapes import Array, Float
from deltalens.errors import GeometryError

MomentKind = Literal["full", "low-rank", "diagonal"]
MOMENT_KINDS: tuple[MomentKind, ...] = get_args(MomentKind)


@dataclass(frozen=True, eq=False)
class InputMoment:
    """`C = E[x x^T]` of one module's inputs (or the covariance, if centred).

    Either `C = dense`, or `C = diag(diagonal) + factor factor^T`, which is positive semidefinite
    whatever the arrays hold; a diagonal moment has a factor without columns.

    Attributes:
        diagonal: the part that the factor leaves, `Float[Array, "in"]`; zeros beside `dense`.
        factor: `Float[Array, "in rank"]`.
        dense: the whole symmetric matrix, or None.
    """

    diagonal: Float[Array, " in"]
    factor: Float[Array, "in rank"]
    dense: Float[Array, "in in"] | None = None

    def __post_init__(self) -> None:
        if self.dense is not None and not np.array_equal(self.dense, self.dense.T):
            raise GeometryError(
                f"a second moment is symmetric; found {self.dense.shape} that is not"
            )
        least = self.diagonal if self.dense is None else np.diagonal(self.dense)
        if least.size and float(least.min()) < 0:
            raise GeometryError(f"a mean square is 0 or more; found {float(least.min()):.3g}")
        if self.dense is not None and _exceeds_cauchy_schwarz(self.dense):
            raise GeometryError(
                "a second moment has |C_ij|^2 <= C_ii C_jj; found entries that no inputs can have"
            )

    @classmethod
    def full(cls, C: Float[Array, "in in"]) -> InputMoment:
        """The whole matrix."""
        return cls(np.zeros(len(C)), np.zeros((len(C), 0)), C)

    @classmethod
    def of_diagonal(cls, squares: Float[Array, " in"]) -> InputMoment:
        """The mean squares alone: inputs are taken as uncorrelated."""
        return cls(squares, np.zeros((squares.size, 0)))

    @property
    def d_in(self) -> int:
        """Width of the module's input."""
        return self.diagonal.size

    @property
    def kind(self) -> MomentKind:
        """In which of the three forms C is held."""
        if self.dense is not None:
            return "full"
        return "low-rank" if self.factor.shape[1] else "diagonal"

    def times(self, X: Float[Array, "row in"]) -> Float[Array, "row in"]:
        """`X C`."""
        if self.dense is not None:
            return X @ self.dense
        return X * self.diagonal + (X @ self.factor) @ self.factor.T

    def trace(self) -> float:
        """`tr C`, the mean square of a whole input."""
        return float(self.mean_squares().sum())

    def mean_squares(self) -> Float[Array, " in"]:
        """The diagonal of C."""
        if self.dense is not None:
            return np.diagonal(self.dense).copy()
        return self.diagonal + np.einsum("ir,ir->i", self.factor, self.factor)

    def squared_norm(self) -> float:
        """`|C|_F^2`."""
        if self.dense is not None:
            return float(np.sum(self.dense**2))
        crossed = np.einsum("i,ir,ir->", self.diagonal, self.factor, self.factor)
        inner = self.factor.T @ self.factor
        return float(np.sum(self.diagonal**2) + 2 * crossed + np.sum(inner**2))

    def to_dense(self) -> Float[Array, "in in"]:
        """The whole matrix; only for small widths and tests."""
        if self.dense is not None:
            return self.dense
        return np.diag(self.diagonal) + self.factor @ self.factor.T


def _exceeds_cauchy_schwarz(C: Float[Array, "in in"]) -> bool:
    """Whether some `E[x_i x_j]` is too large for the mean squares of x_i and x_j.

    Necessary for a positive semidefinite C, and as cheap as reading it; row by row, so that no
    second matrix of its size is made.
    """
    roots = np.sqrt(np.diagonal(C))
    slack = 1 + 1e-6  # files in float32
    return any(
        bool((np.abs(row) > slack * root * roots + 1e-30).any())
        for row, root in zip(C, roots, strict=True)
    )
