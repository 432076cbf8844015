"""Points of a path between adapters, written as ordinary adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.connectivity.paths import BASE, PATHS, base_of
from deltalens.core.adapter import Adapter
from deltalens.core.result import Result
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.export_format import Format, format_of
from deltalens.io.lora_part import biases_left_out, format_part, lora_part
from deltalens.io.peft import CONFIG
from deltalens.io.provenance import sha256_file
from deltalens.io.read import load_all
from deltalens.io.truncate import Cuts
from deltalens.io.write import require_options, require_writable, write_adapter
from deltalens.organisms.toys import other_toy

DEFAULT_T = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class PointRow:
    """One written point: the row of the table `points`."""

    t: float
    folder: str
    modules: int
    min_rank: int
    max_rank: int
    norm: float
    discarded_energy: float
    worst_module: str | None
    worst_discarded: float


def export(
    a: Adapter | str | Path,
    b: Adapter | str | Path | None = None,
    *,
    out: str | Path,
    base: str | Path | None = None,
    t: Sequence[float] = DEFAULT_T,
    path: str = "linear",
    rank: int | None = None,
    dtype: str = "float32",
    format: str | Format = "peft",
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Write points of the path from `a` to `b`, each as `OUT/t-T`.

    Args:
        a: an adapter, or its folder, or `"base"`. Alone it is the end, and the base the start.
        b: the adapter at t = 1.
        out: where the points' folders go; what else is there stays.
        base: the base model's folder, for ends that are defined only with it: a full checkpoint
            becomes the LoRA of its linear layers.
        t: positions; 0 and 1 are the ends, any other number extrapolates.
        path: `"linear"`, `"factorwise"` or `"factor_scaling"`.
        rank: the largest rank of a module, reached by truncated SVD.
        dtype: how numbers are stored.
        format: whose files: `"peft"`, `"kohya"` or `"mlx"`, or a layout of one's own.
        progress: called with a line about what is being done.

    Returns:
        A `Result` with the table `points`; every folder that it names is complete.

    Raises:
        DeltalensError: for ends that cannot be read or joined, options that are impossible, or
            a folder that is in the way: all before anything is written.
    """
    if path not in PATHS:
        raise OptionError(f"--path {shown(path, 40)!r} is not known; known are {', '.join(PATHS)}")
    require_options(dtype, rank)
    layout = format if isinstance(format, Format) else format_of(format)
    line = PATHS[path](*open_ends(a, b, base))
    # a position given twice is one point
    points = {position: format_part(line(position), line.ends, layout) for position in t}
    folders = {position: Path(out) / folder_name(position) for position in points}
    for folder in folders.values():
        require_writable(folder)
    inputs = [input_of(end) for end in line.ends]
    rows: list[PointRow] = []
    documents: list[dict[str, Any]] = []
    for position, point in points.items():
        if progress is not None:
            progress(f"writing {shown(folders[position])}")
        note = {"inputs": inputs}
        cuts = write_adapter(
            point, folders[position], dtype=dtype, rank=rank, note=note, layout=layout
        )
        rows.append(_row(position, folders[position], cuts))
        documents.append({"t": position, "folder": str(folders[position]), **cuts.document()})
    warnings = next((point.provenance.warnings for point in points.values()), ())
    return Result(
        kind="export",
        document={
            "a": line.ends[0].name,
            "b": line.ends[1].name,
            "path": line.kind,
            "rank": rank,
            "dtype": dtype,
            "format": format if isinstance(format, str) else "peft",
            "out": str(out),
            "points": documents,
            "warnings": [*warnings, *biases_left_out(line.ends)],
        },
        tables={"points": rows},
        provenance={"inputs": inputs},
    )


def open_ends(
    a: Adapter | str | Path, b: Adapter | str | Path | None, base: str | Path | None = None
) -> tuple[Adapter, Adapter]:
    """The ends of a path: one adapter alone is the end, and the base the start.

    Raises:
        DeltalensError: if one cannot be read, or they do not belong together.
    """
    given = [a] if b is None else [b] if str(a) == BASE and not isinstance(a, Adapter) else [a, b]
    if len(given) == 1 and str(given[0]) == BASE and not isinstance(given[0], Adapter):
        raise OptionError("the base alone is no path; an adapter is needed to walk to")
    files = [end for end in given if not isinstance(end, Adapter)]
    loaded = iter(_loaded(files, base))
    ends = [end if isinstance(end, Adapter) else next(loaded) for end in given]
    if len(ends) == 2 and other_toy(ends[0].base_model, ends[1].base_model):
        raise OptionError(
            f"{shown(ends[0].name)} is for the base {ends[0].base_model!r} and "
            f"{shown(ends[1].name)} for {ends[1].base_model!r}; one base is needed"
        )
    return (base_of(ends[0]), ends[0]) if len(ends) == 1 else (ends[0], ends[1])


def _loaded(files: Sequence[str | Path], base: str | Path | None) -> list[Adapter]:
    if base is None:
        return load_all(files)
    from deltalens.io.base import open_base
    from deltalens.studies.compare.study import base_folder

    return [lora_part(a) for a in load_all(files, base=open_base(base_folder(base)))]


def folder_name(t: float) -> str:
    """How the folder of a point is called, in `--out`."""
    return f"t-{int(t) if t == int(t) and abs(t) < 1e15 else t!r}"


def input_of(end: Adapter) -> dict[str, Any]:
    """An end by name and content: no machine path goes into an adapter."""
    files = [Path(file) for file in end.provenance.inputs]
    files += [files[0].parent / CONFIG] if files else []
    files = [file for file in files if file.is_file()]  # a full checkpoint has no such config
    return {
        "name": end.name,
        "base_model": end.base_model,
        "sha256": {file.name: sha256_file(file) for file in files},
    }


def _row(t: float, folder: Path, cuts: Cuts) -> PointRow:
    worst = cuts.worst
    return PointRow(
        t=t,
        folder=str(folder),
        modules=len(cuts.modules),
        min_rank=cuts.ranks[0],
        max_rank=cuts.ranks[-1],
        norm=cuts.norm,
        discarded_energy=cuts.discarded_energy,
        worst_module=worst.module if worst else None,
        worst_discarded=worst.discarded_energy if worst else 0.0,
    )
