"""The ends and the model of a walk, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.connectivity.paths import BASE, PATHS, AdapterPath, base_of
from deltalens.core.adapter import Adapter
from deltalens.core.protocols import Model, PointsModel
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, OptionError
from deltalens.io.hub import fetch_model, is_hub_path
from deltalens.io.read import load_all
from deltalens.models.load import has_tokenizer
from deltalens.organisms.base import BASE_NAMES, SHIPPED, base_folder
from deltalens.organisms.exact_judge import is_symbolic
from deltalens.organisms.toys import other_toy, toy_name
from deltalens.organisms.vocabulary import EXCLAIM, STOP, VOCABULARY
from deltalens.studies.walk.settings import folder_digest, object_digest

_SYMBOLIC_BATCH = 128

Source = Adapter | str | Path


@dataclass(frozen=True)
class Target:
    """The model, or where it is: loading waits until everything else is known to be right.

    Attributes:
        name: how reports call it.
        symbolic: whether it is a base of the symbolic world.
        toy: how adapters call it, if it is a toy base.
        digest: SHA-256 of its weights, on demand.
        load: gives the model.
        folder: where it lies, unless it is an object.
        hub: repository, revision and commit of one from the hub.
        points: the model, where it holds some points of a path and no others.
    """

    name: str
    symbolic: bool
    toy: str | None
    digest: Callable[[], str]
    load: Callable[[], Model]
    folder: Path | None = None
    hub: Mapping[str, str] | None = None
    points: PointsModel | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """What document and provenance say of a model from the hub; nothing of any other."""
        return {} if self.hub is None else {"hub": dict(self.hub)}


def open_path(a: Source, b: Source, kind: str) -> AdapterPath:
    """The path from `a` to `b`; either may be `"base"`, not both.

    Raises:
        OptionError: for an unknown kind, or a walk from the base to itself.
        AdapterError: if an end cannot be read.
        GeometryError: if the ends do not fit each other.
    """
    if kind not in PATHS:
        raise OptionError(f"--path {shown(kind, 40)!r} is not known; known are {', '.join(PATHS)}")
    given = [a, b]
    named = [not isinstance(end, Adapter) and str(end) == BASE for end in given]
    if all(named):
        raise OptionError("both ends are the base: a walk needs an adapter to go to")
    files = [e for e, n in zip(given, named, strict=True) if not n and not isinstance(e, Adapter)]
    loaded = iter(load_all(files))
    opened = [
        None if is_base else end if isinstance(end, Adapter) else next(loaded)
        for end, is_base in zip(given, named, strict=True)
    ]
    one, two = opened
    start = base_of(_known(two)) if one is None else one
    end = base_of(_known(one)) if two is None else two
    return PATHS[kind](start, end)


def _known(end: Adapter | None) -> Adapter:
    assert end is not None  # the caller has made sure that one end is an adapter
    return end


def open_target(model: Model | str | Path) -> Target:
    """Where the model is; nothing is loaded.

    Raises:
        BaseModelError: if a folder has no `config.json`, or the hub's cannot be fetched.
    """
    if isinstance(model, PointsModel):
        return Target(model.name, False, None, model.digest, model.ready, points=model)
    if not isinstance(model, str | Path):
        symbolic, toy = _speaks(model), _toy_object(model)
        return Target(model.name, symbolic, toy, lambda: object_digest(model), lambda: model)
    fetched = fetch_model(str(model)) if is_hub_path(model) else None
    folder = base_folder(model) if fetched is None else fetched.folder
    if not (folder / "config.json").is_file():
        raise BaseModelError(
            f"{shown(folder)}: no config.json; --model takes a model's folder, "
            f"hf:owner/name[@revision][/subfolder] or one of {', '.join(SHIPPED)}"
        )
    symbolic = is_symbolic(folder)
    toy = toy_name(folder) if symbolic else None
    name = toy if toy and str(model) in SHIPPED else folder.resolve().name
    if fetched is not None:
        name = fetched.place.name

    def load() -> Model:
        from deltalens.models.hf import HFModel

        if symbolic:
            size, stop = _SYMBOLIC_BATCH, (STOP, EXCLAIM)
            return HFModel.load(folder, name=name, batch_size=size, stop=stop)
        return HFModel.load(folder, name=name)

    source = None if fetched is None else fetched.source
    return Target(name, symbolic, toy, lambda: folder_digest(folder), load, folder, source)


def _speaks(model: Any) -> bool:
    """Whether a loaded model has the symbolic world's vocabulary."""
    held = getattr(model, "model", None)
    table = getattr(held, "get_input_embeddings", lambda: None)()
    return getattr(table, "num_embeddings", None) == len(VOCABULARY)


def _toy_object(model: Any) -> str | None:
    kind = getattr(getattr(getattr(model, "model", None), "config", None), "model_type", None)
    return BASE_NAMES.get(kind) if _speaks(model) and isinstance(kind, str) else None


def require_tokenizer(target: Target) -> None:
    """Refuse a folder that text cannot be put to; the symbolic world reads no text.

    Raises:
        BaseModelError: naming the folder.
    """
    if target.folder is None or target.symbolic or has_tokenizer(target.folder):
        return
    raise BaseModelError(
        f"{shown(target.folder)}: the model's folder has no tokenizer (tokenizer.json): text "
        "cannot be put to it"
    )


def require_base(path: AdapterPath, target: Target) -> list[str]:
    """Warnings about base models by name; the modules' shapes are checked by the model.

    Raises:
        OptionError: if an adapter of another base is put to a shipped toy, whose name is known.
    """
    warnings = [f"{end.name}: {w}" for end in path.ends for w in end.provenance.warnings]
    for end in path.ends:
        named = end.base_model
        known = target.toy or target.name
        if named is None or not end.specs or _same(named, known):
            continue
        shipped = target.toy is not None and target.name == target.toy
        if other_toy(named, target.toy) or (shipped and not Path(named).exists()):
            raise OptionError(
                f"adapter {shown(end.name)!r} is for the base {shown(named, 80)!r}, "
                f"and the model is {known!r}; one base is needed"
            )
        warnings.append(
            f"{end.name} names the base {shown(named, 80)}, and the model is {target.name}"
        )
    return warnings


def _same(one: str, other: str) -> bool:
    return Path(one).name.casefold() == Path(other).name.casefold()
