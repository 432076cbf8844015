"""Updates added to a model's linear modules by forward hooks: no weight is ever written.

`y = x W^T + b` becomes `y + sum_i c_i (x A_i^T) B_i^T`. The factors of all ends are stacked on the
module's device once, `A = [A_1; ..; A_n]` and `B = [B_1, .., B_n]`, so another point of a path is
another vector c, which scales the rows of `B^T` once, before the forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from deltalens._extras import require
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array, Float, Int
from deltalens.core.text import shown
from deltalens.errors import AdapterError, OptionError


class LowRankHook:
    """A forward hook `output + (x A^T) (c B^T)`.

    The module's own output is added to in place: it was made a moment ago, and another tensor of
    its size would cost more than the products. Half precision is computed in float32 and rounded
    once, at the end, as PEFT does.
    """

    __slots__ = ("down", "now", "ranks", "up")

    def __init__(self, down: Any, up: Any, ranks: Int[Array, " end"]) -> None:
        self.down: Final = down  # A, (rank, in)
        self.up: Final = up  # B^T, (rank, out)
        self.ranks: Final = ranks
        self.now: tuple[Any, Any] | None = None  # A^T and c B^T; None while all of c is 0

    def __call__(self, _module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """The module's output with the update's added; None leaves it as it is."""
        if self.now is None:
            return None
        down_t, up = self.now
        x = inputs[0].to(device=up.device, dtype=up.dtype)
        y = output.to(device=up.device, dtype=up.dtype).contiguous()
        low = x.reshape(-1, x.shape[-1]) @ down_t
        y.view(-1, y.shape[-1]).addmm_(low, up)
        return y.to(device=output.device, dtype=output.dtype)

    def set(self, c: Float[Array, " end"]) -> None:
        """Take the coefficients of the ends; an end of coefficient 0 costs nothing."""
        each = np.repeat(c, self.ranks)
        used = np.flatnonzero(each)
        if used.size == 0:
            self.now = None
            return
        down, up = self.down, self.up
        if used.size < each.size:
            rows = down.new_tensor(used.tolist()).long()
            down, up = down[rows], up[rows]
        if (each[used] != 1.0).any():
            up = up * up.new_tensor(each[used].tolist())[:, None]
        self.now = (down.T, up)


@dataclass(frozen=True, eq=False)
class Hooks:
    """The hooks of one context, ready to be placed.

    Attributes:
        modules: pairs of a module and its hook.
        n_ends: how many updates the coefficients speak of.
    """

    modules: tuple[tuple[Any, LowRankHook], ...]
    n_ends: int

    def place(self) -> list[Any]:
        """Register every hook; returns the handles that take them off, all or none."""
        handles: list[Any] = []
        try:
            for module, hook in self.modules:
                handles.append(module.register_forward_hook(hook))
        except BaseException:
            remove(handles)
            raise
        return handles

    def set(self, coefficients: Sequence[float]) -> None:
        """Set the coefficients of the ends, in the order in which the ends were given.

        Raises:
            OptionError: if there is not one finite number for each end.
        """
        c = np.asarray(coefficients, dtype=np.float64)
        if c.shape != (self.n_ends,) or not np.isfinite(c).all():
            raise OptionError(
                f"coefficients are {list(coefficients)}: {self.n_ends} finite numbers are needed"
            )
        for _, hook in self.modules:
            hook.set(c)


def remove(handles: Sequence[Any]) -> None:
    """Take hooks off again."""
    for handle in handles:
        handle.remove()


def build(model: Any, ends: Sequence[Adapter]) -> Hooks:
    """Check that `ends` fit `model`, then bring their factors to its devices.

    Raises:
        AdapterError: if an end speaks of a module that the model lacks, that is not linear or that
            has another shape; before any tensor is read.
        OptionError: if the model carries an adapter already.
    """
    modules = dict(model.named_modules())
    for module in modules.values():
        if any(isinstance(hook, LowRankHook) for hook in module._forward_hooks.values()):
            raise OptionError("the model carries an adapter already: leave that context first")
    for end in ends:
        _check(end, modules)
    keys = sorted({key for end in ends for key in end})
    made = ((modules[key.path], _hook(modules[key.path], key, ends)) for key in keys)
    return Hooks(tuple((module, hook) for module, hook in made if hook.ranks.any()), len(ends))


def _hook(module: Any, key: ModuleKey, ends: Sequence[Adapter]) -> LowRankHook:
    torch = require("torch", extra="models", purpose="applying an adapter")
    updates = [end.get(key) for end in ends]
    held = [
        # Conv1D stores (in, out); an update may be in that layout too: x dW = (x B) A
        (u.A.T, u.B.T)
        if _is_conv1d(module) and not end.specs[key].layout.transposed
        else (u.B, u.A)
        for u, end in zip(updates, ends, strict=True)
        if u is not None
    ]
    device, dtype = _device(module), _dtype(torch, module.weight)
    down = _stacked(torch, [A for _, A in held], device, dtype)
    up = _stacked(torch, [B.T for B, _ in held], device, dtype)
    return LowRankHook(down, up, np.array([0 if u is None else u.rank for u in updates]))


def _stacked(torch: Any, factors: Sequence[Array], device: Any, dtype: Any) -> Any:
    parts = [torch.tensor(factor, dtype=dtype, device=device) for factor in factors]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _dtype(torch: Any, weight: Any) -> Any:
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def _device(module: Any) -> Any:
    """Where the module computes; offloaded weights are on `meta` and accelerate knows the rest."""
    if module.weight.device.type != "meta":
        return module.weight.device
    return getattr(getattr(module, "_hf_hook", None), "execution_device", None) or "cpu"


def _is_conv1d(module: Any) -> bool:
    return type(module).__name__ == "Conv1D"


def _check(end: Adapter, modules: dict[str, Any]) -> None:
    """Refuse an adapter that does not fit, in one line: how many modules, and the first of them."""
    wrong = [(key, why) for key in end if (why := _misfit(key, end, modules)) is not None]
    if wrong:
        key, why = wrong[0]
        raise AdapterError(
            f"adapter {shown(end.name)!r}: {len(wrong)} of {len(end)} modules do not fit the "
            f"model; {shown(key)} {why}"
        )


def _misfit(key: ModuleKey, end: Adapter, modules: dict[str, Any]) -> str | None:
    torch = require("torch", extra="models", purpose="applying an adapter")
    if key.path not in modules:
        return "is not in the model"
    module = modules[key.path]
    if key.expert is not None:
        return "is one expert of a fused tensor, where only linear modules can be adapted"
    if isinstance(module, torch.nn.Linear):
        shape = (module.out_features, module.in_features)
    elif _is_conv1d(module):
        shape = tuple(module.weight.shape)
    else:
        return f"is {type(module).__name__} in the model, where only linear modules can be adapted"
    found = end.specs[key].stored
    return None if found == shape else f"is {found} in the adapter and {shape} in the model"
