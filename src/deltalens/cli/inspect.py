"""`deltalens inspect`: what an adapter holds, measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from deltalens.cli.screen import adapters_inside, number, say, table
from deltalens.core.result import finite
from deltalens.core.text import shown
from deltalens.errors import DeltalensError
from deltalens.io.base import BaseModel, open_base
from deltalens.io.read import distinct_names, load

_FEW_WARNINGS = 20


def command(
    paths: list[Path] = typer.Argument(
        ..., metavar="PATH...", help="Adapters, fine-tunes, hf:owner/name, or a folder of them."
    ),
    base: str | None = typer.Option(
        None, help="Base model folder, 'toy' or 'toy-qwen2': check that it fits."
    ),
    weights: bool = typer.Option(False, "--weights", help="Read the weights of many adapters too."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> int:
    """Show what adapters hold: format, base, scaling, modules, norms."""
    from deltalens.studies.inspect.describe import describe

    model = _base(base)
    inside = {path: adapters_inside(path) for path in paths}
    if len(paths) == 1 and not inside[paths[0]]:
        document = describe(load(paths[0], base=model), model, weights=True)
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
    from deltalens.studies.inspect.describe import describe

    say(f"reading {shown(path)}")
    try:
        return describe(load(path, name=name, base=model), model, weights=weights)
    except DeltalensError as error:
        return {"name": name, "error": shown(error, 2000)}


def _show(document: dict[str, Any], as_json: bool, printer: Any) -> None:
    if as_json:
        print(json.dumps(finite(document), allow_nan=False, indent=1))
    else:
        printer(document)


def _print_one(document: dict[str, Any]) -> None:
    from deltalens.studies.inspect.spectrum import sketch

    print(f"{shown(document['name'])}: {document['format']}, base {shown(document['base_model'])}")
    if "hub" in document:
        hub = document["hub"]
        print(f"from {shown(hub['repo'])} at commit {shown(hub['commit'])}")
    print(f"scaling {_scaling(document)}")
    rows = [
        (
            name,
            "x".join(map(str, m["shape"])),
            m["rank"],
            number(m["norm"]),
            number(m["stable_rank"]),
            sketch(m["singular_values"]),
        )
        for name, m in document["modules"].items()
    ]
    table(("module", "shape", "rank", "norm of dW", "stable rank", "spectrum"), rows)
    _print_biases(document["bias"])
    stable = number(document["stable_rank"])
    print(f"norm of the whole update {number(document['norm'])}, median stable rank {stable}")
    for note in document["health"]:
        print(f"health: {shown(note)}")
    _print_warnings(document["warnings"])


def _print_biases(biases: dict[str, Any]) -> None:
    if biases:
        rows = [
            (name, "needs --base" if b["norm"] is None else number(b["norm"]))
            for name, b in biases.items()
        ]
        table(("bias or other vector", "norm of its change"), rows)


def _print_many(document: dict[str, Any]) -> None:
    adapters: Sequence[dict[str, Any]] = document["adapters"]
    sized = any("norm" in d for d in adapters)
    columns = ["adapter", "format", "base", "modules", "ranks", "scaling"]
    columns += ["norm", "stable rank"] if sized else []
    table((*columns, "health"), [_line(d, sized) for d in adapters])
    _print_summary(adapters)
    warnings: list[str] = []
    for d in adapters:
        if "error" in d:
            print(f"{shown(d['name'])}: error: {d['error']}")
        else:
            warnings += [f"{shown(d['name'])}: {w}" for w in d["warnings"]]
    _print_warnings(warnings[:_FEW_WARNINGS])
    if len(warnings) > _FEW_WARNINGS:
        print(f"{len(warnings) - _FEW_WARNINGS} more warnings: --json has them all")


def _print_summary(adapters: Sequence[dict[str, Any]]) -> None:
    read = [d for d in adapters if "error" not in d]
    bases = Counter(shown(d["base_model"], 60) for d in read)
    named = ", ".join(f"{base} ({n})" for base, n in bases.most_common(5))
    more = f", {len(bases) - 5} more" if len(bases) > 5 else ""
    print(f"{len(read)} of {len(adapters)} read; bases: {named or 'none'}{more}")


def _line(d: dict[str, Any], sized: bool) -> Sequence[object]:
    if "error" in d:
        return (d["name"], "error", *[""] * (7 if sized else 5))
    ranks = ", ".join(map(str, sorted({m["rank"] for m in d["modules"].values()})))
    sizes = (number(d["norm"]), number(d["stable_rank"])) if sized else ()
    health = "; ".join(d["health"]) or (f"{len(d['warnings'])} warnings" if d["warnings"] else "")
    return (
        d["name"], d["format"], d["base_model"], len(d["modules"]), ranks, _scaling(d), *sizes,
        health,
    )  # fmt: skip


def _scaling(d: dict[str, Any]) -> str:
    return ", ".join(number(s) for s in d["scaling"] or []) or "none"


def _print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {shown(warning)}")
