"""Activation-matched rotation: `B2 -> B2 K_q^(-1/2) O K_q^(1/2)` with `K_q = A0 C^q A0^T`.

A trained B carries its initial A's geometry: after one step `B = -eta G C A0^T`, and under Adam
something in between. H0: `B2 = H C^(q/2) A0^T` with H right-invariant (unrelated to the other
task). With the polar form `C^(q/2) A0^T = P K_q^(1/2)`, `B2 = (H P) K_q^(1/2)`, and `H P` may be
followed by any rotation O of R^r: exact for q = 1 and q = 2, of which the larger p counts.

    <dW1, B2 K^(-1/2) O K^(1/2) A2> = tr(O M),    M = K^(1/2) A2 A1^T B1^T B2 K^(-1/2)

has mean 0 and variance `|M|_F^2 / r`. The statistic is the inner product; both norms are held at
what was observed. Under H0 the rotated update is as long as the observed one; where
`E |B2 K^(-1/2) O K^(1/2) A2|_F^2` is far above `|dW2|_F^2` the file refutes that q, whose
deviation is then too large and its p an upper bound. Only for the update cosine: of unrelated
trained tasks up to .57 were rejected at level .05 when the same rotation was used for overlaps.
Needs factors in the training gauge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.moment import InputMoment
from deltalens.core.shapes import Array, Float
from deltalens.errors import OptionError
from deltalens.geometry.weighted import Blocks

POWERS = (1, 2)
VALID_FOR = ("cosine", "layer_cosine")
_CONDITION = 1e12  # of K beyond which its inverse root is rounding


def require_valid(measure: str) -> None:
    """Refuse the measures that this null does not calibrate.

    Raises:
        OptionError: for anything but the update cosine.
    """
    if measure not in VALID_FOR:
        raise OptionError(
            f"the activation-matched rotation is no null for {measure}: of unrelated trained "
            f"tasks it rejects up to .57 at level .05; it is one for {' and '.join(VALID_FOR)}"
        )


def kernels(A0: Float[Array, "r in"], moment: InputMoment) -> Float[Array, "2 r r"]:
    """`K_q = A0 C^q A0^T` for q = 1 and 2."""
    AC = moment.times(A0)
    K = np.stack([AC @ A0.T, AC @ AC.T])
    return (K + K.swapaxes(-1, -2)) / 2


def roots(K: Float[Array, "r r"]) -> tuple[Float[Array, "r r"], Float[Array, "r r"]] | None:
    """`K^(1/2)` and `K^(-1/2)`, or None where K is singular: then B2 is no `H C^(q/2) A0^T`."""
    values, vectors = np.linalg.eigh(K)
    if not values[0] > values[-1] / _CONDITION:
        return None
    root = np.sqrt(values)
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


@dataclass(frozen=True, eq=False)
class Turned:
    """What the rotation does to n updates at one module, for q = 1 and 2; NaN where undefined.

    Attributes:
        squares: `|M_ij|_F^2`, entry (i, j) for rotating update j, `Float[Array, "2 n n"]`.
        energy: `E |B_j K^(-1/2) O K^(1/2) A_j|_F^2 = tr(B_j^T B_j K^-1) tr(K A_j A_j^T) / r`,
            `Float[Array, "2 n"]`; `|dW_j|_F^2` where H0 holds.
    """

    squares: Float[Array, "2 n n"]
    energy: Float[Array, "2 n"]


def turn(
    found: Blocks, starts: Sequence[Float[Array, "rank in"] | None], moment: InputMoment
) -> Turned:
    """The rotation's closed forms at one module.

    Args:
        found: the Gram blocks of one module.
        starts: the initial A of each adapter; None where it lacks the module.
        moment: C of the module's inputs.

    Returns:
        NaN for adapter j where its K_q is singular or it lacks the module.
    """
    n = len(starts)
    squares, energy = np.full((len(POWERS), n, n), np.nan), np.full((len(POWERS), n), np.nan)
    for j, start in enumerate(starts):
        r = int(found.ranks[j])
        if start is None or r == 0:
            continue
        product = found.A[j, :r].transpose(1, 0, 2) @ found.B[:, :, j, :r]  # A_j A_i^T B_i^T B_j
        GA, GB = found.A[j, :r, j, :r], found.B[j, :r, j, :r]
        for q, K in enumerate(kernels(start, moment)):
            pair = roots(K)
            if pair is not None:
                root, inverse = pair
                M = root @ product @ inverse
                squares[q, :, j] = np.einsum("iab,iab->i", M, M)
                energy[q, j] = np.sum(GB * (inverse @ inverse)) * np.sum(GA * K) / r
    squares[:, found.ranks == 0] = np.nan
    return Turned(squares, energy)
