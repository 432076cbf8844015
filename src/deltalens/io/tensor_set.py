"""The tensors of one adapter, in one file or spread over several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.sharded import open_shards
from deltalens.io.tensors import TensorEntry, TensorFile


@dataclass(frozen=True)
class TensorSet:
    """Checked tensors by name, wherever they lie; nothing is held in memory.

    Attributes:
        path: the weight file, or the index of several.
        entries: name -> what the header says of it.
        files: name -> the file that holds it.
        metadata: text from the headers.
    """

    path: Path
    entries: Mapping[str, TensorEntry]
    files: Mapping[str, TensorFile]
    metadata: Mapping[str, str]

    @property
    def shards(self) -> tuple[str, ...]:
        """The index and every file that it names; nothing where there is one file."""
        held = {str(file.path) for file in self.files.values()} - {str(self.path)}
        return (str(self.path), *sorted(held)) if held else ()

    def read(self, name: str) -> Array:
        """One tensor as a new float64 array, all finite."""
        return self.files[name].read(name)

    def read_slice(self, name: str, index: int) -> Array:
        """`tensor[index]` as a new float64 array, all finite, without reading the rest."""
        return self.files[name].read_slice(name, index)

    def read_number(self, name: str) -> float:
        """A tensor of one element, which may be an integer."""
        return self.files[name].read_number(name)

    def read_into(self, name: str, out: Array) -> None:
        """One tensor into `out`; finiteness is not checked."""
        self.files[name].read_into(name, out)


def open_tensors(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> TensorSet:
    """Open a `.safetensors` file, or every shard that an index (`.json`) names.

    Raises:
        AdapterError: if a file is not as it must be, or a shard holds a tensor that the index
            does not name.
    """
    if path.suffix != ".json":
        file = TensorFile.open(path, limits=limits)
        return TensorSet(path, file.entries, dict.fromkeys(file.entries, file), file.metadata)
    files = open_shards(path, limits=limits)
    shards = {file.path: file for file in files.values()}
    for file in shards.values():
        for name in file.entries:
            if files.get(name) is not file:
                raise AdapterError(
                    f"{shown(file.path)}: holds {shown(name)}, which {path.name} does not put there"
                )
    metadata = {key: text for file in shards.values() for key, text in file.metadata.items()}
    entries = {name: file.entries[name] for name, file in files.items()}
    return TensorSet(path, entries, files, metadata)
