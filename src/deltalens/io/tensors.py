"""Tensors from a safetensors file, without safetensors.

Its numpy reader refuses bf16, maps the whole file and trusts nothing we can check first; this
reader checks the header against the file, then reads one tensor at a time into memory that the
caller owns, so that a 168 MB adapter is compared in 60 MB.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, DeltalensError
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.strict_json import parse_object, require_regular_file

_NAME_CHARACTERS = 4096

# safetensors name -> (bytes an element, unit round-off); 0 where it is not a float that we read.
DTYPES: Mapping[str, tuple[int, float]] = {
    "F64": (8, 2.0**-53),
    "F32": (4, 2.0**-24),
    "F16": (2, 2.0**-11),
    "BF16": (2, 2.0**-8),
    "F8_E4M3": (1, 0.0),
    "F8_E5M2": (1, 0.0),
    "BOOL": (1, 0.0),
    "U8": (1, 0.0),
    "I8": (1, 0.0),
    "U16": (2, 0.0),
    "I16": (2, 0.0),
    "U32": (4, 0.0),
    "I32": (4, 0.0),
    "U64": (8, 0.0),
    "I64": (8, 0.0),
}
_INTEGERS = {"U8": "<u1", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
_NUMPY = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor as the header describes it; `start` is absolute in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def readable(self) -> bool:
        """Whether the elements are floats of 16 bits or more."""
        return DTYPES[self.dtype][1] > 0

    @property
    def roundoff(self) -> float:
        """Half the unit round-off, the error of a typical stored number (bf16: `2**-9`)."""
        return DTYPES[self.dtype][1] / 2

    @property
    def spacing(self) -> float:
        """Absolute error below which no stored number is rounded: fp16 underflows gradually."""
        return 2.0**-25 if self.dtype == "F16" else 0.0


@dataclass(frozen=True)
class TensorFile:
    """A checked safetensors file; holds no file descriptor and no tensor."""

    path: Path
    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    identity: tuple[int, ...]
    error: type[DeltalensError] = AdapterError

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        limits: Limits = DEFAULT_LIMITS,
        error: type[DeltalensError] = AdapterError,
    ) -> TensorFile:
        """Read and check the header: sizes, types, offsets, contiguity, exact length."""
        size = require_regular_file(path, error)
        if size > limits.file_bytes:
            raise error(
                f"{shown(path)}: {size} bytes; at most {limits.file_bytes} (file_bytes) are allowed"
            )
        header, start, identity = _header(path, size, limits, error)
        metadata = header.pop("__metadata__", {})
        if metadata is None:  # as mlx writes it
            metadata = {}
        if not _is_text_mapping(metadata):
            raise error(f"{shown(path)}: __metadata__ must map text to text")
        if len(header) > limits.tensors:
            raise error(
                f"{shown(path)}: {len(header)} tensors; at most {limits.tensors} are allowed"
            )
        entries = {name: _entry(path, name, item, start, error) for name, item in header.items()}
        _require_contiguous(path, entries, start, size, error)
        return cls(path, entries, cast("Mapping[str, str]", metadata), identity, error)

    def read(self, name: str) -> Array:
        """One tensor as a new float64 array of its own shape."""
        entry = self.entries[name]
        out = np.empty(entry.shape)
        self.read_into(name, out)
        if not np.isfinite(out).all():
            raise self.error(f"{shown(self.path)}: tensor {shown(name)} holds NaN or infinity")
        return out

    def read_slice(self, name: str, index: int) -> Array:
        """`tensor[index]` in float64, without reading the rest: one expert of a stack."""
        entry = self.entries[name]
        size = entry.size // entry.shape[0]
        part = replace(entry, shape=entry.shape[1:], start=entry.start + index * size, size=size)
        out = np.empty(part.shape)
        self._entry_into(part, out)
        if not np.isfinite(out).all():
            raise self.error(f"{shown(self.path)}: tensor {shown(name)} holds NaN or infinity")
        return out

    def read_number(self, name: str) -> float:
        """A tensor of one element, which may be an integer: an alpha, a flag."""
        entry = self.entries[name]
        if math.prod(entry.shape) != 1:
            raise self.error(
                f"{shown(self.path)}: tensor {shown(name)} has shape {list(entry.shape)}; one "
                "number is needed"
            )
        if entry.dtype not in _INTEGERS:
            return float(self.read(name).reshape(()))
        raw = np.empty(entry.size, np.uint8)
        self._pread(entry, raw)
        return float(raw.view(_INTEGERS[entry.dtype])[0])

    def read_into(self, name: str, out: Array) -> None:
        """One matrix into `out` (float64, any strides); finiteness is not checked."""
        self._entry_into(self.entries[name], out)

    def _entry_into(self, entry: TensorEntry, out: Array) -> None:
        if not entry.readable:
            raise self.error(
                f"{shown(self.path)}: tensor {shown(entry.name)} is {entry.dtype}; "
                "F64, F32, F16 and BF16 are read"
            )
        raw = _scratch("raw", entry.size).view(_stored(entry.dtype))
        self._pread(entry, raw)
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is widened
            out[...] = _as_float(raw, entry.dtype).reshape(entry.shape)

    def _pread(self, entry: TensorEntry, raw: Array) -> None:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO put here must not hang
            try:
                if _identity(fd) != self.identity:
                    raise self.error(
                        f"{shown(self.path)}: the file changed after its header was read"
                    )
                view, done = raw.view(np.uint8).data, 0
                while done < entry.size:
                    got = os.preadv(fd, [view[done:]], entry.start + done)
                    if got == 0:
                        raise self.error(
                            f"{shown(self.path)}: tensor {shown(entry.name)} ends early; "
                            "the file changed while it was read"
                        )
                    done += got
            finally:
                os.close(fd)
        except OSError as problem:
            raise self.error(f"{shown(self.path)}: cannot be read: {problem.strerror}") from None


def _identity(fd: int) -> tuple[int, ...]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _stored(dtype: str) -> np.dtype[Any]:
    return _NUMPY.get(dtype, np.dtype("<u2"))


def _as_float(raw: Array, dtype: str) -> Array:
    if dtype != "BF16":
        return raw
    # bf16 is the upper half of a float32; numpy has no type for it.
    bits = _scratch("bits", 4 * raw.size).view(np.uint32)
    bits[...] = raw
    return np.left_shift(bits, 16, out=bits).view(np.float32)


_local = threading.local()


def _scratch(name: str, size: int) -> Array:
    """A thread's own bytes, kept between tensors: fresh pages cost more than the conversion."""
    buffer: Array | None = getattr(_local, name, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(_local, name, buffer)
    return buffer[:size]


def _header(
    path: Path, size: int, limits: Limits, error: type[DeltalensError]
) -> tuple[dict[str, Any], int, tuple[int, ...]]:
    try:
        with path.open("rb") as file:
            identity = _identity(file.fileno())
            length = _header_length(path, file.read(8), size, limits, error)
            data = file.read(length)
    except OSError as problem:
        raise error(f"{shown(path)}: cannot be read: {problem.strerror}") from None
    header = parse_object(data, lambda why: error(f"{shown(path)}: header: {why}"))
    return header, 8 + length, identity


def _header_length(
    path: Path, first: bytes, size: int, limits: Limits, error: type[DeltalensError]
) -> int:
    if first == b"version ":
        raise error(
            f"{shown(path)}: a git-lfs pointer, not the weights; fetch them with git lfs pull"
        )
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:
        raise error(
            f"{shown(path)}: not a safetensors file: a header of {length} bytes "
            f"does not fit a file of {size}"
        )
    if length > limits.header_bytes:
        raise error(
            f"{shown(path)}: a header of {length} bytes; "
            f"at most {limits.header_bytes} (header_bytes) are allowed"
        )
    return length


def _is_text_mapping(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    items = cast("dict[object, object]", value).items()
    return all(isinstance(k, str) and isinstance(v, str) for k, v in items)


def _entry(
    path: Path, name: str, item: object, start: int, error: type[DeltalensError]
) -> TensorEntry:
    def fail(why: str) -> DeltalensError:
        return error(f"{shown(path)}: tensor {shown(name)}: {why}")

    if len(name) > _NAME_CHARACTERS:
        raise fail(f"a name of {len(name)} characters; at most {_NAME_CHARACTERS} are allowed")
    if not isinstance(item, dict) or set(cast("dict[str, object]", item)) != {
        "dtype",
        "shape",
        "data_offsets",
    }:
        raise fail("the header must give dtype, shape and data_offsets, and nothing else")
    fields = cast("dict[str, Any]", item)
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise fail(f"dtype {shown(dtype)!r}; known are {', '.join(DTYPES)}")
    if not _are_sizes(shape) or len(shape) > 8 or not _are_sizes(offsets) or len(offsets) != 2:
        raise fail("shape and data_offsets must be lists of whole numbers, none negative")
    begin, end = offsets
    needed = math.prod(shape) * DTYPES[dtype][0]
    if end - begin != needed:
        raise fail(f"{shape} of {dtype} takes {needed} bytes; the offsets give {end - begin}")
    return TensorEntry(name, dtype, tuple(shape), start + begin, needed)


def _are_sizes(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(type(n) is int and 0 <= n < 2**48 for n in cast("list[object]", value))


def _require_contiguous(
    path: Path,
    entries: Mapping[str, TensorEntry],
    start: int,
    size: int,
    error: type[DeltalensError],
) -> None:
    position = start
    for entry in sorted(entries.values(), key=lambda e: (e.start, e.size)):
        if entry.start != position:
            raise error(
                f"{shown(path)}: tensor {shown(entry.name)} starts at byte {entry.start}, "
                f"the one before it ends at {position}"
            )
        position += entry.size
    if position != size:
        raise error(f"{shown(path)}: {size} bytes; the header describes {position}")
