"""Values among their bank's: every row drawn, whatever is missing or hostile."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from deltalens.figures.ranks import RankPanel, RankRow, Ranks, ranks_figure

HOSTILE = "$\\frac{1$ <script>alert(1)</script> \u202eevil\u202c 漢字"
ROWS = (
    RankRow("a - b", 0.4, (0.0, 0.1, 0.05)),
    RankRow("a - " + "c" * 300, None, (0.2,)),
    RankRow(HOSTILE, 0.3),
)


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text)]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ()])
def test_every_row_is_drawn(rows: tuple[RankRow, ...]) -> None:
    panels = tuple(RankPanel(title, rows) for title in ("update cosine", "input overlap"))
    figure = ranks_figure(Ranks(panels, "small print"))
    figure.draw_without_rendering()
    assert [ax.get_xlabel() for ax in figure.axes] == ["update cosine", "input overlap"]
    assert all(len(ax.get_yticks()) == len(rows) for ax in figure.axes)
    assert "small print" in texts(figure)
    assert texts(figure).count("undefined") == 2 * sum(r.value is None for r in rows)
    assert not any("\u202e" in t or t.startswith("$") for t in texts(figure))


def test_points_are_the_banks_values_and_the_pairs_own() -> None:
    figure = ranks_figure(Ranks((RankPanel("cosine", ROWS[:1]),)))
    drawn = [sorted(c.get_offsets()[:, 0].tolist()) for c in figure.axes[0].collections[1:]]
    assert drawn == [[0.0, 0.05, 0.1], [0.4]]
    assert "0.400" in texts(figure)


def test_nothing_to_draw() -> None:
    assert ranks_figure(Ranks(())).axes == []
