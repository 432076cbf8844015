"""`audit_paper`: published numbers beside what unrelated updates of one seed give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deltalens.core.result import Result
from deltalens.errors import OptionError
from deltalens.io.provenance import provenance
from deltalens.studies.audit.audit import Audit
from deltalens.studies.audit.document import audit_result
from deltalens.studies.audit.files import audit_files, open_folder
from deltalens.studies.audit.models import ModelAudit, audit_model
from deltalens.studies.audit.shapes import MODELS

DRAWS = 48
Progress = Callable[[str], None]


def audit_paper(
    *,
    seed: int = 0,
    draws: int = DRAWS,
    adapters: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Set the published input-side numbers beside a range of unrelated updates of one seed.

    Args:
        seed: of every draw.
        draws: simulated pairs a module and hypothesis, at least 2.
        adapters: a folder of real adapters, to repeat the audit on them.
        progress: called with a line about what is being done.

    Returns:
        A `Result` with tables `compared`, `simulated` and `published`.

    Raises:
        OptionError: for an impossible option.
        AdapterError: for adapters that cannot be read or compared.
    """
    return audit_result(run_audit(seed=seed, draws=draws, adapters=adapters, progress=progress))


def run_audit(*, seed: int, draws: int, adapters: Path | None, progress: Progress | None) -> Audit:
    """The audit itself; arguments and errors are those of `audit_paper`."""
    if draws < 2:
        raise OptionError(f"--draws must be 2 or more, for an error of the mean; found {draws}")
    if seed < 0:
        raise OptionError(f"--seed must be 0 or more; found {seed}")
    opened = [] if adapters is None else open_folder(adapters)
    say = progress or _silent
    found: list[ModelAudit] = []
    for model in MODELS:
        say(f"unrelated updates at the shapes of {model}")
        found.append(audit_model(model, draws, seed=seed))
    real = None if adapters is None else audit_files(opened, adapters, draws, seed=seed, say=say)
    settings = {"seed": seed, "draws": draws, "adapters": adapters and str(adapters)}
    paths = [Path(f) for a in opened for f in a.provenance.inputs]
    return Audit(tuple(found), real, draws, provenance(settings, paths))


def _silent(_: str) -> None:
    return None
