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
        DeltalensError: of the given type, if the index is no such index, names a file that is not
            beside it, or puts a tensor where it is not.
    """
    weight_map: Any = read_object(index, limits.header_bytes, error).get("weight_map")
    if not isinstance(weight_map, dict):
        raise error(f"{shown(index)}: weight_map must be an object")
    shards: dict[str, TensorFile] = {}
    files: dict[str, TensorFile] = {}
    for tensor, shard in cast("dict[str, Any]", weight_map).items():
        if not isinstance(shard, str) or PurePath(shard).name != shard or shard.startswith("."):
            raise error(
                f"{shown(index)}: shard {shown(shard)!r} of {shown(tensor)}; "
                "only plain file names inside the folder are allowed"
            )
        path = index.parent / shard
        if shard not in shards:
            shards[shard] = TensorFile.open(path, limits=limits, error=error)
        if tensor not in shards[shard].entries:
            raise error(
                f"{shown(path)}: lacks {shown(tensor)}, which {shown(index.name)} puts there"
            )
        files[tensor] = shards[shard]
    return files
