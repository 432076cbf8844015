"""Tensors spread over several safetensors files by an index."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, cast

from deltalens.core.text import shown
from deltalens.errors import AdapterError, DeltalensError
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.strict_json import read_object
from deltalens.io.tensors import TensorFile


def open_shards(
    index: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    error: type[DeltalensError] = AdapterError,
) -> dict[str, TensorFile]:
    """Tensor name -> the opened file that holds it, from an index (`weight_map`).

    Raises:
        DeltalensError: of the given type, if the index is no such index, names too many files or
            one that is not beside it, or puts a tensor where it is not; or if all files together
            hold too many tensors.
    """
    weight_map: Any = read_object(index, limits.header_bytes, error).get("weight_map")
    if not isinstance(weight_map, dict):
        raise error(f"{shown(index)}: weight_map must be an object")
    placed = cast("dict[str, Any]", weight_map)
    shards = _opened(index, _plain(index, placed, limits, error), limits, error)
    files: dict[str, TensorFile] = {}
    for tensor, shard in placed.items():
        path = index.parent / shard
        if tensor not in shards[shard].entries:
            raise error(
                f"{shown(path)}: lacks {shown(tensor)}, which {shown(index.name)} puts there"
            )
        files[tensor] = shards[shard]
    return files


def _plain(
    index: Path, placed: dict[str, Any], limits: Limits, error: type[DeltalensError]
) -> list[str]:
    """The files that an index names, each once; checked before any is opened."""
    for tensor, shard in placed.items():
        if not isinstance(shard, str) or PurePath(shard).name != shard or shard.startswith("."):
            raise error(
                f"{shown(index)}: shard {shown(shard)!r} of {shown(tensor)}; "
                "only plain file names inside the folder are allowed"
            )
    names = list(dict.fromkeys(placed.values()))
    if len(names) > limits.shards:
        raise error(
            f"{shown(index)}: names {len(names)} files; at most {limits.shards} (shards) are "
            "allowed"
        )
    return names


def _opened(
    index: Path, names: list[str], limits: Limits, error: type[DeltalensError]
) -> dict[str, TensorFile]:
    """Every file by name. The tensors of all count together: links make many files of one."""
    shards: dict[str, TensorFile] = {}
    total = 0
    for name in names:
        shards[name] = TensorFile.open(index.parent / name, limits=limits, error=error)
        total += len(shards[name].entries)
        if total > limits.tensors:
            raise error(
                f"{shown(index)}: its files hold more than {limits.tensors} tensors (tensors), "
                "the most that are allowed"
            )
    return shards
