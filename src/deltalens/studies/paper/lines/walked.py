"""Walk every line of the study with one loaded model; points are kept, so it can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deltalens.connectivity.paths import BASE
from deltalens.core.adapter import Adapter
from deltalens.core.protocols import MixingModel, Model
from deltalens.core.result import Result
from deltalens.errors import OptionError
from deltalens.io.read import load
from deltalens.studies.paper.lines.plan import Line, corners, lines
from deltalens.studies.paper.lines.triangle import Triangle, walk_triangle
from deltalens.studies.paper.organisms import Organisms
from deltalens.studies.walk.inputs import open_target
from deltalens.studies.walk.study import walk

Say = Callable[[str], None]
STEPS = 11


@dataclass(frozen=True, eq=False)
class Walked:
    """Every line with what was measured on it, and the triangle of three organisms."""

    results: Mapping[Line, Result]
    triangle: Triangle

    def family(self, name: str) -> dict[Line, Result]:
        """The lines of one family, in order."""
        return {line: result for line, result in self.results.items() if line.family == name}


def walk_lines(organisms: Organisms, out: Path, *, seed: int, fresh: bool, say: Say) -> Walked:
    """Walk all lines of a study; finished points in `out` are taken up.

    Args:
        organisms: the trained organisms.
        out: folder of the points, a folder a line.
        seed: of the simulated curves behind barriers.
        fresh: walk every line again.
        say: called with a line about what is being done.
    """
    every = lines(organisms.entries)
    say(f"walking {len(every)} lines of {STEPS} points")
    held = {name: load(folder) for name, folder in organisms.folders.items()}
    model = open_target(organisms.base).load()
    results: dict[Line, Result] = {}
    for i, line in enumerate(every, 1):
        say(f"[{i:2d}/{len(every)}] {line.family}: {line.label}")
        results[line] = _walk(line, held, model, out / line.name, seed=seed, fresh=fresh)
    assert isinstance(model, MixingModel)  # ours is; the walks take any `Model`
    ends = [held[name] for name in corners(organisms.entries)]
    return Walked(results, walk_triangle(ends, model))


def _walk(
    line: Line, held: Mapping[str, Adapter], model: Model, out: Path, *, seed: int, fresh: bool
) -> Result:
    def again(*, fresh: bool) -> Result:
        return walk(
            BASE if line.a == BASE else held[line.a],
            held[line.b],
            model,
            steps=STEPS,
            path=line.plan.path,
            features=line.plan.features,
            seed=seed,
            out=out,
            fresh=fresh,
        )

    if fresh:
        return again(fresh=True)
    try:
        return again(fresh=False)
    except OptionError:  # points of other organisms or another version: this study owns the folder
        return again(fresh=True)
