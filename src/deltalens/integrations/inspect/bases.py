"""Base models, loaded once for all points of a process, and used by one point at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.integrations.inspect.points import Point
from deltalens.models.hf import HFModel
from deltalens.organisms.base import base_folder
from deltalens.studies.walk.along import on_path
from deltalens.studies.walk.inputs import Target, open_target

OPTIONS = ("batch_size", "dtype", "device", "device_map")
"""How a model may be loaded: those of `HFModel.load`."""


class Base:
    """A base model that is loaded when it is first used.

    Attributes:
        target: what is known of it without loading.
    """

    def __init__(self, target: Target, load: Callable[[], HFModel]) -> None:
        self.target = target
        self._load = load
        self._held: HFModel | None = None
        self._lock = Lock()

    @contextmanager
    def at(self, point: Point) -> Generator[HFModel]:
        """The model at a point, for one thread at a time; after it the model is the base again."""
        with self._lock:
            if self._held is None:
                self._held = self._load()
            if point.path is None:
                yield self._held
                return
            with on_path(self._held, point.path) as at, at(point.t):
                yield self._held


# As long as any point uses it: a process that goes through many bases keeps none too long.
_SHARED: WeakValueDictionary[str, Base] = WeakValueDictionary()


def open_base(model: str | HFModel, options: Mapping[str, Any]) -> Base:
    """The base, shared with every point that names the same folder and options.

    Raises:
        OptionError: for an unknown option, or a base of the symbolic world, which reads no text.
        BaseModelError: if the folder is none of a model.
    """
    for name in options:
        if name not in OPTIONS:
            raise OptionError(
                f"-M {shown(name, 40)} is not known; known are a, b, t, path, {', '.join(OPTIONS)}"
            )
    target = open_target(model)
    if target.symbolic:
        raise OptionError(
            f"{shown(target.name, 80)} reads symbols, and Inspect asks in text; "
            "`deltalens walk --model toy` walks it"
        )
    if isinstance(model, HFModel):
        return _shared(f"object {id(model)}", target, lambda: model)
    folder = base_folder(model)
    key = f"folder {folder.resolve()} {sorted(options.items())}"
    return _shared(key, target, lambda: HFModel.load(folder, name=target.name, **options))


def _shared(key: str, target: Target, load: Callable[[], HFModel]) -> Base:
    found = _SHARED.get(key)
    if found is None:
        found = _SHARED[key] = Base(target, load)
    return found
