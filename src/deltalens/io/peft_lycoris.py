"""LoHa and LoKr as PEFT saves them: scaling `alpha / r`, rank and alpha per module by patterns."""

from __future__ import annotations

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io import loha, lokr
from deltalens.io.fields import number, pattern, whole
from deltalens.io.parts import Opened, Parts
from deltalens.io.patterns import hits
from deltalens.io.peft_parts import modules_of, peft_adapter
from deltalens.io.peft_types import PeftFolder

_KNOWN = (
    *("r", "alpha", "rank_pattern", "alpha_pattern", "rank_dropout", "module_dropout"),
    *("use_effective_conv2d", "decompose_both", "decompose_factor", "rank_dropout_scale"),
)
_LOHA = (*loha.ROLES, *loha.CORES)
_LOKR = (
    *("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"),
    *(*lokr.WHOLE, lokr.CORE),
)


def load_peft(folder: PeftFolder) -> Adapter:
    """Read an adapter of `peft_type` LOHA or LOKR.

    Raises:
        AdapterError: naming the file, what was found and what is allowed.
    """
    is_loha = folder.config["peft_type"] == "LOHA"
    method = "LoHa" if is_loha else "LoKr"
    modules, warnings = modules_of(folder, _LOHA if is_loha else _LOKR, method, _KNOWN)
    if not is_loha:
        _refuse_lines(modules)
    scalings = _scalings(folder, modules, is_loha)
    read = loha.opened_loha if is_loha else lokr.opened_lokr
    opened: dict[ModuleKey, Opened] = {
        ModuleKey(path): read(parts, scalings[path], folder.base, folder.limits)
        for path, parts in modules.items()
    }
    return peft_adapter(folder, opened, method.lower(), warnings)


def _refuse_lines(modules: dict[str, Parts]) -> None:
    """PEFT 0.21 multiplies the wrong axes there (`make_kron` pads w1 in front)."""
    for path, parts in modules.items():
        if lokr.WHOLE[1] in parts and len(parts.shape(lokr.WHOLE[1])) == 3:
            raise UnsupportedAdapterError(
                f"{parts.where}: {shown(path)}: LoKr on a one-dimensional convolution is not read: "
                "PEFT applies it with its axes mixed up"
            )


def _scalings(folder: PeftFolder, modules: dict[str, Parts], is_loha: bool) -> dict[str, float]:
    config, where, paths = folder.config, folder.where, list(modules)
    r, alpha = whole(config.get("r", 8), "r", where), number(config.get("alpha", 8), "alpha", where)
    ranks = pattern(config.get("rank_pattern"), whole, "rank_pattern", where)
    alphas = pattern(config.get("alpha_pattern"), number, "alpha_pattern", where)
    rank_hits = hits(list(ranks), paths, where, folder.limits)
    alpha_hits = hits(list(alphas), paths, where, folder.limits)
    found: dict[str, float] = {}
    for path, parts in modules.items():
        rank = ranks[rank_hits[path][0]] if rank_hits[path] else r
        held = loha.loha_rank(parts) if is_loha else lokr.lokr_rank(parts)
        if held is not None and held != rank:
            raise AdapterError(
                f"{where}: {shown(path)} has rank {held} in the tensors and {rank} in the config"
            )
        found[path] = (alphas[alpha_hits[path][0]] if alpha_hits[path] else alpha) / rank
    return found
