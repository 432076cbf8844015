"""The sentences of the audit: what a number inside, or outside, the range does and does not say.

A published value inside the range of unrelated updates says nothing about the task. One outside it
is not explained by what was simulated, which is not yet evidence about the task: training is longer
than one step, and only a bank of unrelated adapters of the same seed and recipe can tell.
"""

from __future__ import annotations

from deltalens.studies.audit.ranges import Range
from deltalens.studies.audit.simulate import Cuts

UNOPENED = (
    "The adapters themselves were not opened: that they share their initial lora_A is inferred "
    "from the published training configuration (seed 0 for every adapter)."
)
ASSUMES = (
    "Two updates B_i A0 share the initial lora_A and nothing else; lora_A does not move.",
    "B_i is unrelated to A0, or B_i = H_i C^(q/2) A0^T, one gradient step, with unrelated H_i and "
    "shared second moments C of the inputs (q = 1: noisy output gradients; q = 2: a mean "
    "gradient).",
    "H_i (or B_i) has independent entries or singular values e^-j/t, t = 128, 64, 32, 16, 8 or 4. "
    "A spectrum flatter than independent entries would raise the upper end further, to 1 for "
    "orthogonal columns.",
    "C is isotropic, has one direction with 0.5 to 3 % of the energy, or a power law j^-0.5 to "
    "j^-1.25; how anisotropic the real inputs are was not measured.",
    "Modules are independent; rank 32 at the models' real shapes; A0 uniform, as PEFT draws it. "
    "Many steps of Adam were not simulated: real training can leave the range on either side.",
)


def measure_name(measure: str, cuts: Cuts) -> str:
    """A measure in plain words, with its cut."""
    return {
        "overlap": f"subspace overlap (k = {cuts.overlap})",
        "angle_deg": f"mean principal angle (k = {cuts.angle}, degrees)",
        "pc_cosine": f"mean PC cosine (k = {cuts.angle})",
        "first_pc_cosine": "first PC cosine",
    }[measure]


def sentence(
    name: str, low: float, high: float, span: Range, plain: Range, *, subject: str = "published"
) -> str:
    """What can be said of values between `low` and `high`.

    Args:
        name: the measure.
        low: lowest value.
        high: highest value.
        span: range of unrelated updates of one seed, over all hypotheses.
        plain: the same over those with isotropic inputs.
        subject: what the values are.
    """
    values = number(low) if number(low) == number(high) else f"{number(low)} to {number(high)}"
    said = (
        f"{name}: {subject} {values}; unrelated updates of one seed give {_span(plain)} with "
        f"isotropic inputs and {_span(span)} with any that were assumed. "
    )
    inside = [span.holds(low), span.holds(high)]
    if all(inside):
        simply = plain.holds(low) and plain.holds(high)
        where = "already with isotropic inputs" if simply else "with anisotropic inputs only"
        return said + (
            f"Inside the range, {where}: nothing about the task can be concluded from this number."
        )
    if any(inside):
        return said + (
            "Partly outside the range: the values inside say nothing about the task, and those "
            "outside need a bank of unrelated adapters of the same seed before they can."
        )
    return said + (
        "Outside the range: what was simulated does not explain it, which is no evidence about the "
        "task either; a bank of unrelated adapters of the same seed and recipe would be needed."
    )


def _span(found: Range) -> str:
    return f"{number(found.low)} to {number(found.high)}"


def control_sentence(name: str, low: float, high: float, chance: float) -> str:
    """What the paper's controls, which have other initialisations, are evidence of."""
    return (
        f"{name}: the paper's controls, adapters of other authors, give {number(low)} to "
        f"{number(high)}; subspaces without a common initialisation give {number(chance)}. The "
        "controls show what different initialisations give, and say nothing of one seed."
    )


def conclusion(n_inside: int, n_values: int) -> str:
    """The answer of the whole audit."""
    if n_inside == n_values:
        head = f"All {n_values} published input-side values of the EM pairs lie inside"
        tail = "From these numbers alone nothing about the task can be concluded."
    elif n_inside:
        head = f"{n_inside} of {n_values} published input-side values of the EM pairs lie inside"
        tail = (
            "Those say nothing about the task; the others are not explained by what was simulated, "
            "which is not evidence about the task either."
        )
    else:
        head = f"None of the {n_values} published input-side values of the EM pairs lies inside"
        tail = "What was simulated does not explain them; that is not evidence about the task."
    return f"{head} the range that unrelated updates of one seed can give. {tail}"


def number(value: float) -> str:
    """Three digits, without an exponent."""
    text = f"{value:#.3g}"
    return text.rstrip(".")
