"""How the base stores a module that a PEFT LoRA file changes: the base's word over the config's.

PEFT writes `fan_in_fan_out` once a file and ignores it at modules that are `nn.Linear`. So with the
base, its architecture and shapes decide; without it, the flag does, with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping

from deltalens.core.layout import PLAIN, Layout
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import BaseModel

TRANSPOSED = Layout(transposed=True)
# Architectures whose blocks are made of transformers' Conv1D, and the names of those modules.
CONV1D_MODELS = frozenset(["gpt2", "openai-gpt", "imagegpt", "decision_transformer"])
CONV1D_MODULES = frozenset(["c_attn", "c_proj", "c_fc", "q_attn"])


def linear_layout(
    path: str, shape: tuple[int, int], flag: bool, base: BaseModel | None, where: str
) -> Layout:
    """Layout of a linear layer's weight.

    Args:
        path: the module's path.
        shape: `(out, in)` of the update.
        flag: the config's `fan_in_fan_out`.
        base: the base, where it is at hand.
        where: the file, for messages.

    Raises:
        AdapterError: if the base holds the module in a shape that fits neither way.
    """
    if base is None or not base.readable(path):
        is_conv1d = path.rpartition(".")[2] in CONV1D_MODULES
        return TRANSPOSED if flag and is_conv1d else PLAIN
    found, either = base.shape(path), (PLAIN, TRANSPOSED)
    fitting = [layout for layout in either if layout.stored(shape) == found]
    if not fitting:
        raise AdapterError(
            f"{where}: {shown(path)} is {list(shape)}; the base {shown(base.path)} has "
            f"{list(found)}"
        )
    if len(fitting) == 1:
        return fitting[0]
    return TRANSPOSED if _is_conv1d(path, base.config, flag) else PLAIN


def _is_conv1d(path: str, config: Mapping[str, object], flag: bool) -> bool:
    """Of a square weight, whose shape does not tell."""
    named = path.rpartition(".")[2] in CONV1D_MODULES
    model_type = config.get("model_type")
    return named and (flag if model_type is None else model_type in CONV1D_MODELS)


def embedding_layout(
    path: str, shape: tuple[int, int], base: BaseModel | None, where: str
) -> Layout:
    """Layout of an embedding: always transposed; the base must agree."""
    if base is not None and path in base and base.shape(path) != TRANSPOSED.stored(shape):
        raise AdapterError(
            f"{where}: {shown(path)} is {list(TRANSPOSED.stored(shape))}; "
            f"the base {shown(base.path)} has {list(base.shape(path))}"
        )
    return TRANSPOSED
