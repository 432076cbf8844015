"""Changed bias vectors, which no matrix update holds: reported apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import BaseModel
from deltalens.io.tensor_set import TensorSet

Bias = Callable[[], Array]


def bias_updates(
    trained: Mapping[str, str],
    lora: Mapping[str, tuple[str, float]],
    tensors: TensorSet,
    base: BaseModel | None,
    where: str,
) -> dict[str, Bias | None]:
    """Module path -> how its bias changes, or None where that takes the base.

    `bias = all` and `lora_only` store the trained bias itself, `lora_bias` a bias of B, which is
    scaled like B.

    Args:
        trained: module path -> its trained bias.
        lora: module path -> the bias of its B, and the scaling.
        tensors: where they lie.
        base: the base, where it is at hand.
        where: the file, for messages.

    Raises:
        AdapterError: if a tensor is no vector, or the base's is another.
    """
    found: dict[str, Bias | None] = {}
    for path, name in trained.items():
        shape = _length(tensors, name, where)
        if base is None or f"{path}.bias" not in base:
            found[path] = None
            continue
        if base.shape(f"{path}.bias") != shape:
            raise AdapterError(
                f"{where}: tensor {shown(name)} is {list(shape)}; the base {shown(base.path)} has "
                f"{list(base.shape(f'{path}.bias'))}"
            )
        found[path] = partial(_difference, tensors, name, base, path)
    for path, (name, scaling) in lora.items():
        _length(tensors, name, where)
        first = found.get(path)
        if path not in found:
            found[path] = partial(_scaled, tensors, name, scaling, None)
        elif first is not None:
            found[path] = partial(_scaled, tensors, name, scaling, first)
    return found


def _length(tensors: TensorSet, name: str, where: str) -> tuple[int, ...]:
    entry = tensors.entries[name]
    if len(entry.shape) != 1 or 0 in entry.shape or not entry.readable:
        raise AdapterError(
            f"{where}: tensor {shown(name)} is {entry.dtype} {list(entry.shape)}; a bias is a "
            "vector of F64, F32, F16 or BF16"
        )
    return entry.shape


def _difference(tensors: TensorSet, name: str, base: BaseModel, path: str) -> Array:
    return tensors.read(name) - base.tensor(f"{path}.bias")


def _scaled(tensors: TensorSet, name: str, scaling: float, first: Bias | None) -> Array:
    value = tensors.read(name) * scaling
    return value if first is None else value + first()
