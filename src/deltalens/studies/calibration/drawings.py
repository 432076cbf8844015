"""One figure: how often every rung rejects, world by world."""

from __future__ import annotations

from matplotlib.figure import Figure

from deltalens.figures.rates import Rates, rates_figure
from deltalens.studies.calibration.labels import VERDICT
from deltalens.studies.calibration.rungs import COMBINATIONS
from deltalens.studies.calibration.study import Calibration

_GROUPS = ("a", "b", "c", "d")


def levels_figure(found: Calibration) -> Figure:
    """Rejections at level .05: false positives above the last line, power below it."""
    rate = {(row.world, row.rung, row.statistic): row.rejected for row in found.levels}
    listed = dict.fromkeys((row.group, row.world) for row in found.levels)
    worlds = sorted(listed, key=lambda world: _GROUPS.index(world[0]))
    breaks = [i for i in range(1, len(worlds)) if worlds[i][0] != worlds[i - 1][0]]
    verdicts = {(row.rung, row.statistic) for row in found.labels if row.label == VERDICT}
    data = Rates(
        title="Share of pairs rejected at level .05",
        rows=tuple(f"({group}) {name}" for group, name in worlds),
        columns=tuple(f"{rung} {s.replace('_', ' ')}" for rung, s in COMBINATIONS),
        values=tuple(tuple(rate[name, *pair] for pair in COMBINATIONS) for _, name in worlds),
        breaks=tuple(breaks),
        marked=tuple(i for i, pair in enumerate(COMBINATIONS) if pair in verdicts),
        note="(a), (b), (c): unrelated tasks, so every rejection is a false positive. (d): a "
        "shared task, so it is power. Bold: calibrated under (b) and (c), may give a verdict.",
    )
    return rates_figure(data)
