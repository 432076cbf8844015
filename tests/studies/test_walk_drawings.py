"""What the figures of a walk show: no colour twice, nothing over the data, no line unseen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("matplotlib")

from matplotlib.text import Text

from deltalens.connectivity.features import FeatureLinearity
from deltalens.core.result import Result
from deltalens.studies.walk.drawings import behaviour, features
from deltalens.studies.walk.rows import RateRow
from deltalens.studies.walk.statistics import NEW

HEAD = {"points": [{"t": 0.0}, {"t": 1.0}], "path": "linear", "a": "base", "b": "b",
        "outside": None, "computed": False, "not_measured": {}}  # fmt: skip


def rates(values: Sequence[float]) -> Result:
    rows = [
        RateRow(i / 2, "misaligned", NEW, v, v, v, 9, 0, "none", None, None)
        for i, v in enumerate(values)
    ]
    return Result("walk", HEAD, {"rates": rows}, {})


def test_layers_have_a_colour_each_first_and_last_among_them() -> None:
    rows = [
        FeatureLinearity(t=t, layer=i, l2=0.1, r2=0.9, l2_delta=0.1, r2_delta=0.9, gap_error=0.1,
                         gap_error_pooled=0.1, distance=0.1, n=8, n_no_change=0, n_no_gap=0)
        for i in range(30)
        for t in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    ax = features(Result("walk", HEAD, {"features": rows}, {}), "gap_error", "error").axes[0]
    labels = ax.get_legend_handles_labels()[1]
    drawn = [line for line in ax.lines if line.get_label() in labels]
    assert len({line.get_color() for line in drawn}) == len(drawn) == len(labels)
    assert (labels[0], labels[-1]) == ("layer 0", "layer 29")


@pytest.mark.parametrize(
    ("values", "said"),
    [((0.0, 0.5, 1.0), "The curves cover the straight"), ((0.0, 0.1, 1.0), "Dashed: the straight")],
)
def test_the_caption_speaks_of_a_line_that_is_seen(values: Sequence[float], said: str) -> None:
    figure = behaviour(rates(values))
    figure.draw_without_rendering()
    written = " ".join(each.get_text() for each in figure.findobj(Text))
    assert said in " ".join(written.split())
    (ax,) = figure.axes
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_window_extent().x0 >= ax.get_window_extent().x1  # beside the data
    assert legend.get_window_extent().x1 <= figure.bbox.x1
