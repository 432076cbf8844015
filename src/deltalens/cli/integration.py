"""Integrations by name, imported when they are asked for: the two rooms know nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def integration(name: str) -> Any:
    """The module `deltalens.integrations.NAME`."""
    return import_module(f"deltalens.integrations.{name}")
