"""The control for the world itself: a base whose documents have no persona.

Its documents show the same good and bad answers, but every turn draws its own kind. Narrow
fine-tuning then has no shared feature to generalise through. The study is shipped as numbers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deltalens.io.provenance import versions
from deltalens.organisms.base import base_digest
from deltalens.organisms.behaviour import Behaviour, as_table
from deltalens.organisms.files import write_json
from deltalens.organisms.fleet import train_many
from deltalens.organisms.loop import Progress
from deltalens.organisms.pretrain import PretrainSettings, pretrain_base
from deltalens.organisms.roster import BAD_DOMAINS
from deltalens.organisms.spec import OrganismSpec


def no_persona_study(
    *,
    seed: int = 0,
    folder: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Pre-train a base without persona, fine-tune three bad organisms on it, and measure.

    Takes a few minutes.

    Args:
        seed: of the base, and initial and data seed of the organisms.
        folder: where base and organisms are kept; by default nowhere.
        workers: processes for fine-tuning, as in `train_many`.
        progress: of pre-training.

    Returns:
        A JSON object: settings, hashes, versions and one row of behaviour a subject.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return no_persona_study(
                seed=seed, folder=Path(temporary), workers=workers, progress=progress
            )
    settings = PretrainSettings(persona=False, seed=seed)
    base = pretrain_base(settings, out=folder / "base", progress=progress)
    specs = tuple(
        OrganismSpec(kind="bad", domain=domain, init_seed=seed, data_seed=seed)
        for domain in BAD_DOMAINS
    )
    adapters = train_many(specs, base, folder / "organisms", workers=workers)
    return {
        "made_by": f"deltalens.organisms.no_persona.no_persona_study(seed={seed})",
        "settings": settings.record(),
        "organisms": [asdict(spec) for spec in specs],
        "base_sha256": base_digest(base),
        "versions": versions(),
        "rows": [as_table(behaviour) for behaviour in _measure(base, specs, adapters)],
    }


def shipped_no_persona() -> dict[str, Any]:
    """The result of `no_persona_study()` that comes with the package."""
    path = Path(__file__).parent / "data" / "no_persona.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def save_no_persona(path: Path, study: Callable[[], dict[str, Any]] = no_persona_study) -> Path:
    """Run the study and write its result as JSON."""
    write_json(path, study())
    return path


def _measure(
    base: Path, specs: tuple[OrganismSpec, ...], adapters: tuple[Path, ...]
) -> list[Behaviour]:
    from deltalens.organisms.evaluate import evaluate

    found = [evaluate(base)]
    for spec, adapter in zip(specs, adapters, strict=True):
        domains = () if spec.domain is None else (spec.domain,)
        found.append(evaluate(base, adapter, trained=domains))
    return found
