"""DoRA: the rows of the changed weight keep their direction and get a trained magnitude.

`dW = diag(m / |W + sBA|) (W + sBA) - W` with row norms over `(out, in)` (Liu et al. 2024,
arXiv 2402.09353; PEFT `DoraLinearVariant.merge_safe`). Of full rank, so it needs the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.sources import Computed, Source, Sources
from deltalens.io.tensor_set import TensorSet

GAUGE = "DoRA's update is dense: its factors are none of training"


def dora(
    W: Float[Array, "out in"], update: LowRankUpdate, m: Float[Array, " out"]
) -> Float[Array, "out in"]:
    """`diag(m / |W + sBA|) (W + sBA) - W`, norms of rows.

    Raises:
        AdapterError: if a row of `W + sBA` is zero, where DoRA is not defined.
    """
    changed = W + update.dense()
    norms = np.linalg.norm(changed, axis=1)
    if not norms.all():
        raise AdapterError(
            f"row {int(np.argmin(norms))} of the changed weight is zero, where DoRA's direction "
            "is not defined"
        )
    changed *= (m / norms)[:, None]
    changed -= W
    return changed


def with_magnitudes(
    sources: Sources,
    magnitudes: Mapping[str, str],
    tensors: TensorSet,
    base: BaseModel | None,
    flag: bool,
    where: str,
) -> dict[ModuleKey, Source]:
    """Every source that has a magnitude vector as DoRA's update; the others as they are.

    Args:
        sources: the plain `sBA` by module.
        magnitudes: module path -> its magnitude tensor.
        tensors: where they lie.
        base: the base, where it is at hand.
        flag: the config's `use_dora`.
        where: the file, for messages.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: if flag, vectors and modules do not agree.
    """
    if flag != bool(magnitudes):
        found = f"{len(magnitudes)} lora_magnitude_vector tensors"
        raise AdapterError(f"{where}: use_dora is {str(flag).lower()} in the config, with {found}")
    lone = [path for path in magnitudes if ModuleKey(path) not in sources]
    lone += [str(key) for key in sources if flag and key.path not in magnitudes]
    if lone:
        raise AdapterError(
            f"{where}: {shown(lone[0])} lacks lora_A and lora_B, or lora_magnitude_vector; DoRA "
            "has all three"
        )
    if flag and base is None:
        raise UnsupportedAdapterError(
            f"{where}: DoRA changes each weight by its own size, so the base is needed; give --base"
        )
    if base is None:
        return dict(sources)
    return {
        key: _source(key, source, magnitudes[key.path], tensors, base, where) if flag else source
        for key, source in sources.items()
    }


def _source(
    key: ModuleKey, source: Source, name: str, tensors: TensorSet, base: BaseModel, where: str
) -> Source:
    spec, entry = source.spec, tensors.entries[name]
    if prod(entry.shape) != spec.shape[0] or not entry.readable:
        raise AdapterError(
            f"{where}: tensor {shown(name)} is {entry.dtype} {list(entry.shape)}; "
            f"{spec.shape[0]} magnitudes are needed"
        )
    found = base.shape(key.path)
    if found != spec.stored:
        raise AdapterError(
            f"{where}: {shown(key)} is {list(spec.stored)}; the base {shown(base.path)} has "
            f"{list(found)}"
        )

    def compute() -> LowRankUpdate:
        W, m = base.matrix(key, spec.layout), tensors.read(name).ravel()
        try:
            return from_dense(dora(W, source.read(), m))
        except AdapterError as error:
            raise AdapterError(f"{where}: {shown(key)}: {error}") from None

    return Computed(replace(spec, rank=min(spec.shape), gauge=GAUGE), compute)
