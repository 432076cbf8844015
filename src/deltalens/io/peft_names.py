"""From tensor names in a PEFT file to module paths in the base."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError

_PREFIXES = ("module.", "_orig_mod.", "base_model.model.")
_COMPILED = re.compile(r"\.(?:_orig_mod\.)+")
_COPY = re.compile(r"\.base_layer\.weight\Z|\.original_module\.")
_ADAPTER = r"(?:\.(?P<adapter>(?!weight\Z|bias\Z)[^.]+))?"
Role = Literal["A", "B", "lora_bias", "magnitude", "tokens", "bias", "saved"]

# What a name's end says of a tensor; the path before it is the module's in the base.
_ROLES: tuple[tuple[Role | Literal["factor"], re.Pattern[str]], ...] = (
    ("factor", re.compile(rf"^(?P<path>.+)\.lora_(?P<factor>[AB]){_ADAPTER}\.weight\Z")),
    ("factor", re.compile(rf"^(?P<path>.+)\.lora_embedding_(?P<factor>[AB]){_ADAPTER}\Z")),
    ("lora_bias", re.compile(rf"^(?P<path>.+)\.lora_B{_ADAPTER}\.bias\Z")),
    (
        "magnitude",
        re.compile(rf"^(?P<path>.+)\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?\Z"),
    ),
    (
        "tokens",
        re.compile(rf"^(?P<path>.+)\.token_adapter\.trainable_tokens_delta{_ADAPTER}\Z"),
    ),
    ("bias", re.compile(r"^(?P<path>.+?)(?:\.base_layer|\.modules_to_save(?:\.[^.]+)?)?\.bias\Z")),
    ("saved", re.compile(r"^(?P<path>.+?)(?:\.modules_to_save(?:\.[^.]+)?)?\.weight\Z")),
)
_STRANGE = re.compile(r"(?:^|\.)(?:lora_|base_layer|token_adapter)")

# What a tensor name says of methods that are no LoRA, most specific first.
_REFUSED: tuple[tuple[str, str], ...] = (
    (r"hada_w", "LoHa"),
    (r"lokr_w", "LoKr"),
    (r"lora_E\b|ranknum", "AdaLoRA"),
    (r"vera_lambda", "VeRA"),
    (r"ia3_l", "IA3"),
    (r"(?:^|[._])b?oft_", "OFT or BOFT"),
    (r"lora_(down|up)", "kohya or diffusers keys (lora_down, lora_up)"),
    (r"\.lora_[ab]$", "mlx-lm keys (lora_a, lora_b)"),
)
_ANY_REFUSED = re.compile("|".join(pattern for pattern, _ in _REFUSED))


@dataclass(frozen=True)
class FactorName:
    """A tensor that is one factor of one module's update.

    Attributes:
        tensor: its name in the file.
        path: the module's path in the base.
        factor: which of the two.
        adapter: the adapter's name inside the file, usually none.
        embedding: whether it is LoRA on an embedding, whose weight is stored transposed.
    """

    tensor: str
    path: str
    factor: Literal["A", "B"]
    adapter: str | None
    embedding: bool = False


@dataclass(frozen=True)
class Names:
    """The tensors of a file by what they are; each maps a module's path to a tensor.

    Attributes:
        factors: LoRA matrices.
        others: role -> path -> tensor, for everything else that changes the model.
        copies: tensors that hold the base's own weights.
    """

    factors: tuple[FactorName, ...]
    others: Mapping[Role, Mapping[str, str]]
    copies: tuple[str, ...]


def strip_prefixes(name: str) -> str:
    """Remove the wrappers that training frameworks put before the module path."""
    while True:
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        if prefix is None:
            return _COMPILED.sub(".", name)
        name = name[len(prefix) :]


def parse_names(names: Iterable[str], where: str) -> Names:
    """Sort tensor names by what the tensors are.

    Raises:
        UnsupportedAdapterError: for a tensor of a method that is not LoRA.
        AdapterError: for a tensor that nothing here understands, or two of one meaning.
    """
    factors: list[FactorName] = []
    others: dict[Role, dict[str, str]] = {}
    copies: list[str] = []
    for name in names:
        stripped = strip_prefixes(name)
        if _COPY.search(stripped):
            copies.append(name)
            continue
        role, match = _role(stripped, name, where)
        if role == "factor":
            factor: Literal["A", "B"] = "A" if match["factor"] == "A" else "B"
            embedding = ".lora_embedding_" in stripped
            factors.append(FactorName(name, match["path"], factor, match["adapter"], embedding))
            continue
        other = others.setdefault(role, {}).setdefault(match["path"], name)
        if other is not name:
            raise AdapterError(
                f"{where}: tensors {shown(other)} and {shown(name)} are both the {role} of "
                f"{shown(match['path'])}"
            )
    return Names(tuple(factors), others, tuple(copies))


def _role(stripped: str, name: str, where: str) -> tuple[Any, re.Match[str]]:
    if _ANY_REFUSED.search(name):
        raise _not_understood(name, where)
    for role, pattern in _ROLES:
        match = pattern.match(stripped)
        if match is not None and not (role in ("bias", "saved") and _STRANGE.search(match["path"])):
            return role, match
    raise _not_understood(name, where)


def parse_factors(names: Iterable[str], where: str) -> tuple[list[FactorName], list[str]]:
    """Tensor names of LoRA factors, and the names of everything else.

    Raises:
        AdapterError: for a tensor that nothing here understands.
    """
    found = parse_names(names, where)
    others = [name for of_role in found.others.values() for name in of_role.values()]
    return list(found.factors), [*found.copies, *others]


def _not_understood(name: str, where: str) -> AdapterError:
    method = next((what for pattern, what in _REFUSED if re.search(pattern, name)), None)
    if method is None:
        return AdapterError(
            f"{where}: tensor {shown(name)} is not understood; PEFT LoRA factors are named "
            "MODULE.lora_A.weight and MODULE.lora_B.weight"
        )
    return UnsupportedAdapterError(
        f"{where}: tensor {shown(name)} belongs to {method}, which is not read here; PEFT LoRA is"
    )


def pair_factors(factors: Iterable[FactorName], where: str) -> dict[str, tuple[str, str]]:
    """Module path -> (tensor of A, tensor of B); exactly one of each, of one adapter."""
    found: dict[str, dict[str, FactorName]] = {}
    adapters: set[str | None] = set()
    for item in factors:
        adapters.add(item.adapter)
        other = found.setdefault(item.path, {}).setdefault(item.factor, item)
        if other is not item and other.adapter == item.adapter:
            raise AdapterError(
                f"{where}: tensors {shown(other.tensor)} and {shown(item.tensor)} "
                f"are both lora_{item.factor} of {shown(item.path)}"
            )
    if len(adapters) > 1:
        names = ", ".join(sorted(shown(name or "(unnamed)") for name in adapters))
        raise AdapterError(f"{where}: holds {len(adapters)} adapters ({names}); one is allowed")
    for path, pair in found.items():
        if len(pair) < 2:
            present = next(iter(pair.values()))
            lacking = "B" if present.factor == "A" else "A"
            raise AdapterError(
                f"{where}: {shown(path)} has {shown(present.tensor)} but no lora_{lacking}"
            )
    return {path: (pair["A"].tensor, pair["B"].tensor) for path, pair in found.items()}
