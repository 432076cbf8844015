"""The JSON document and the tables of an audit."""

from __future__ import annotations

from typing import Any

from deltalens.core.result import Result
from deltalens.studies.audit.audit import Audit
from deltalens.studies.audit.files import MODEL, FilesAudit
from deltalens.studies.audit.models import PAPER_CUTS, ModelAudit, layer_rows, simulated_rows
from deltalens.studies.audit.shapes import MODELS
from deltalens.studies.audit.words import ASSUMES, UNOPENED


def audit_result(audit: Audit) -> Result:
    """The audit as a `Result` with tables `compared`, `simulated` and `published`."""
    compared = [row for found in audit.models for row in (*found.claims, *found.controls)]
    simulated = [
        row
        for found in audit.models
        for row in simulated_rows(found.model, found.simulated, PAPER_CUTS, audit.draws)
    ]
    real = audit.files
    if real is not None:
        compared += real.rows
        simulated += simulated_rows(MODEL, real.simulated, real.cuts, real.draws)
    document = {
        "answer": audit.answer,
        "unopened": UNOPENED,
        "assumptions": ASSUMES,
        "models": [_model(found) for found in audit.models],
        "adapters": None if real is None else _files(real),
        "settings": audit.provenance["settings"],
        "warnings": () if real is None else real.warnings,
    }
    tables = {"compared": compared, "simulated": simulated, "published": layer_rows()}
    return Result("audit-paper", document, tables, audit.provenance)


def _model(found: ModelAudit) -> dict[str, Any]:
    best, miss = found.nearest
    return {
        "model": found.model,
        "shapes": MODELS[found.model],
        "top_k": PAPER_CUTS,
        "ranges": tuple(found.ranges.values()),
        "families": {name: tuple(ranges.values()) for name, ranges in found.families.items()},
        "chance": found.chance,
        "published": found.claims,
        "controls": found.controls,
        "published_mean": found.means,
        "nearest": {
            "hypothesis": str(best.hypothesis),
            "values": {measure: best.mean[measure] for measure in found.means},
            "error": {measure: best.error[measure] for measure in found.means},
            "largest_miss": miss,
        },
        "sentences": found.sentences,
    }


def _files(real: FilesAudit) -> dict[str, Any]:
    kept = ("a", "b", "shared_init", "n_shared_init", "n_modules", "cosine", "nulls", "verdict")
    return {
        "folder": real.folder,
        "names": real.names,
        "top_k": real.cuts,
        "n_modules": len(real.modules),
        "ranges": tuple(real.ranges.values()),
        "measured": real.rows,
        "pairs": [{name: pair[name] for name in kept} for pair in real.pairs],
        "sentences": real.sentences,
    }
