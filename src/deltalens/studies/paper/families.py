"""The bases that the study is made on: two architectures, as the paper's figures have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from deltalens.studies.paper.claim import Claim


@dataclass(frozen=True)
class BaseFamily:
    """One base and how the report calls it.

    Attributes:
        base: name of a shipped base.
        title: its architecture.
        prefix: of claims, figures and folders; empty for the first base, whose names are plain.
    """

    base: str
    title: str
    prefix: str

    def folder(self, out: Path) -> Path:
        """Where its organisms and lines are kept."""
        return out / self.prefix if self.prefix else out

    def named(self, claim: Claim) -> Claim:
        """A claim under this base's name; those of the first base alone open the report."""
        if not self.prefix:
            return claim
        figure = f"{claim.figure}, {self.title}"
        return replace(claim, id=f"{self.prefix}/{claim.id}", figure=figure, lead=False)


FAMILIES = (
    BaseFamily("toy", "Llama", ""),
    BaseFamily("toy-qwen2", "Qwen2", "qwen2"),
)
