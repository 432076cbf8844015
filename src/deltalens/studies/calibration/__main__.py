"""`python -m deltalens.studies.calibration`: measure again what the documentation prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deltalens.core.files import write_whole
from deltalens.errors import DeltalensError
from deltalens.figures.output import to_svg
from deltalens.io.results import prepare_folder, write_document
from deltalens.studies.calibration.drawings import levels_figure
from deltalens.studies.calibration.markdown import write_tables_into
from deltalens.studies.calibration.study import PAIRS, calibrate


def main(arguments: list[str] | None = None) -> int:
    """Run the study; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        prepare_folder(options.docs)
        found = calibrate(
            pairs=options.pairs,
            seed=options.seed,
            organisms=options.organisms,
            covariances=options.covariances,
            say=_say,
        )
        write_document(found.result().document, options.docs / "calibration.json")
        figure = to_svg(levels_figure(found))
        write_whole(options.docs / "calibration.svg", figure.encode())
        write_tables_into(options.docs / "calibration.md", found)
    except DeltalensError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deltalens.studies.calibration")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="simulated pairs a world")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    parser.add_argument("--organisms", type=Path, help="folder of trained organisms")
    parser.add_argument("--covariances", type=Path, help="of their base")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where tables are written")
    return parser


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
