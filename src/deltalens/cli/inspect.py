"""`deltalens inspect`: what an adapter holds, measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from deltalens.cli.screen import adapters_inside, number, say, table
from deltalens.core.adapter import Adapter
from deltalens.core.result import finite
from deltalens.core.text import shown
from deltalens.errors import AdapterError, DeltalensError
from deltalens.io.base import BaseModel, open_base
from deltalens.io.read import distinct_names, load


def command(
    paths: list[Path] = typer.Argument(
        ..., metavar="PATH...", help="Adapters, or a folder of them."
    ),
    base: str | None = typer.Option(
        None, help="Base model folder, 'toy' or 'toy-qwen2': check that it fits."
    ),
    weights: bool = typer.Option(False, "--weights", help="Read the weights of many adapters too."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> int:
    """Show what adapters hold: format, base, scaling, modules, norms."""
    model = _base(base)
    inside = {path: adapters_inside(path) for path in paths}
    if len(paths) == 1 and not inside[paths[0]]:
        document = _describe(load(paths[0]), model, weights=True)
        _show(document, as_json, _print_one)
        return 0
    every = [found for path in paths for found in (inside[path] or [path])]
    documents = [
        _row(path, name, model, weights)
        for path, name in zip(every, distinct_names(every), strict=True)
    ]
    _show({"adapters": documents}, as_json, _print_many)
    return 2 if any("error" in d for d in documents) else 0


def _base(base: str | None) -> BaseModel | None:
    if base is None:
        return None
    from deltalens.studies.compare.study import base_folder

    return open_base(base_folder(base))


def _row(path: Path, name: str, model: BaseModel | None, weights: bool) -> dict[str, Any]:
    say(f"reading {shown(path)}")
    try:
        return _describe(load(path, name=name), model, weights=weights)
    except DeltalensError as error:
        return {"name": name, "error": shown(error, 2000)}


def _describe(adapter: Adapter, model: BaseModel | None, *, weights: bool) -> dict[str, Any]:
    modules: dict[str, Any] = {}
    if model is not None:
        from deltalens.studies.compare.study import require_its_base

        require_its_base(adapter, model)
    for key, spec in sorted(adapter.specs.items()):
        if model is not None:
            _require_fit(adapter, str(key), spec.shape, model)
        row: dict[str, Any] = {"shape": list(spec.shape), "rank": spec.rank}
        if weights:
            update = adapter[key]
            row |= {"norm": update.norm(), "probe": update.probe()}
        modules[str(key)] = row
    return {
        "name": adapter.name,
        "format": adapter.provenance.format,
        "base_model": adapter.base_model,
        "scaling": adapter.provenance.details.get("scaling"),
        "modules": modules,
        "bias": {},
        "warnings": list(adapter.provenance.warnings),
    }


def _require_fit(adapter: Adapter, path: str, shape: tuple[int, int], model: BaseModel) -> None:
    found = model.shape(path)
    if found != shape:
        raise AdapterError(
            f"{shown(adapter.name)}: {shown(path)} is {list(shape)}; "
            f"the base {shown(model.path)} has {list(found)}"
        )


def _show(document: dict[str, Any], as_json: bool, printer: Any) -> None:
    if as_json:
        print(json.dumps(finite(document), allow_nan=False, indent=1))
    else:
        printer(document)


def _print_one(document: dict[str, Any]) -> None:
    print(f"{shown(document['name'])}: {document['format']}, base {shown(document['base_model'])}")
    print(f"scaling {', '.join(number(s) for s in document['scaling'] or [])}")
    rows = [
        (name, "x".join(map(str, m["shape"])), m["rank"], number(m["norm"]))
        for name, m in document["modules"].items()
    ]
    table(("module", "shape", "rank", "norm of dW"), rows)
    _print_warnings(document["warnings"])


def _print_many(document: dict[str, Any]) -> None:
    rows = [_line(d) for d in document["adapters"]]
    table(("adapter", "format", "base", "modules", "ranks", "warnings"), rows)
    for d in document["adapters"]:
        if "error" in d:
            print(f"{shown(d['name'])}: error: {d['error']}")
        else:
            _print_warnings([f"{shown(d['name'])}: {w}" for w in d["warnings"]])


def _line(d: dict[str, Any]) -> Sequence[object]:
    if "error" in d:
        return (d["name"], "error", "", "", "", "")
    ranks = sorted({m["rank"] for m in d["modules"].values()})
    shown_ranks = ", ".join(map(str, ranks))
    return (
        d["name"], d["format"], d["base_model"], len(d["modules"]), shown_ranks, len(d["warnings"])
    )  # fmt: skip


def _print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {shown(warning)}")
