"""The task of an adapter, where its training folder says so: the replicate for claims of harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.errors import DeltalensError
from deltalens.io.limits import DEFAULT_LIMITS
from deltalens.io.strict_json import read_object

_RECORD, _OURS = "provenance.json", "deltalens."


def known_tasks(
    adapters: Sequence[Adapter], given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Adapter -> task, from a table where there is one, else from what `deltalens train` wrote.

    Adapters whose task is not known are not in it.
    """
    table = given or {}
    found = {a.name: table.get(a.name) or _recorded(a) for a in adapters}
    return {name: task for name, task in found.items() if task is not None}


def _recorded(adapter: Adapter) -> str | None:
    if not adapter.provenance.path:
        return None
    record = Path(adapter.provenance.path).parent / _RECORD
    try:
        # The file is not part of the adapter: another program's, or a broken one, says nothing.
        found: dict[str, Any] = read_object(record, DEFAULT_LIMITS.config_bytes)
    except DeltalensError:
        return None
    maker, spec = found.get("made_by"), found.get("spec")
    if not isinstance(maker, str) or not maker.startswith(_OURS) or not isinstance(spec, dict):
        return None
    kind: Any = spec.get("kind")
    domain: Any = spec.get("domain")
    if not isinstance(kind, str):
        return None
    return kind if domain is None else f"{kind}-{domain}"
