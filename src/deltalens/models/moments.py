"""Sums over the inputs of a model's linear modules, streamed through hooks; nothing is kept else.

Modules that are given the same tensor (q, k and v; gate and up) share one sum: they are found by
running one text and looking at which tensor each module was given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from deltalens.core.shapes import Array, Bool
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, OptionError
from deltalens.models.hooks import remove
from deltalens.models.runtime import Runtime
from deltalens.models.sums import Plan, Sums, sketch_matrix
from deltalens.models.tokens import Batch, Row


@dataclass(frozen=True)
class Input:
    """One tensor that the model computes, and the modules that read it.

    Attributes:
        modules: paths in the base, in the model's order; the first names the input.
        d_in: its width.
    """

    modules: tuple[str, ...]
    d_in: int

    @property
    def name(self) -> str:
        """The first of its modules."""
        return self.modules[0]


def find_inputs(model: Any, row: Row, pattern: str | None = None) -> tuple[Input, ...]:
    """The inputs of the decoder's linear modules, as one text shows them.

    Args:
        model: a transformers causal language model in evaluation mode.
        row: token ids of the text.
        pattern: glob on module paths; None takes all. The head is no part of the decoder.

    Raises:
        OptionError: if no module matches.
        BaseModelError: if the decoder has no linear module.
    """
    runtime = Runtime(model)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, runtime.torch.nn.Linear)}
    chosen = {n: m for n, m in linear.items() if pattern is None or fnmatchcase(n, pattern)}
    if linear and not chosen:
        raise OptionError(
            f"--modules {shown(pattern, 80)!r} matches none of {len(linear)} linear modules "
            f"({shown(next(iter(linear)))}, ...)"
        )
    seen: dict[str, Any] = {}
    handles = [m.register_forward_pre_hook(_remember(seen, n)) for n, m in chosen.items()]
    try:
        ids = np.array([row], dtype=np.int64)
        runtime.decode(Batch(np.array([0]), ids, np.ones_like(ids)))
    finally:
        remove(handles)
    if not seen:
        raise BaseModelError(
            f"{type(model).__name__}: no linear module of its decoder was used, so there are no "
            "inputs to measure"
        )
    groups: dict[int, list[str]] = {}
    for name in chosen:
        if name in seen:
            groups.setdefault(id(seen[name]), []).append(name)
    return tuple(Input(tuple(g), chosen[g[0]].in_features) for g in groups.values())


def _remember(seen: dict[str, Any], name: str) -> Callable[[Any, tuple[Any, ...]], None]:
    def hook(_module: Any, args: tuple[Any, ...]) -> None:
        seen[name] = args[0]  # held, so that no other tensor can get its id

    return hook


class Streamer:
    """Sums of the inputs of one model, a batch at a time."""

    def __init__(
        self,
        model: Any,
        inputs: Sequence[Input],
        plan: Plan,
        *,
        drop_first: int,
        drop: Collection[int],
    ) -> None:
        """Prepare empty sums.

        Args:
            model: the model that the inputs were found in.
            inputs: what is summed.
            plan: in which form.
            drop_first: tokens left out at the start of every text.
            drop: token ids left out everywhere.
        """
        self._runtime, self._plan = Runtime(model), plan
        self._modules = dict(model.named_modules())
        self.inputs = tuple(inputs)
        self._drop_first, self._drop = drop_first, sorted(drop)
        self._held: dict[str, _Held] = {}
        self.tokens = 0

    def kept(self, batch: Batch) -> Bool[Array, "row token"]:
        """Which tokens of a batch count."""
        place = np.arange(batch.ids.shape[1])
        found = (batch.mask == 1) & (place >= self._drop_first) & ~np.isin(batch.ids, self._drop)
        return np.asarray(found)

    def add(self, batch: Batch) -> None:
        """Run one batch and add its inputs.

        Raises:
            BaseModelError: if a module's input is not one vector a token.
        """
        kept = self.kept(batch)
        where = self._runtime.torch.from_numpy(np.flatnonzero(kept))
        handles = [
            self._modules[i.name].register_forward_pre_hook(self._summing(i, batch.ids.size, where))
            for i in self.inputs
        ]
        try:
            self._runtime.decode(batch)
        finally:
            remove(handles)
        self.tokens += int(kept.sum())

    def _summing(
        self, given: Input, tokens: int, where: Any
    ) -> Callable[[Any, tuple[Any, ...]], None]:
        def hook(_module: Any, args: tuple[Any, ...]) -> None:
            x = args[0]
            if x.numel() != tokens * given.d_in:
                raise BaseModelError(
                    f"{shown(given.name)}: its input {list(x.shape)} is not one vector for each of "
                    f"{tokens} tokens; leave it out with --modules"
                )
            if given.name not in self._held:
                self._held[given.name] = self._empty(given, x.device)
            self._held[given.name].add(x.reshape(tokens, given.d_in), where)

        return hook

    def _empty(self, given: Input, device: Any, sums: Sums | None = None) -> _Held:
        torch, d = self._runtime.torch, given.d_in
        place = "cpu" if device.type == "mps" else device  # which has no float64
        W = (
            torch.from_numpy(sketch_matrix(d, self._plan)).to(place)
            if self._plan.width(d)
            else None
        )
        columns = d if self._plan.kind == "full" else self._plan.width(d)
        made = [torch.zeros(shape, dtype=torch.float64, device=place)
                for shape in ((d,), (d,), (d, columns))]  # fmt: skip
        if sums is not None:
            for tensor, array in zip(made, (sums.total, sums.squares, sums.product), strict=True):
                tensor.copy_(torch.from_numpy(np.array(array)))
        return _Held(made[0], made[1], made[2], W)

    def sums(self, given: Input) -> Sums:
        """What was summed of one input.

        Raises:
            BaseModelError: if it is not finite.
        """
        held = self._held[given.name]
        found = Sums(*(t.cpu().numpy() for t in (held.total, held.squares, held.product)))
        if not np.isfinite(found.squares).all():
            raise BaseModelError(f"{shown(given.name)}: its inputs hold NaN or infinity")
        return found

    def restore(self, sums: Sequence[Sums], tokens: int) -> None:
        """Go on from the sums of an earlier run, one for each input."""
        for given, each in zip(self.inputs, sums, strict=True):
            device = self._modules[given.name].weight.device
            if device.type == "meta":  # offloaded: the sums stay where there is memory
                device = self._runtime.torch.device("cpu")
            self._held[given.name] = self._empty(given, device, each)
        self.tokens = tokens


class _Held:
    """Running sums on the device where the input is."""

    def __init__(self, total: Any, squares: Any, product: Any, W: Any) -> None:
        self.total, self.squares, self.product, self._W = total, squares, product, W

    def add(self, x: Any, where: Any) -> None:
        x = x[where.to(x.device)].to(self.total.device, self.total.dtype)
        self.total += x.sum(dim=0)
        self.squares += (x * x).sum(dim=0)
        if self.product.shape[1]:
            self.product.addmm_(x.T, x if self._W is None else x @ self._W)
