"""Progress in one side file, whole or not at all, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.covariances import write_whole_tensors
from deltalens.io.tensors import TensorFile
from deltalens.models.moments import Input, Streamer
from deltalens.models.sums import Plan, Sums

Settings = Mapping[str, str | int | float | bool | None]
_KEY = "deltalens.covariances.progress"
_PARTS = ("total", "squares", "product")


class Store:
    """The side file of one covariance file."""

    def __init__(self, out: Path, settings: Settings, inputs: Sequence[Input], plan: Plan) -> None:
        """Name the side file; nothing is read yet."""
        self.path = out.with_name(f"{out.name}.progress")
        self._settings, self._inputs, self._plan = dict(settings), tuple(inputs), plan

    def restore(self, streamer: Streamer) -> int:
        """Batches done by an earlier run, whose sums the streamer then holds; 0 if there is none.

        Raises:
            OptionError: if the side file is of other settings, or cannot be read.
        """
        if not self.path.exists():
            return 0
        file = TensorFile.open(self.path, error=_UnreadableError)
        record = self._record(file)
        self._require_equal(record["settings"])
        streamer.restore([self._sums(file, i) for i in self._inputs], record["tokens"])
        return int(record["batches"])

    def keep(self, streamer: Streamer, batches: int) -> None:
        """Write the sums after so many batches.

        Raises:
            OutputError: if they cannot be written.
        """
        record = {"settings": self._settings, "batches": batches, "tokens": streamer.tokens}
        write_whole_tensors(
            self.path,
            {f"{i.name}.{part}": shape for i in self._inputs for part, shape in self._shapes(i)},
            self._tensors(streamer),
            dtype="float64",
            metadata={_KEY: json.dumps(record)},
        )

    def forget(self) -> None:
        """Remove the side file: the covariances are written, or are to be made afresh."""
        self.path.unlink(missing_ok=True)

    def _tensors(self, streamer: Streamer) -> Iterator[tuple[str, Array]]:
        for given in self._inputs:
            sums = streamer.sums(given)
            for part in _PARTS:
                yield f"{given.name}.{part}", getattr(sums, part)

    def _shapes(self, given: Input) -> list[tuple[str, tuple[int, ...]]]:
        d = given.d_in
        columns = d if self._plan.kind == "full" else self._plan.width(d)
        return [("total", (d,)), ("squares", (d,)), ("product", (d, columns))]

    def _sums(self, file: TensorFile, given: Input) -> Sums:
        found: list[Array] = []
        for part, shape in self._shapes(given):
            entry = file.entries.get(f"{given.name}.{part}")
            if entry is None or entry.shape != shape:
                raise self._broken(f"{shown(given.name)}.{part} is not there, or not {list(shape)}")
            found.append(file.read(entry.name))
        return Sums(*found)

    def _record(self, file: TensorFile) -> dict[str, Any]:
        try:
            record = json.loads(file.metadata[_KEY])
            numbers = record["batches"], record["tokens"]
            if not all(type(n) is int and n >= 0 for n in numbers):
                raise ValueError
            return {**record, "settings": dict(record["settings"])}
        except (KeyError, TypeError, ValueError):
            raise self._broken("it does not say what it is") from None

    def _require_equal(self, old: Mapping[str, Any]) -> None:
        new = self._settings
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if changed:
            name = changed[0]
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise OptionError(
                f"{shown(self.path)}: was begun with {name} = {_value(old.get(name))}, "
                f"now {name} = {_value(new.get(name))}{more}; --fresh starts over"
            )

    def _broken(self, why: str) -> OptionError:
        return OptionError(f"{shown(self.path)}: {why}; --fresh starts over")


class _UnreadableError(OptionError):
    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; --fresh starts over")


def _value(value: object) -> str:
    return "nothing" if value is None else shown(value, 80)
