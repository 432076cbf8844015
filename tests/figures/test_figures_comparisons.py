"""Boxes, trees and coefficients: whatever comes in, they draw, and nothing leaves the frame."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from deltalens.figures import (
    Boxes,
    CoefficientPanel,
    Coefficients,
    Dendrogram,
    Effect,
    Group,
    NullBand,
    boxes_figure,
    coefficients_figure,
    dendrogram_figure,
    to_svg,
)
from deltalens.figures.dendrogram import leaf_order

LONG = "comparison-" + "x" * 300
HOSTILE = "$\\frac{1$ <script>alert(1)</script> \u202eevil\u202c \x1b[31m 漢字"
ROWS = (
    Group("em - em, same seed", (0.1, 0.2, 0.3, 0.4, 0.5), 0.3, (0.1, 0.5)),
    Group("em - benign, other seed", (0.05, 0.06), 0.055, hollow=True, family=1),
    Group(LONG, (None, math.nan), reason="k is above the numerical rank"),
    Group(HOSTILE, (0.2, None), 0.2, null=NullBand("haar", 0.02, 0.02)),
)
TREE = ((0, 1, 0.1), (2, 3, 0.2), (4, 5, 0.75))
NAMES = ("a", LONG, HOSTILE, "d")
CASES: dict[str, Callable[[], Figure]] = {
    "boxes": lambda: boxes_figure(Boxes("a title", "overlap, k = 4", ROWS, "small print")),
    "boxes, none": lambda: boxes_figure(Boxes("empty", "overlap", ())),
    "boxes, many": lambda: boxes_figure(Boxes("many", "x", ROWS * 10)),
    "tree": lambda: dendrogram_figure(
        Dendrogram("a tree", "1 - overlap", NAMES, TREE, ("em", "em", "", "x"), "small print")
    ),
    "tree, plain": lambda: dendrogram_figure(Dendrogram("two", "d", ("a", "b"), ((0, 1, 0.0),))),
    "coefficients": lambda: coefficients_figure(
        Coefficients(
            ("same seed", LONG, HOSTILE),
            (
                CoefficientPanel("one", (Effect(0.5, (0.4, 0.6)), Effect(0.1), Effect(None))),
                CoefficientPanel(LONG, (Effect(-0.5, (-2, 1)), Effect(math.nan), Effect(0.0))),
            ),
            note="small print",
        )
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_axes_are_labelled_and_nothing_leaves_the_frame(case: str) -> None:
    figure = CASES[case]()
    figure.draw_without_rendering()
    frame = figure.bbox.padded(1.5)
    for i, ax in enumerate(figure.axes):
        assert ax.get_xlabel()
        assert ax.get_ylabel() or i
        box = ax.get_tightbbox()
        assert box is not None
        outside = [frame.x0 - box.x0, box.x1 - frame.x1, frame.y0 - box.y0, box.y1 - frame.y1]
        assert max(outside) <= 0, case


def test_missing_values_are_a_word() -> None:
    (ax,) = CASES["boxes"]().axes
    assert [t.get_text() for t in ax.texts] == ["undefined"]
    one, two = CASES["coefficients"]().axes
    assert [t.get_text() for t in one.texts].count("undefined") == 1
    assert [t.get_text() for t in two.texts].count("undefined") == 1


def test_an_effect_without_an_interval_is_hollow() -> None:
    one, _ = CASES["coefficients"]().axes
    filled, hollow = (c.get_facecolor()[0].tolist() for c in one.collections if c.get_offsets().size
                      and hasattr(c, "get_sizes"))  # fmt: skip
    assert hollow == [1.0, 1.0, 1.0, 1.0]
    assert filled != hollow


def test_leaves_of_a_cluster_stand_together() -> None:
    assert leaf_order(4, ((0, 3, 0.1), (1, 4, 0.2), (2, 5, 0.3))) == [2, 1, 0, 3]
    assert sorted(leaf_order(4, TREE)) == [0, 1, 2, 3]


def test_the_same_data_give_the_same_bytes_and_no_strangers_text() -> None:
    for case in ("boxes", "tree", "coefficients"):
        svg = to_svg(CASES[case]())
        assert svg == to_svg(CASES[case]())
        assert "<script" not in svg
