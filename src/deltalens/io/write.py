"""Any adapter as an ordinary LoRA folder, PEFT's or another tool's, whole or not at all.

`dW = B A` has its scaling folded into B, so the file says `lora_alpha = r` without rsLoRA: a
scaling of 1 whatever the inputs used. The truth it is tested against is PEFT's own forward pass.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.result import finite
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, DeltalensError, OptionError, UnsupportedAdapterError
from deltalens.io.export_format import WEIGHT_FILES, Format
from deltalens.io.export_peft import FORMAT
from deltalens.io.limits import DEFAULT_LIMITS
from deltalens.io.peft import CONFIG, GAUGE_NOTE
from deltalens.io.places import WORDS, Place, places_of
from deltalens.io.provenance import versions
from deltalens.io.strict_json import read_object
from deltalens.io.truncate import Cuts, ModuleCut, truncated
from deltalens.io.whole_folder import appears_whole, require_replaceable
from deltalens.io.write_tensors import WRITTEN_DTYPES, write_tensors

PROVENANCE = "provenance.json"
MADE_BY = "deltalens export"
_OURS = (CONFIG, PROVENANCE, *WEIGHT_FILES)
_MACHINE_PATH = re.compile(r"[/~\\]|\.{1,2}(?:[/\\]|\Z)|[A-Za-z]:[/\\]|file:")


def write_adapter(
    adapter: Adapter,
    folder: str | Path,
    *,
    dtype: str = "float32",
    rank: int | None = None,
    note: Mapping[str, Any] | None = None,
    layout: Format | None = None,
) -> Cuts:
    """Write an adapter as a folder that PEFT, or another tool, loads to the same function.

    Modules of rank 0 (zero updates) are left out; if all are, each is written as zeros of rank 1,
    because PEFT loads no adapter without modules.

    Args:
        adapter: any adapter whose modules are linear layers.
        folder: a new or empty folder, or one written here before, which is then replaced.
        dtype: `"float32"`, `"float64"` or `"bfloat16"`.
        rank: the largest rank of a module: more is cut to the closest update of that rank.
        note: what else the provenance should say; no machine paths.
        layout: whose format (`export_format.format_of`); PEFT's by default.

    Returns:
        Per module and over all: rank, norm, and the share of the energy that was left out.

    Raises:
        OptionError: for a rank under 1 or an unknown type.
        AdapterError: for an adapter without modules, or one that holds NaN.
        UnsupportedAdapterError: for a module that PEFT keeps in another form than LoRA matrices.
        OutputError: if the folder cannot be written or is not ours to replace.
    """
    require_options(dtype, rank)
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve would follow a link
    require_writable(folder)
    ranks = written_ranks(adapter, rank)
    layout = layout or FORMAT
    places = places_of(adapter, ranks)
    _require_held(adapter, places, layout)
    gauge = _gauge(adapter, ranks)
    measured: list[ModuleCut] = []
    with appears_whole(folder, _OURS) as partial:
        write_tensors(
            partial / layout.weights,
            _shapes(places, layout),
            _tensors(adapter, places, ranks, measured, layout),
            dtype=dtype,
            metadata={"format": "pt", GAUGE_NOTE: gauge},
        )
        cuts = Cuts(tuple(measured))
        about: dict[str, Any] = {
            "made_by": MADE_BY,
            "name": adapter.name,
            "gauge": gauge,
            "dtype": dtype,
            "rank": rank,
            **cuts.document(),
            "point": adapter.provenance.details,
            "warnings": adapter.provenance.warnings,
            "versions": versions(),
        }
        if layout.config is not None:
            _write_json(partial / CONFIG, layout.config(_named(adapter), ranks))
        _write_json(partial / PROVENANCE, {**about, **(note or {})})
    return cuts


def require_options(dtype: str, rank: int | None) -> None:
    """Refuse an unknown type and a rank that no update has."""
    if dtype not in WRITTEN_DTYPES:
        raise OptionError(
            f"--dtype {shown(dtype, 40)!r} is not known; known are {', '.join(WRITTEN_DTYPES)}"
        )
    if rank is not None and rank < 1:
        raise OptionError(f"--rank must be from 1 up; found {rank}")


def require_writable(folder: Path) -> None:
    """Refuse a folder that is not new, empty or written here before."""
    require_replaceable(folder, _OURS, _made_here)


def written_ranks(adapter: Adapter, rank: int | None = None) -> dict[ModuleKey, int]:
    """Module -> its rank in the file, in order; modules that the file leaves out are absent."""
    if not adapter.specs:
        raise AdapterError(f"{shown(adapter.name)}: changes no module; there is nothing to write")
    ranks: dict[ModuleKey, int] = {}
    for key in adapter:
        spec = adapter.specs[key]
        cut = rank is not None and spec.rank > rank
        ranks[key] = min(rank or spec.rank, *spec.shape) if cut else spec.rank
    held = {key: r for key, r in ranks.items() if r > 0}
    return held or dict.fromkeys(ranks, 1)


def _made_here(folder: Path) -> bool:
    try:
        record = read_object(folder / PROVENANCE, DEFAULT_LIMITS.config_bytes)
    except DeltalensError:
        return False
    return record.get("made_by") == MADE_BY


def _require_held(adapter: Adapter, places: Mapping[Place, int], layout: Format) -> None:
    for place in places:
        if place.kind not in layout.kinds or len(place.layout.kernel) > 2:
            held = ", ".join(WORDS[kind][1] for kind in layout.kinds)
            three = " of 3 dimensions" if len(place.layout.kernel) > 2 else ""
            raise UnsupportedAdapterError(
                f"{shown(adapter.name)}: {shown(place.path)} is {WORDS[place.kind][0]}{three}, "
                f"which {layout.weights} does not hold; {held} are written"
            )


def _gauge(adapter: Adapter, ranks: Mapping[ModuleKey, int]) -> str:
    """Why the written factors are not as training left them; also where only the name changed."""
    if any(rank < adapter.specs[key].rank for key, rank in ranks.items()):
        return "cut to a lower rank"
    odd = {adapter.specs[key].gauge for key in ranks} - {"training"}
    return sorted(odd)[0] if odd else "an exported copy"


def _shapes(places: Mapping[Place, int], layout: Format) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    largest = max(places.values())
    for place, rank in places.items():
        shapes |= layout.shapes(place, layout.rank(rank, largest))
    return shapes


def _tensors(
    adapter: Adapter,
    places: Mapping[Place, int],
    ranks: Mapping[ModuleKey, int],
    measured: list[ModuleCut],
    layout: Format,
) -> Iterator[tuple[str, Array]]:
    largest = max(places.values())
    for place, rank in places.items():
        updates: list[LowRankUpdate] = []
        for key in place.keys:
            own, update = ranks.get(key, 0), adapter[key]
            if not (np.isfinite(update.B).all() and np.isfinite(update.A).all()):
                raise AdapterError(f"{shown(adapter.name)}: {shown(key)} holds NaN or infinity")
            kept, norm, lost = truncated(update, own)
            measured.append(ModuleCut(str(key), own, norm, lost))
            more = layout.rank(rank, largest) - (own if kept.rank else 0)
            updates.append(_widened(kept, more))
        yield from layout.tensors(place, updates)


def _widened(update: LowRankUpdate, more: int) -> LowRankUpdate:
    """The same update with zeros: a rank of 0 is written as 1, and a tool may want one rank."""
    (out, in_) = update.shape
    if more == 0:
        return update
    return update + LowRankUpdate(np.zeros((out, more)), np.zeros((more, in_)))


def _named(adapter: Adapter) -> Adapter:
    """The adapter with a base that is no machine path, or none."""
    base = adapter.base_model
    return (
        adapter
        if base is None or not _MACHINE_PATH.match(base)
        else replace(adapter, base_model=None)
    )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(finite(value), indent=1, allow_nan=False, ensure_ascii=True)
    path.write_text(text + "\n", encoding="utf-8")
