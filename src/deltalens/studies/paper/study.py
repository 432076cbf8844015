"""`deltalens reproduce`: from the shipped bases to claims with verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from deltalens.core.result import Result
from deltalens.errors import OptionError
from deltalens.io.results import prepare_folder
from deltalens.studies.paper.appendix.section import appendix_tables
from deltalens.studies.paper.claim import summary
from deltalens.studies.paper.examine import Study, examine
from deltalens.studies.paper.families import FAMILIES, BaseFamily
from deltalens.studies.paper.lines.tables import line_tables
from deltalens.studies.paper.lines.walked import walk_lines
from deltalens.studies.paper.organisms import grow

Say = Callable[[str], None]


def reproduce(
    out: str | Path = "reproduction",
    *,
    seed: int = 0,
    fresh: bool = False,
    workers: int = 2,
    say: Say | None = None,
) -> Result:
    """Train the organisms of both bases, compare and walk them, judge the claims, write a report.

    Args:
        out: the folder; `organisms/` and `lines/` in it (and in the folder of the other base) are
            taken up where they are whole.
        seed: of the organisms, the random baseline and every draw.
        fresh: train every organism and walk every line again.
        workers: training processes.
        say: called with a line about what is being done.

    Returns:
        A `Result` whose document is `summary.json`.
    """
    if seed < 0:
        raise OptionError(f"--seed must be 0 or more; found {seed}")
    folder, speak = Path(out), say or _silent
    prepare_folder(folder)
    studies = [
        _study(family, folder, seed=seed, fresh=fresh, workers=workers, say=speak)
        for family in FAMILIES
    ]
    speak("drawing and writing the report")
    from deltalens.studies.paper.output import write_study

    return write_study(studies, folder)


def _study(
    family: BaseFamily, folder: Path, *, seed: int, fresh: bool, workers: int, say: Say
) -> Study:
    home = family.folder(folder)
    organisms = grow(
        home / "organisms", seed=seed, fresh=fresh, workers=workers, say=say, base=family.base
    )
    walked = walk_lines(organisms, home / "lines", seed=seed, fresh=fresh, say=say)
    return examine(organisms, walked, family=family, seed=seed, say=say)


def summary_result(studies: Sequence[Study]) -> Result:
    """All bases as one `Result`: `summary.json`, and the first one's tables behind it."""
    claims = [claim for study in studies for claim in study.named_claims()]
    provenance = {study.family.base: study.provenance for study in studies}
    document = summary(claims, provenance)
    return Result("reproduce", document, {**tables(studies[0]), "claims": claims}, provenance)


def tables(study: Study) -> dict[str, Sequence[object]]:
    """The long tables of one base's study."""
    behaviour = [row for b in study.organisms.behaviours.values() for row in b.rows]
    return {
        **study.comparison.tables,
        "claims": study.named_claims(),
        "behaviour": behaviour,
        **line_tables(study.walked),
        **appendix_tables(study.appendix),
    }


def _silent(_: str) -> None:
    return None
