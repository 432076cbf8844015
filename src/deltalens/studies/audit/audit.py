"""What an audit found, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deltalens.studies.audit.files import FilesAudit
from deltalens.studies.audit.models import ModelAudit
from deltalens.studies.audit.words import conclusion


@dataclass(frozen=True)
class Audit:
    """The published numbers of every model beside their ranges, and real files if given.

    Attributes:
        models: one a published model.
        files: real adapters, or None.
        draws: simulated pairs a module and hypothesis.
        provenance: settings, versions, hashes of the files.
    """

    models: tuple[ModelAudit, ...]
    files: FilesAudit | None
    draws: int
    provenance: Mapping[str, Any]

    @property
    def answer(self) -> str:
        """The audit in two sentences."""
        claims = [row for audit in self.models for row in audit.claims]
        return conclusion(sum(bool(row.inside) for row in claims), len(claims))
