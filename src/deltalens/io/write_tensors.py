"""Tensors into a safetensors file, without safetensors.

The core does not need that package, and its numpy writer knows no bf16 and wants every tensor in
memory; here the header comes first, from shapes alone, and the tensors follow one at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import OutputError

# Our name (torch's) -> name in the file, bytes an element.
WRITTEN_DTYPES: Mapping[str, tuple[str, int]] = {
    "float32": ("F32", 4),
    "float64": ("F64", 8),
    "bfloat16": ("BF16", 2),
}


def write_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, Array]],
    *,
    dtype: str,
    metadata: Mapping[str, str],
) -> None:
    """Write a new file; the caller removes it if this fails.

    Args:
        path: the file, on disk (`fsync`) when this returns.
        shapes: name -> shape of every tensor, in file order.
        tensors: names and float64 values in the same order, produced while they are written.
        dtype: one of `WRITTEN_DTYPES`.
        metadata: text for the header's `__metadata__`.

    Raises:
        OutputError: if a value does not fit the type, naming the tensor.
    """
    with path.open("wb") as file:
        file.write(_header(shapes, dtype, metadata))
        for name, (found, values) in zip(shapes, tensors, strict=True):
            if found != name or values.shape != shapes[name]:
                raise ValueError(f"{found} {values.shape} where {name} {shapes[name]} is due")
            file.write(_stored(name, values, dtype).tobytes())
        file.flush()
        os.fsync(file.fileno())


def _header(
    shapes: Mapping[str, tuple[int, ...]], dtype: str, metadata: Mapping[str, str]
) -> bytes:
    code, size = WRITTEN_DTYPES[dtype]
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name, shape in shapes.items():
        end = start + size * int(np.prod(shape))
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the first tensor is aligned
    return len(text).to_bytes(8, "little") + text


def _stored(name: str, values: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):
        kept = values.astype("<f8" if dtype == "float64" else "<f4")
        if dtype == "bfloat16":
            kept = _rounded_to_bf16(kept)
    if not np.isfinite(kept).all():
        largest = float(np.abs(values).max())
        raise OutputError(
            f"{shown(name)} reaches {largest:g}, which {dtype} does not hold; "
            f"types are {', '.join(WRITTEN_DTYPES)}"
        )
    # asarray: the shift of an array without axes is a number
    return kept if dtype != "bfloat16" else np.asarray(kept.view("<u4") >> 16).astype("<u2")


def _rounded_to_bf16(values: Array) -> Array:
    """Float32 with the lower half empty: to the nearest, ties to even (finite or not)."""
    bits = values.view("<u4").astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16
    return np.where(np.isfinite(values), rounded.astype("<u4"), values.view("<u4")).view("<f4")
