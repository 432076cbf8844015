"""`deltalens reproduce`: the paper's story on organisms trained here, and its report."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    fresh: bool = typer.Option(False, "--fresh", help="Train every organism again."),
    seed: int = typer.Option(0, help="Seed of the organisms and of every draw."),
    out: Path = typer.Option(Path("reproduction"), help="Folder for everything that is made."),
) -> int:
    """Train the organisms, compare them, and write a report with claims and verdicts."""
    from deltalens.io.results import require_own
    from deltalens.studies.paper.study import reproduce

    require_own(out, "reproduce")
    result = reproduce(out, seed=seed, fresh=fresh, say=_say)
    for claim in result.tables["claims"]:
        print(f"{claim.verdict:>30}  {claim.text}")
    print(out / "report.html")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
