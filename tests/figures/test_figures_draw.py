"""Every figure draws, with labelled axes and nothing outside its frame, whatever comes in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import plausible
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

from deltalens.figures import (
    Behaviour,
    BehaviourGroup,
    Group,
    LayerCurve,
    LayerPlot,
    Matrix,
    NullBand,
    SidePanel,
    Sides,
    Strip,
    TrainingCurves,
    behaviour_figure,
    layers_figure,
    matrix_figure,
    sides_figure,
    strip_figure,
    to_png,
    to_svg,
    training_figure,
)

LONG = "organism-bad-medical-advice-" + "x" * 472
HOSTILE = "$\\frac{1$ <script>alert(1)</script> \u202eevil\u202c \x1b[31m 漢字 \U0001f600"


def _missing_matrix() -> Matrix:
    sound = plausible.matrix(6, 2)
    rows = [list(row) for row in sound.values]
    rows[0][3] = rows[3][0] = None
    rows[1][2] = rows[2][1] = math.nan
    return replace(
        sound,
        values=tuple(map(tuple, rows)),
        names=(LONG, HOSTILE, *sound.names[2:]),
        reason="B is zero",
    )


def _strip(*groups: Group, lines: tuple[NullBand, ...] = ()) -> Strip:
    return Strip("a title", "a measure", groups, lines)


def _training(against: str | None) -> TrainingCurves:
    values = (None, 0.2, 0.4)
    shared = (values,) * 5 if against else ((),) * 5
    return TrainingCurves(
        (2.0, math.nan, 1.0), (0, 2, 3), (0.0, 1.0, 2.0), values, values, (1.0, 0.99, 0.98),
        *shared, against=against, small_print="a line",
    )  # fmt: skip


CASES: dict[str, Callable[[], Figure]] = {
    "training": lambda: training_figure(_training(None)),
    "training, against": lambda: training_figure(_training(HOSTILE)),
    "sides": lambda: sides_figure(plausible.sides()),
    "sides, one panel": lambda: sides_figure(Sides(plausible.sides().panels[:1])),
    "strip of 66": lambda: strip_figure(plausible.strip(66)),
    "strip of 1": lambda: strip_figure(_strip(Group("the pair", (0.4,), 0.4))),
    "strip, all equal": lambda: strip_figure(_strip(Group("equal", (0.0, 0.0), 0.0))),
    "strip, negative": lambda: strip_figure(
        _strip(
            Group("down", (-0.4, -0.2), -0.3, (-0.5, -0.1)),
            lines=(NullBand("rotation", -0.1, 0.1),),
        )
    ),
    "strip, missing": lambda: strip_figure(
        _strip(
            Group("none", (None, math.nan), reason="B is zero in both"),
            Group("some", (0.2, None), 0.2, (math.nan, math.inf), reason="one value"),
        )
    ),
    "strip, names": lambda: strip_figure(
        _strip(Group(LONG, (0.1,), 0.1, null=NullBand(LONG, 0.0, 0.2)), Group(HOSTILE, (0.2,), 0.2))
    ),
    "strip of 40 groups": lambda: strip_figure(
        _strip(*(plausible.group(f"group {i}", 5, 0.1 + i / 80, i, i % 2 == 0) for i in range(40)))
    ),
    "layers": lambda: layers_figure(plausible.layers()),
    "layers, gaps": lambda: layers_figure(
        LayerPlot(
            "gaps",
            "angle, degrees",
            (
                LayerCurve("one layer", (0,), (22.0,), (21.0,), (23.0,)),
                LayerCurve("gap", (0, 1, 2), (30.0, None, math.nan), reason="module missing"),
                LayerCurve(LONG, (0, 1), (None, None), reason="B is zero"),
                LayerCurve(HOSTILE, (0, 1), (50.0, 51.0), baseline=True),
            ),
        )
    ),
    "layers, 32": lambda: layers_figure(
        LayerPlot(
            "many", "x", tuple(LayerCurve(f"c{i}", tuple(range(32)), (0.5,) * 32) for i in range(9))
        )
    ),
    "matrix": lambda: matrix_figure(plausible.matrix()),
    "matrix of 1": lambda: matrix_figure(Matrix("one", "overlap", ("only",), ((1.0,),))),
    "matrix of 60": lambda: matrix_figure(plausible.matrix(60, 4)),
    "matrix, missing": lambda: matrix_figure(_missing_matrix()),
    "matrix, signed": lambda: matrix_figure(replace(plausible.matrix(), signed=True, low=None)),
    "behaviour": lambda: behaviour_figure(plausible.behaviour()),
    "behaviour, missing": lambda: behaviour_figure(
        Behaviour(
            "missing",
            ("bad answers", "coherence"),
            (
                BehaviourGroup(LONG, ((None, math.nan), ()), reason="no run finished"),
                BehaviourGroup(HOSTILE, ((0.5, math.nan, 0.0),)),
            ),
        )
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_axes_are_labelled_and_nothing_leaves_the_frame(case: str) -> None:
    figure = CASES[case]()
    figure.draw_without_rendering()
    frame = figure.bbox.padded(1.5)
    for i, ax in enumerate(figure.axes):
        assert ax.get_ylabel() or i, case
        assert ax.get_xlabel() or any(t.get_text() for t in ax.get_xticklabels()) or i, case
    for ax in figure.axes:
        box = ax.get_tightbbox()
        assert box is not None
        outside = [frame.x0 - box.x0, box.x1 - frame.x1, frame.y0 - box.y0, box.y1 - frame.y1]
        assert max(outside) <= 0, case


def _texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    found = [t.get_text() for ax in figure.axes for t in ax.texts]
    return [*found, figure.get_supxlabel(), *(ax.get_ylabel() for ax in figure.axes)]


def test_the_headline_names_every_null_and_prints_every_mean() -> None:
    texts = _texts(sides_figure(plausible.sides()))
    assert "initialisation alone" in texts
    assert any(text.startswith("chance (Haar) 0.028") for text in texts)
    means = [g.mean for panel in plausible.sides().panels for g in panel.groups]
    assert all(f"{mean:.3f}" in texts for mean in means)


def test_both_panels_share_one_scale() -> None:
    first, second = sides_figure(plausible.sides()).axes
    assert first.get_ylim() == second.get_ylim()


def test_a_name_without_a_free_place_goes_to_the_small_print() -> None:
    crowded = tuple(
        Group(f"g{x}", tuple(i / 30 for i in range(31)), 0.5, null=NullBand("a crowded null", 0, 1))
        for x in range(9)
    )
    texts = _texts(strip_figure(_strip(*crowded)))
    assert "a crowded null" not in texts[:-2]
    assert any("Grey: a crowded null." in text for text in texts)


def test_missing_values_are_a_word_with_a_reason_and_never_zero() -> None:
    texts = _texts(CASES["strip, missing"]())
    assert "undefined" in texts
    assert any("B is zero in both" in text for text in texts)
    assert "0" not in texts
    assert "0.000" not in texts
    texts = _texts(CASES["matrix, missing"]())
    assert any("Hatched: undefined (B is zero)" in text for text in texts)
    assert {"undefined", "not measured"} <= set(_texts(CASES["behaviour, missing"]()))


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_missing_mean_draws_no_mean(missing: float | None) -> None:
    panel = SidePanel("t", "m", (Group("g", (missing,), missing),))
    (ax,) = sides_figure(Sides((panel,))).axes
    assert [t.get_text() for t in ax.texts] == ["undefined"]


def test_strangers_names_are_cleaned_and_shortened() -> None:
    svg = to_svg(CASES["strip, names"]())
    assert "script" not in svg
    figure = CASES["strip, names"]()
    names = "".join(t.get_text() for t in figure.axes[0].get_xticklabels())
    assert "\u202e" not in names
    assert "\x1b" not in names
    assert "漢" not in names
    assert len(names) < 400


def test_the_same_data_give_the_same_bytes_and_the_users_settings_survive() -> None:
    before = dict(rcParams)
    first = to_svg(CASES["sides"]()), to_png(CASES["matrix"]())
    assert dict(rcParams) == before
    rcParams["font.size"] = 31
    try:
        second = to_svg(CASES["sides"]()), to_png(CASES["matrix"]())
    finally:
        rcParams["font.size"] = before["font.size"]
    assert first == second


def test_an_svg_holds_no_date_no_address_and_no_drawn_string() -> None:
    svg = to_svg(CASES["sides"]())
    assert svg.startswith("<svg ")
    for absent in ("<!--", "<!DOCTYPE", "dc:date", "metadata", "benign", "<script"):
        assert absent not in svg
    addresses = {part.split('"')[0] for part in svg.split('"http')[1:]}
    assert addresses == {"://www.w3.org/2000/svg", "://www.w3.org/1999/xlink"}
