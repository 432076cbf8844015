"""What "unrelated updates of one seed" can mean: three choices, each with its range.

Two updates `B_i A0` share the initial `A0` and nothing else. Either `B_i` is unrelated to `A0`, or
it is what one gradient step leaves, `B_i = H_i C^(q/2) A0^T`, with `C` the second moment of the
module's inputs, which the two share, and `H_i` unrelated and right-invariant. q = 1 is a sum over
samples whose output gradients are noise; q = 2 is a gradient `M C` with an unrelated `M`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Float
from deltalens.errors import OptionError


@dataclass(frozen=True)
class Spectrum:
    """Singular values of H (of B where it is unrelated to A0).

    Attributes:
        name: for people.
        decay: `sigma_j = e^(-j / decay)`, j = 0, 1, ..; None for independent Gaussian entries,
            the flattest spectrum that is not made by hand.
        own: take the singular values of real files instead.
    """

    name: str
    decay: float | None = None
    own: bool = False


@dataclass(frozen=True)
class Inputs:
    """Eigenvalues of C, of mean 1.

    Attributes:
        kind: `"isotropic"`, `"one direction"` or `"power law"`.
        amount: share of the energy in the one direction, or the exponent a of `c_j ~ j^-a`.
    """

    kind: str = "isotropic"
    amount: float = 0.0

    def __str__(self) -> str:
        if self.kind == "one direction":
            return f"one direction with {100 * self.amount:g} % of the energy"
        return f"power law j^-{self.amount:g}" if self.kind == "power law" else self.kind

    def energies(self, d: int) -> Float[np.ndarray, " d"]:
        """The d eigenvalues, the largest first."""
        if self.kind == "one direction":
            c = np.full(d, (1 - self.amount) * d / (d - 1))
            c[0] = self.amount * d
            return c
        c = np.arange(1, d + 1, dtype=float) ** -self.amount
        return c * (d / c.sum())

    def effective_rank(self, d: int) -> float:
        """`(sum c)^2 / sum c^2`, the participation ratio."""
        return d**2 / float(np.sum(self.energies(d) ** 2))


@dataclass(frozen=True)
class Hypothesis:
    """One way in which two updates of one seed are unrelated.

    Attributes:
        spectrum: of the r columns of H that training uses (of B where it is unrelated to A0).
        inputs: C; None where B is unrelated to A0.
        q: the power of C, 0 where B is unrelated to A0.
    """

    spectrum: Spectrum
    inputs: Inputs | None = None
    q: int = 0

    def __str__(self) -> str:
        return f"{self.family}: {self.spectrum.name}{self._detail}"

    @property
    def family(self) -> str:
        """The assumption that sets it apart, of which the others are details."""
        if self.inputs is None:
            return "B unrelated to A"
        return {
            "isotropic": "one gradient step, isotropic inputs",
            "one direction": "one gradient step, one shared input direction",
            "power law": "one gradient step, power-law inputs",
        }[self.inputs.kind]

    @property
    def _detail(self) -> str:
        if self.inputs is None or self.inputs.kind == "isotropic":
            return ""
        return f", {self.inputs}, q = {self.q}"


FAMILIES = (
    "B unrelated to A",
    "one gradient step, isotropic inputs",
    "one gradient step, one shared input direction",
    "one gradient step, power-law inputs",
)
# Families in which every input direction has the same energy.
ISOTROPIC = FAMILIES[:2]
FLAT = Spectrum("independent entries")
OWN = Spectrum("the files' own spectra", own=True)
SPECTRA = (
    FLAT,
    *(Spectrum(f"spectrum e^-j/{decay:g}", decay) for decay in (128.0, 64.0, 32.0, 16.0, 8.0, 4.0)),
)
ONE_DIRECTION = (0.005, 0.01, 0.02, 0.03)
POWER_LAWS = (0.5, 0.75, 1.0, 1.25)


def hypotheses(spectra: Sequence[Spectrum] = SPECTRA) -> tuple[Hypothesis, ...]:
    """Every combination that the audit simulates, by family.

    The files' own spectra are those of B, which for a gradient step holds C^(q/2) A0^T already:
    they belong to the family where B is unrelated to A0, and to no other.

    Raises:
        OptionError: without a spectrum.
    """
    if not spectra:
        raise OptionError("no spectrum to simulate; at least one is needed")
    anisotropic = [
        *(Inputs("one direction", share) for share in ONE_DIRECTION),
        *(Inputs("power law", exponent) for exponent in POWER_LAWS),
    ]
    of_gradients = [spectrum for spectrum in spectra if not spectrum.own]
    return (
        *(Hypothesis(spectrum) for spectrum in spectra),
        *(Hypothesis(spectrum, Inputs(), 1) for spectrum in of_gradients),
        *(Hypothesis(s, c, q) for c in anisotropic for q in (1, 2) for s in of_gradients),
    )
