"""What Inspect AI finds through its entry point; only Inspect, and what needs it, imports this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspect_ai.model import modelapi

from deltalens.integrations.inspect.metrics import (
    mean,
    new_questions,
    stderr,
    these_questions,
    total,
)
from deltalens.integrations.inspect.scorers import panel
from deltalens.integrations.inspect.sources import adapters, path
from deltalens.integrations.inspect.tasks import ask, questions

if TYPE_CHECKING:
    from inspect_ai.model import ModelAPI

__all__ = [
    "adapters", "ask", "deltalens", "mean", "new_questions", "panel", "path", "questions", "stderr",
    "these_questions", "total",
]  # fmt: skip


@modelapi("deltalens")
def deltalens() -> type[ModelAPI]:
    """A point on a path between fine-tunes, as a model: `deltalens/FOLDER`."""
    from deltalens.integrations.inspect.provider import DeltalensAPI

    return DeltalensAPI
