"""A training against its steps: where the loss falls, where the update grows and where it turns."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from deltalens.core.text import shown
from deltalens.figures.curves import PathCurve, PathPanel, curves_figure

_STEP = "optimiser step"


@dataclass(frozen=True)
class TrainingCurves:
    """What was measured of one training; None leaves a gap.

    Attributes:
        losses: of every step, the first being 1.
        steps: where the geometry was measured.
        norm: size of the update.
        turn_previous: degrees since the measure before.
        turn_first: degrees since the first update that was not zero.
        cosine_A_initial: cosine of lora_A with its start.
        overlap_input: with another adapter; empty without one.
        overlap_output: likewise.
        chance_input: beside it.
        chance_output: likewise.
        cosine_against: update cosine with the other adapter.
        against: name of the other adapter, or None.
        small_print: under everything.
    """

    losses: tuple[float | None, ...]
    steps: tuple[int, ...]
    norm: tuple[float | None, ...]
    turn_previous: tuple[float | None, ...]
    turn_first: tuple[float | None, ...]
    cosine_A_initial: tuple[float | None, ...]
    overlap_input: tuple[float | None, ...] = ()
    overlap_output: tuple[float | None, ...] = ()
    chance_input: tuple[float | None, ...] = ()
    chance_output: tuple[float | None, ...] = ()
    cosine_against: tuple[float | None, ...] = ()
    against: str | None = None
    small_print: str = ""


def training_figure(data: TrainingCurves) -> Figure:
    """Draw loss, size, turns and lora_A's cosine, and with another adapter what is shared with it.

    Args:
        data: what to draw.
    """
    steps = tuple(float(step) for step in data.steps)
    every = tuple(float(step) for step in range(1, len(data.losses) + 1))

    def panel(title: str, axis: str, *curves: PathCurve) -> PathPanel:
        return PathPanel(title, _STEP, axis, curves)

    panels = [
        panel("Loss", "nats a learnt token", PathCurve("", every, data.losses)),
        panel("Size of the update", "|dW|", PathCurve("", steps, data.norm, family=1)),
        panel(
            "Turn of the update",
            "degrees",
            PathCurve("since the measure before", steps, data.turn_previous, family=2),
            PathCurve("since the first", steps, data.turn_first, family=3),
        ),
        panel(
            "lora_A and where it started",
            "cosine",
            PathCurve("", steps, data.cosine_A_initial, family=4),
        ),
    ]
    if data.against is not None:
        panels += _shared(data, steps)
    return curves_figure(tuple(panels), small_print=data.small_print)


def _shared(data: TrainingCurves, steps: tuple[float, ...]) -> list[PathPanel]:
    overlaps = (
        PathCurve("input", steps, data.overlap_input, family=1),
        PathCurve("input, chance", steps, data.chance_input, family=1, dashed=True),
        PathCurve("output", steps, data.overlap_output, family=0),
        PathCurve("output, chance", steps, data.chance_output, family=0, dashed=True),
    )
    cosine = (
        PathCurve("update", steps, data.cosine_against, family=1),
        PathCurve("chance", steps, tuple(0.0 for _ in steps), family=1, dashed=True),
    )
    name = shown(data.against, 12)  # half a figure's width
    return [
        PathPanel(f"Overlap with {name}", _STEP, "subspace overlap", overlaps),
        PathPanel(f"Cosine with {name}", _STEP, "update cosine", cosine),
    ]
