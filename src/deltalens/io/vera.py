"""VeRA: two random projections that all modules share, and a scale for each of their rows.

`dW = (b o B[:out]) (d o A[:, :in])` with `vera_A (r, widest in)`, `vera_B (widest out, r)` and the
trained `vera_lambda_b (out)`, `vera_lambda_d (r)` (PEFT `VeraLayer.get_delta_weight`).
"""

from __future__ import annotations

import re
from functools import partial

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.fields import flag, whole
from deltalens.io.parts import Opened, Parts, fitted, scaled, spec_of
from deltalens.io.peft_parts import modules_of, peft_adapter
from deltalens.io.peft_types import PeftFolder
from deltalens.io.sources import Computed
from deltalens.io.tensor_set import TensorSet

_ROLES = ("vera_lambda_b", "vera_lambda_d")
_SHARED = re.compile(r"^(?:base_model\.)?vera_(?P<factor>[AB])(?:\.[^.]+)?\Z")
_KNOWN = (
    *("r", "projection_prng_key", "save_projection", "vera_dropout", "d_initial"),
    "fan_in_fan_out",
)
GAUGE = "VeRA's projections are random and never trained"
# Modules of one block that read the same vector, and so are equally wide.
_SAME_INPUT = (
    frozenset(["q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj"]),
    frozenset(["query", "key", "value"]),
    frozenset(["c_attn", "c_fc"]),
)


def load_peft(folder: PeftFolder) -> Adapter:
    """Read an adapter of `peft_type` VERA.

    Raises:
        UnsupportedAdapterError: if the projections are not in the file, or if only the base can
            tell how much of them a module uses.
        AdapterError: naming the file, what was found and what is allowed.
    """
    where = folder.where
    shared = {m["factor"]: n for n in folder.tensors.entries if (m := _SHARED.match(n)) is not None}
    if len(shared) < 2:
        raise UnsupportedAdapterError(
            f"{where}: VeRA without its projections vera_A and vera_B (save_projection false); "
            "they come from a random generator and are not drawn again"
        )
    entries = {n: e for n, e in folder.tensors.entries.items() if n not in shared.values()}
    tensors = folder.tensors
    own = PeftFolder(
        folder.name,
        folder.config,
        TensorSet(tensors.path, entries, tensors.files, tensors.metadata),
        folder.base,
        folder.limits,
        where,
    )
    modules, warnings = modules_of(own, _ROLES, "VeRA", _KNOWN)
    projections = Parts(tensors, "the projections", shared, where)
    rank = _shared_rank(projections, folder)
    transposed = flag(folder.config.get("fan_in_fan_out") or False, "fan_in_fan_out", where)
    if folder.base is None:
        warnings.append(_assumed_width(modules, projections, where))
    opened: dict[ModuleKey, Opened] = {
        ModuleKey(path): _opened(parts, projections, rank, transposed, folder)
        for path, parts in modules.items()
    }
    return peft_adapter(folder, opened, "vera", warnings)


def _shared_rank(projections: Parts, folder: PeftFolder) -> int:
    for role in ("A", "B"):
        projections.require_axes(role, 2)
    rank = projections.require_equal(
        "the ranks",
        {
            "config": whole(folder.config.get("r", 256), "r", folder.where),
            "vera_A": projections.shape("A")[0],
            "vera_B": projections.shape("B")[1],
        },
    )
    projections.require_rank(rank, folder.limits)
    return rank


def _assumed_width(modules: dict[str, Parts], projections: Parts, where: str) -> str:
    """Without the base, modules count as equally wide only where that follows from their names."""
    leaves = {path.rpartition(".")[2] for path in modules}
    if len(leaves) > 1 and not any(leaves <= group for group in _SAME_INPUT):
        raise UnsupportedAdapterError(
            f"{where}: VeRA does not say how wide the inputs of {shown(', '.join(sorted(leaves)))} "
            "are; give --base"
        )
    width = projections.shape("A")[1]
    return f"every module is taken to read {width} inputs, as vera_A does; --base would tell"


def _opened(
    parts: Parts, projections: Parts, rank: int, transposed: bool, folder: PeftFolder
) -> Opened:
    parts.require(_ROLES)
    for role in _ROLES:
        parts.require_axes(role, 1)
    parts.require_equal("the ranks", {"d": parts.shape("vera_lambda_d")[0], "vera_A": rank})
    (out,), in_ = parts.shape("vera_lambda_b"), projections.shape("A")[1]
    if folder.base is not None and parts.path in folder.base:
        stored = folder.base.shape(parts.path)
        if len(stored) == 2:
            in_ = stored[0] if stored[1] == out and (transposed or stored[0] != out) else stored[1]
    if out > projections.shape("B")[0] or in_ > projections.shape("A")[1]:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)} is {[out, in_]}; the projections reach "
            f"{[projections.shape('B')[0], projections.shape('A')[1]]}"
        )
    layout = fitted(parts, (out, in_), folder.base, transposed=transposed)
    spec = spec_of(parts, (out, in_), rank, limits=folder.limits, layout=layout, gauge=GAUGE)
    return Opened(Computed(spec, partial(_read, parts, projections, in_)))


def _read(parts: Parts, projections: Parts, in_: int) -> LowRankUpdate:
    b, d = parts.read("vera_lambda_b"), parts.read("vera_lambda_d")
    B = b[:, None] * projections.read("B")[: len(b)]
    A = d[:, None] * projections.read("A")[:, :in_]
    return scaled(LowRankUpdate(B, A), 1.0, parts)
