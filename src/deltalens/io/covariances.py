"""Covariance files: second moments of a base's inputs in one safetensors file.

For every distinct input, named by its first module, `NAME.matrix` (full), `NAME.diagonal`
(diagonal) or `NAME.diagonal` and `NAME.factor` (low-rank, `C = diag(diagonal) + factor factor^T`),
in float32; what they are of stands as JSON in the header. Read as any stranger's file: sizes,
shapes and finiteness are checked before a number is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deltalens.core.moment import InputMoment, MomentKind
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, GeometryError, OutputError
from deltalens.io.covariance_info import FORMAT, CovarianceInfo, Fail, parse_info
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.strict_json import parse_object
from deltalens.io.tensors import TensorFile
from deltalens.io.write_tensors import write_tensors

_KEY = "deltalens.covariances"


@dataclass(frozen=True, eq=False)
class Covariances:
    """An opened covariance file; moments are read one at a time."""

    path: Path
    info: CovarianceInfo
    file: TensorFile
    input_of: Mapping[str, str]

    def __contains__(self, module: str) -> bool:
        return module in self.input_of

    def width(self, module: str) -> int:
        """Width of the module's input, from the header alone."""
        return self.file.entries[f"{self.input_of[module]}.{_first(self.info.kind)}"].shape[0]

    def moment(self, module: str) -> InputMoment:
        """The second moment of a module's inputs.

        Raises:
            BaseModelError: if the file lacks the module, or holds what is no second moment.
        """
        if module not in self.input_of:
            raise BaseModelError(
                f"{shown(self.path)}: has no module {shown(module)}; it holds "
                f"{len(self.input_of)} modules of {shown(self.info.model)}"
            )
        name = self.input_of[module]
        try:
            if self.info.kind == "full":
                return InputMoment.full(self.file.read(f"{name}.matrix"))
            diagonal = self.file.read(f"{name}.diagonal")
            if self.info.kind == "diagonal":
                return InputMoment.of_diagonal(diagonal)
            return InputMoment(diagonal, self.file.read(f"{name}.factor"))
        except GeometryError as problem:
            raise BaseModelError(f"{shown(self.path)}: {shown(name)}: {problem}") from None


def _first(kind: MomentKind) -> str:
    return "matrix" if kind == "full" else "diagonal"


def parts(moment: InputMoment) -> dict[str, Array]:
    """The tensors of one moment, by the end of their name."""
    if moment.dense is not None:
        return {"matrix": moment.dense}
    found = {"diagonal": moment.diagonal}
    return {**found, "factor": moment.factor} if moment.kind == "low-rank" else found


def write_covariances(
    path: Path,
    info: CovarianceInfo,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, Array]],
) -> None:
    """Write a covariance file, whole or not at all; tensors are made while they are written.

    Raises:
        OutputError: if it cannot be written.
    """
    record = {"format": FORMAT, **asdict(info)}
    metadata = {_KEY: json.dumps(record, allow_nan=False)}
    write_whole_tensors(path, shapes, tensors, dtype="float32", metadata=metadata)


def write_whole_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, Array]],
    *,
    dtype: str,
    metadata: Mapping[str, str],
) -> None:
    """A safetensors file under a temporary name, then renamed: whole, or as it was before."""
    partial = path.with_name(f".deltalens-{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(partial, shapes, tensors, dtype=dtype, metadata=metadata)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):  # the first failure is the one to report
            partial.unlink(missing_ok=True)


def open_covariances(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Covariances:
    """Open a covariance file: the header is read and checked, no moment is.

    Raises:
        BaseModelError: naming the file, what was found and what is allowed.
    """
    file = TensorFile.open(path, limits=limits, error=BaseModelError)
    text = file.metadata.get(_KEY)
    if text is None:
        raise BaseModelError(
            f"{shown(path)}: no covariances: the header lacks {_KEY}; deltalens covariances "
            "writes such files"
        )

    def fail(why: str) -> BaseModelError:
        return BaseModelError(f"{shown(path)}: {_KEY}: {why}")

    record = parse_object(text.encode("utf-8", "surrogatepass"), fail)
    info = parse_info(record, fail)
    _require_shapes(file, info, fail)
    input_of = {module: name for name, modules in info.inputs.items() for module in modules}
    return Covariances(path, info, file, input_of)


def _require_shapes(file: TensorFile, info: CovarianceInfo, fail: Fail) -> None:
    for name in info.inputs:
        needed = {"full": ("matrix",), "diagonal": ("diagonal",)}.get(
            info.kind, ("diagonal", "factor")
        )
        for part in needed:
            entry = file.entries.get(f"{name}.{part}")
            dimensions = 1 if part == "diagonal" else 2
            if entry is None or len(entry.shape) != dimensions or 0 in entry.shape:
                found = "none" if entry is None else list(entry.shape)
                raise fail(f"{shown(name, 80)}.{part} must have {dimensions} axes; found {found}")
        shapes = [file.entries[f"{name}.{part}"].shape for part in needed]
        rows = {shape[0] for shape in shapes}
        if len(rows) > 1 or (info.kind == "full" and shapes[0][0] != shapes[0][1]):
            raise fail(f"{shown(name, 80)}: shapes {[list(s) for s in shapes]} do not agree")
