"""AdaLoRA: a singular value decomposition whose rank was cut while training.

`dW = scaling B (E o A)` with `A (r, in)`, `E (r, 1)`, `B (out, r)` and
`scaling = lora_alpha / (init_r + 1e-5)`, `r / (init_r + 1e-5)` where lora_alpha is not positive
(PEFT `AdaLoraLayer`; `ranknum` stays what it was before the cut). A module may be cut to rank 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.fields import flag, mapping, number, whole
from deltalens.io.parts import Opened, Parts, fitted, scaled, spec_of
from deltalens.io.peft_parts import modules_of, peft_adapter
from deltalens.io.peft_types import PeftFolder
from deltalens.io.sources import Computed

_EPSILON = 1e-5  # PEFT's, against a rank of zero
_ROLES = ("lora_A", "lora_B", "lora_E", "ranknum")
GAUGE = "AdaLoRA starts from random A and B and keeps them orthogonal"
_KNOWN = (
    *("r", "lora_alpha", "init_r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2"),
    *("orth_reg_weight", "total_step", "rank_pattern", "lora_dropout", "fan_in_fan_out"),
    *("use_rslora", "init_lora_weights", "alpha_pattern", "megatron_config", "megatron_core"),
    *("loftq_config", "eva_config", "corda_config", "use_dora", "layer_replication", "lora_bias"),
    *("runtime_config", "trainable_token_indices", "target_parameters", "qalora_group_size"),
    *("use_qalora", "alora_invocation_tokens", "arrow_config", "ensure_weight_tying"),
    *("lora_ga_config", "use_bdlora", "velora_config", "monteclora_config", "kasa_config"),
)


def load_peft(folder: PeftFolder) -> Adapter:
    """Read an adapter of `peft_type` ADALORA.

    Raises:
        AdapterError: naming the file, what was found and what is allowed.
    """
    config, where = folder.config, folder.where
    modules, warnings = modules_of(folder, _ROLES, "AdaLoRA", _KNOWN)
    init_r = whole(config.get("init_r", 12), "init_r", where)
    alpha = number(config.get("lora_alpha", 8), "lora_alpha", where)
    transposed = flag(config.get("fan_in_fan_out") or False, "fan_in_fan_out", where)
    cut = _kept_ranks(config.get("rank_pattern"), where)
    opened: dict[ModuleKey, Opened] = {}
    for path, parts in modules.items():
        rank = cut.get(path, init_r)
        scaling = (alpha if alpha > 0 else float(rank)) / (init_r + _EPSILON)
        opened[ModuleKey(path)] = _opened(parts, rank, scaling, transposed, folder)
    return peft_adapter(folder, opened, "adalora", warnings)


def _kept_ranks(value: object, where: str) -> Mapping[str, int]:
    """Module -> how many of its triplets were kept: the config lists a truth value for each."""
    ranks: dict[str, int] = {}
    for key, kept in mapping(value, "rank_pattern", where).items():
        if not isinstance(kept, list) or not all(isinstance(k, bool) for k in kept):  # pyright: ignore[reportUnknownVariableType]
            raise AdapterError(
                f"{where}: rank_pattern[{shown(key, 60)!r}] must be a list of true and false; "
                f"found {shown(kept, 60)!r}"
            )
        ranks[key.partition(".lora_E")[0]] = sum(kept)  # pyright: ignore[reportUnknownArgumentType]
    return ranks


def _opened(
    parts: Parts, rank: int, scaling: float, transposed: bool, folder: PeftFolder
) -> Opened:
    parts.require(("lora_A", "lora_B", "lora_E"))
    for role in ("lora_A", "lora_B", "lora_E"):
        if rank > 0:
            parts.require_axes(role, 2)
    A, B, E = (parts.shape(role) for role in ("lora_A", "lora_B", "lora_E"))
    sizes = {"config": rank, "lora_A": A[0], "lora_B": B[-1], "lora_E": E[0]}
    if len(A) != 2 or len(B) != 2 or len(E) != 2 or E[1] != 1 or len(set(sizes.values())) != 1:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)}: lora_A {list(A)}, lora_B {list(B)} and lora_E "
            f"{list(E)} must share one rank; the config gives {rank}"
        )
    parts.require_rank(rank, folder.limits)
    shape = (B[0], A[1])
    layout = fitted(parts, shape, folder.base, transposed=transposed)
    spec = spec_of(parts, shape, rank, limits=folder.limits, layout=layout, gauge=GAUGE)
    return Opened(Computed(spec, partial(_read, parts, shape, rank, scaling)), scaling)


def _read(parts: Parts, shape: tuple[int, int], rank: int, scaling: float) -> LowRankUpdate:
    if rank == 0:
        return LowRankUpdate.zero(shape)
    A = parts.read("lora_E") * parts.read("lora_A")
    return scaled(LowRankUpdate(parts.read("lora_B"), A), scaling, parts)
