"""Figure 3 and its companions: walks in, plots out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from deltalens.core.result import Result
from deltalens.figures.curves import PathCurve, PathPanel, curves_figure
from deltalens.figures.triangle import TrianglePlot, triangle_figure
from deltalens.studies.paper.lines import published
from deltalens.studies.paper.lines.numbers import by_position
from deltalens.studies.paper.lines.plan import Family, Line
from deltalens.studies.paper.lines.walked import Walked

_BAD = "bad answers, %"
_PERCENT = (0.0, 102.0)
Values = Callable[[Result], Mapping[float, float | None]]

ALT: Mapping[str, str] = {
    "fig3": "Bad answers from the base and between organisms, L2 error and R^2 along the lines",
    "fig3-theta": "Bad answers from the base on the exact line and on the theta^2 path",
    "fig3-factors": "Bad answers across seeds on the exact line and with the factors mixed apart",
    "fig3-twin": "Bad answers and coherence from a bad-answer organism to a benign twin",
    "fig3-triangle": "Bad answers over the triangle of three organisms",
}


def line_figures(walked: Walked) -> dict[str, Figure]:
    """Every figure of the walks by name."""
    return {
        "fig3": figure_three(walked),
        "fig3-theta": theta_figure(walked),
        "fig3-factors": factors_figure(walked),
        "fig3-twin": twin_figure(walked),
        "fig3-triangle": triangle(walked),
    }


def figure_three(walked: Walked) -> Figure:
    """The paper's four panels, walked exactly: from the base, across tasks, L2 and R^2."""
    cross: tuple[Family, ...] = ("across tasks, same seed",)
    panels = (
        PathPanel(
            "From the base to each organism",
            "t (exact line)",
            _BAD,
            _curves(walked, ("from the base",), _rate),
        ),
        PathPanel(
            "Across tasks, same seed",
            "t (exact line)",
            _BAD,
            _curves(walked, cross, _rate),
            limits=_PERCENT,
        ),
        PathPanel(
            "Features: normalised L2 error",
            "t (exact line)",
            "mean over layers",
            (*_curves(walked, cross, _features("l2")), *_twin_curves(walked, "l2")),
            legend=False,
        ),
        PathPanel(
            "Features: R^2 of the line",
            "t (exact line)",
            "mean over layers",
            (*_curves(walked, cross, _features("r2")), *_twin_curves(walked, "r2")),
            legend=False,
        ),
    )
    text = (
        "Rates are computed, not sampled. Bands: 95 % for new questions. Below: the lines of the "
        "panel above them; dashed, the way to a benign twin, which the paper lacks."
    )
    return curves_figure(panels, small_print=text)


def theta_figure(walked: Walked) -> Figure:
    """The exact line beside the paper's path, which scales both factors."""
    curves = (
        *_of(walked, "from the base", _rate, "exact: t dW", 0),
        *_of(walked, "from the base, theta^2", _rate, "both factors scaled: theta^2 dW", 1),
    )
    panel = PathPanel("From the base: two paths through one pair of ends", "t, theta", _BAD, curves)
    text = (
        "Published (Llama-3.1-8B, alignment score): "
        f"{published.share_at_half_theta():.0%} of the change at theta = .5, "
        f"{published.share_at_the_middle():.0%} at .7, which is half of the update."
    )
    return curves_figure((panel,), small_print=text, height=3.0)


def factors_figure(walked: Walked) -> Figure:
    """Exact against factorwise, under one seed and across seeds."""
    panels = tuple(
        PathPanel(
            f"Across tasks, {seed} seed",
            "t",
            _BAD,
            (
                *_of(walked, exact, _rate, "exact", 0),
                *_of(walked, apart, _rate, "factors mixed apart", 1),
            ),
            limits=_PERCENT,
        )
        for seed, exact, apart in _SEEDS
    )
    text = "A dip of the second kind is the gauge's: the updates on the exact line have none."
    return curves_figure(panels, small_print=text)


_SEEDS: tuple[tuple[str, Family, Family], ...] = (
    ("same", "across tasks, same seed", "factors apart, same seed"),
    ("other", "across tasks, other seed", "factors apart, other seed"),
)


def twin_figure(walked: Walked) -> Figure:
    """From each organism to a benign twin: answers change without a barrier there as well."""
    curves = (
        *_of(walked, "to a benign twin", _rate, "bad answers", 0),
        *_of(walked, "to a benign twin", _coherent, "coherent", 1),
    )
    panel = PathPanel("From bad answers to a benign twin (style)", "t (exact line)", "%", curves)
    text = "Coherence has no dip, and bad answers fall without a step back, as an S."
    return curves_figure((panel,), small_print=text, height=3.0)


def triangle(walked: Walked) -> Figure:
    """Bad answers over all mixtures of three organisms."""
    held = walked.triangle
    return triangle_figure(
        TrianglePlot(
            title="Mixtures of three bad-answer organisms",
            measure="P(bad answer)",
            corners=held.corners,
            weights=tuple((p.w1, p.w2, p.w3) for p in held.points),
            values=tuple(p.misaligned for p in held.points),
            small_print=f"Lowest inside: {held.lowest_inside():.3f}; largest dip under the plane "
            f"through the corners: {held.largest_dip():.3f}.",
        )
    )


def _curves(walked: Walked, families: tuple[Family, ...], values: Values) -> tuple[PathCurve, ...]:
    """A colour and a name for each line."""
    held = [item for family in families for item in walked.family(family).items()]
    return tuple(
        _curve(line, result, values, line.label, i) for i, (line, result) in enumerate(held)
    )


def _of(
    walked: Walked, family: Family, values: Values, text: str, colour: int
) -> tuple[PathCurve, ...]:
    """One colour and one name for all lines of a family."""
    held = walked.family(family).items()
    return tuple(
        _curve(line, result, values, text, colour, dashed=colour > 0) for line, result in held
    )


def _twin_curves(walked: Walked, measure: str) -> tuple[PathCurve, ...]:
    held = walked.family("to a benign twin").items()
    return tuple(
        _curve(line, result, _features(measure), "to a benign twin", 6, dashed=True)
        for line, result in held
    )


def _curve(
    line: Line, result: Result, values: Values, text: str, colour: int, *, dashed: bool = False
) -> PathCurve:
    held = values(result)
    bands = _bands(result) if values is _rate and not dashed and text == line.label else {}
    return PathCurve(
        label=text,
        x=tuple(held),
        y=tuple(held.values()),
        low=tuple(bands[t][0] for t in held) if bands else (),
        high=tuple(bands[t][1] for t in held) if bands else (),
        family=colour,
        dashed=dashed,
    )


def _rate(result: Result) -> dict[float, float | None]:
    return {p["t"]: 100 * p["misaligned"] for p in result.document["points"]}


def _coherent(result: Result) -> dict[float, float | None]:
    return {p["t"]: 100 * p["coherent"] for p in result.document["points"]}


def _bands(result: Result) -> dict[float, tuple[float | None, float | None]]:
    found: dict[float, tuple[float | None, float | None]] = {}
    for p in result.document["points"]:
        ends = p["intervals"]["misaligned"]["new questions"]["interval"]
        found[p["t"]] = (None, None) if ends is None else (100 * ends[0], 100 * ends[1])
    return found


def _features(measure: str) -> Values:
    def values(result: Result) -> dict[float, float | None]:
        return dict(by_position(result, measure))

    return values
