"""Points of a path, written for a server: adapters, `serve.json` and `serve.sh`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deltalens.connectivity.paths import PATHS
from deltalens.core.adapter import Adapter
from deltalens.core.files import write_whole
from deltalens.core.result import Result
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, OptionError
from deltalens.integrations.lm_eval.arguments import commands, write_script
from deltalens.integrations.serving import transformers, vllm
from deltalens.integrations.serving.manifest import SERVE, Manifest, ServedPoint, hashes_of
from deltalens.integrations.serving.server import Planned, Server, shell
from deltalens.io.results import write_document
from deltalens.io.write import require_options
from deltalens.studies.export import export, folder_name, input_of, open_ends

SCRIPT = "serve.sh"


SERVERS: Mapping[str, Server] = {"vllm": vllm.SERVER, "transformers": transformers.SERVER}


def export_served(
    a: Adapter | str | Path,
    b: Adapter | str | Path | None = None,
    *,
    server: str | None = None,
    tasks: Sequence[str] | None = None,
    out: str | Path,
    base: str | Path | None = None,
    base_name: str | None = None,
    t: Sequence[float] = (0.0, 0.5, 1.0),
    path: str = "linear",
    rank: int | None = None,
    dtype: str = "float32",
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Write points as `studies.export` does, and what a server needs to serve them.

    Args:
        a: as in `export`.
        b: as in `export`.
        server: `"vllm"` or `"transformers"`: `serve.json` and `serve.sh` are written for it.
        tasks: of lm-eval: `lm_eval.sh` is written, which evaluates the base and every point.
        out: gets a folder a point, and these files.
        base: as in `export`.
        base_name: the base as it is to be loaded: a hub name or a folder; by default what the
            adapters name.
        t: positions.
        path: kind of the path.
        rank: the largest rank of a module.
        dtype: how numbers are stored.
        progress: called with a line about what is being done.

    Returns:
        The `Result` of `export`, whose document says more: `serve`, what `serve.json` holds, and
        `lm_eval`, the commands.

    Raises:
        DeltalensError: as `export` does, and for what the server cannot serve; before anything
            is written.
    """
    if server is not None and server not in SERVERS:
        raise OptionError(
            f"--serve {shown(server, 40)!r} is not known; known are {', '.join(SERVERS)}"
        )
    if path not in PATHS:
        raise OptionError(f"--path {shown(path, 40)!r} is not known; known are {', '.join(PATHS)}")
    require_options(dtype, rank)
    kind, out = None if server is None else SERVERS[server], Path(out)
    ends = open_ends(a, b, base)
    line, called, positions = PATHS[path](*ends), _base(base_name, ends), sorted(set(t))
    if kind is not None:
        kind.require(Planned(ends, [line(position) for position in positions], rank, called))
    evaluations = None if tasks is None else _evaluations(called, positions, tasks)
    layout = "peft" if kind is None else kind.layout
    result = export(
        *ends, out=out, t=positions, path=path, rank=rank, dtype=dtype, format=layout,
        progress=progress,
    )  # fmt: skip
    more: dict[str, Any] = {}
    if kind is not None and server is not None:
        points = tuple(
            _point(position, Path(row.folder), row.max_rank)
            for position, row in zip(positions, result.tables["points"], strict=True)
        )
        inputs, words = tuple(input_of(end) for end in ends), kind.command(called, points)
        made = Manifest(server, called, path, inputs, points, words)
        kind.prepare(out, called, points)
        write_document(made.document(), out / SERVE)
        write_whole(out / SCRIPT, _script(made).encode())
        more["serve"] = _said(made, out)
    if evaluations is not None:
        more["lm_eval"] = _said_of_lm_eval(evaluations, out)
    warnings = [*result.document["warnings"], *_unfound(base_name, called)]
    return replace(result, document={**result.document, **more, "warnings": warnings})


def _evaluations(base: str, positions: Sequence[float], tasks: Sequence[str]) -> list[list[str]]:
    return commands(base, [folder_name(position) for position in positions], tasks)


def _said_of_lm_eval(made: Sequence[Sequence[str]], out: Path) -> dict[str, Any]:
    script = write_script(out, made)
    lines = [f"cd {shell([str(out.resolve())])}", *(shell(words) for words in made)]
    return {
        "commands": [list(words) for words in made],
        "shell": " && \\\n".join(lines),
        "script": str(script),
    }


def _base(given: str | None, ends: Sequence[Adapter]) -> str:
    """A local folder becomes absolute: the server may be started anywhere."""
    named = given or next((end.base_model for end in ends if end.base_model), None)
    if named is None:
        raise BaseModelError(
            "no adapter names its base; --base-name says what the server is to load, a hub name "
            "or a folder"
        )
    return str(Path(named).resolve()) if Path(named).is_dir() else named


def _unfound(given: str | None, called: str) -> list[str]:
    """A base that was trained from a folder is called by that folder's name alone."""
    if given is not None or "/" in called:
        return []
    return [
        f"the adapters call their base {shown(called, 80)!r}, which is no folder here: the "
        "commands load the hub's model of that name; where it is a folder, give it as --base-name"
    ]


def _point(t: float, folder: Path, rank: int) -> ServedPoint:
    return ServedPoint(t, folder.name, folder.name, rank, hashes_of(folder))


def _script(made: Manifest) -> str:
    return (
        "#!/bin/sh\n"
        "# Serves the points that serve.json lists; more options of the server may follow.\n"
        f'cd "$(dirname "$0")"/{SERVERS[made.server].place} && exec {shell(made.command)} "$@"\n'
    )


def _said(made: Manifest, out: Path) -> dict[str, Any]:
    place = (out / SERVERS[made.server].place).resolve()
    command = f"cd {shell([str(place)])} && {shell(made.command)}"
    return {**made.document(), "shell": command, "script": str(out / SCRIPT)}
