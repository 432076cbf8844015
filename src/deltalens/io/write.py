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
from deltalens.io.limits import DEFAULT_LIMITS
from deltalens.io.peft import CONFIG, GAUGE_NOTE, WEIGHTS
from deltalens.io.provenance import versions
from deltalens.io.strict_json import read_object
from deltalens.io.truncate import Cuts, ModuleCut, truncated
from deltalens.io.whole_folder import appears_whole, require_replaceable
from deltalens.io.write_tensors import WRITTEN_DTYPES, write_tensors

PROVENANCE = "provenance.json"
MADE_BY = "deltalens export"
_OURS = (CONFIG, PROVENANCE, *WEIGHT_FILES)
# PEFT keeps LoRA on embeddings transposed and under other names.
_EMBEDDINGS = frozenset(["embed_tokens", "wte", "wpe", "embed_in", "word_embeddings"])
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
    _require_linear(adapter, ranks)
    gauge = _gauge(adapter, ranks)
    layout = layout or FORMAT
    measured: list[ModuleCut] = []
    with appears_whole(folder, _OURS) as partial:
        write_tensors(
            partial / layout.weights,
            _shapes(adapter, ranks, layout),
            _tensors(adapter, ranks, measured, layout),
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


def _require_linear(adapter: Adapter, ranks: Mapping[ModuleKey, int]) -> None:
    for key in ranks:
        if adapter.specs[key].layout.kernel:
            raise UnsupportedAdapterError(
                f"{shown(adapter.name)}: {shown(key)} is a convolution, which is not written yet; "
                "linear layers are"
            )
        if key.expert is not None or key.path.rpartition(".")[2] in _EMBEDDINGS:
            what = "an expert of a stacked tensor" if key.expert is not None else "an embedding"
            raise UnsupportedAdapterError(
                f"{shown(adapter.name)}: {shown(key)} is {what}, which is not written yet; "
                "linear layers are"
            )


def _gauge(adapter: Adapter, ranks: Mapping[ModuleKey, int]) -> str:
    """Why the written factors are not as training left them; also where only the name changed."""
    if any(rank < adapter.specs[key].rank for key, rank in ranks.items()):
        return "cut to a lower rank"
    odd = {adapter.specs[key].gauge for key in ranks} - {"training"}
    return sorted(odd)[0] if odd else "an exported copy"


def _shapes(
    adapter: Adapter, ranks: Mapping[ModuleKey, int], layout: Format
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    largest = max(ranks.values())
    for key, rank in ranks.items():
        shapes |= layout.shapes(key.path, adapter.specs[key].shape, layout.rank(rank, largest))
    return shapes


def _tensors(
    adapter: Adapter, ranks: Mapping[ModuleKey, int], measured: list[ModuleCut], layout: Format
) -> Iterator[tuple[str, Array]]:
    largest = max(ranks.values())
    for key, rank in ranks.items():
        update = adapter[key]
        if not (np.isfinite(update.B).all() and np.isfinite(update.A).all()):
            raise AdapterError(f"{shown(adapter.name)}: {shown(key)} holds NaN or infinity")
        kept, norm, lost = truncated(update, rank)
        measured.append(ModuleCut(str(key), rank, norm, lost))
        more = layout.rank(rank, largest) - (rank if kept.rank else 0)
        yield from layout.tensors(key.path, _widened(kept, more))


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


def _peft_shapes(path: str, shape: tuple[int, int], rank: int) -> dict[str, tuple[int, ...]]:
    A, B = _peft_names(path)
    return {A: (rank, shape[1]), B: (shape[0], rank)}


def _peft_tensors(path: str, update: LowRankUpdate) -> list[tuple[str, Array]]:
    A, B = _peft_names(path)
    return [(A, update.A), (B, update.B)]


def _peft_names(path: str) -> tuple[str, str]:
    stem = f"base_model.model.{path}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def _peft_config(adapter: Adapter, ranks: Mapping[ModuleKey, int]) -> dict[str, Any]:
    r"""PEFT's config, whose patterns name modules of lower rank by their whole path.

    The largest rank is the default: a reader that ignores patterns reserves enough and still
    scales by 1. PEFT matches `(.*\.)?(KEY)$`; the `^` keeps out a longer path of the same end.
    """
    largest = max(ranks.values())
    lower = {f"^{re.escape(key.path)}": rank for key, rank in ranks.items() if rank != largest}
    base = adapter.base_model
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "revision": adapter.provenance.revision if base is not None else None,
        "inference_mode": True,
        "r": largest,
        "lora_alpha": largest,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": lower,
        "alpha_pattern": lower,
        "target_modules": [key.path for key in ranks],
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


FORMAT = Format(WEIGHTS, _peft_shapes, _peft_tensors, _peft_config)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(finite(value), indent=1, allow_nan=False, ensure_ascii=True)
    path.write_text(text + "\n", encoding="utf-8")
