"""Results on disk: tables as Parquet, documents as JSON, each whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deltalens.core.files import write_whole
from deltalens.core.result import Result, finite
from deltalens.core.text import shown
from deltalens.errors import OutputError


def write_tables(result: Result, folder: Path) -> None:
    """One `NAME.parquet` a table, with the provenance in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    note = json.dumps(finite(result.provenance), sort_keys=True).encode()
    for name in result.tables:
        table: Any = pa.Table.from_pandas(result.to_pandas(name), preserve_index=False)
        table = table.replace_schema_metadata({b"deltalens": note})
        held = BytesIO()
        pq.write_table(table, held)
        write_whole(folder / f"{name}.parquet", held.getvalue())


def write_document(document: Mapping[str, Any], path: Path) -> None:
    """One JSON document without NaN or Infinity."""
    text = json.dumps(finite(document), indent=1, allow_nan=False, ensure_ascii=True)
    write_whole(path, text.encode() + b"\n")


REPORTS: Mapping[str, str] = MappingProxyType(
    {
        "walk": "walk.json",
        "agreement": "agreement.json",
        "compare": "results/compare.json",
        "audit-paper": "audit.json",
        "reproduce": "summary.json",
    }
)
"""Verb -> the document beside the report that it writes."""


def require_own(out: Path, verb: str) -> None:
    """Refuse a folder that holds the report of another verb, which this one would replace.

    Raises:
        OutputError: naming the folder and whose report it holds.
    """
    for other, document in REPORTS.items():
        if other != verb and (out / document).is_file():
            raise OutputError(
                f"{shown(out)}: holds the report of deltalens {other} ({document}); give another "
                "--out"
            )


def prepare_folder(out: Path) -> None:
    """Make the output folder, or say why it cannot be one before any work is done.

    Raises:
        OutputError: naming the path and the reason.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".deltalens-probe"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{shown(out)}: cannot be written to: {reason}") from None


def require_writable(out: Path) -> None:
    """Refuse a place where no folder can be made, before any work and without making one.

    Raises:
        OutputError: naming the path and the reason.
    """
    try:
        nearest = next(p for p in (out, *out.absolute().parents) if p.exists())
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise OutputError(f"{shown(out)}: cannot be written to: {error}") from None
    if not nearest.is_dir():
        raise OutputError(f"{shown(out)}: cannot be written to: {shown(nearest)} is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{shown(out)}: cannot be written to: {shown(nearest)} is not writable")
