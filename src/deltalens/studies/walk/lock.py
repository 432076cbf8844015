"""One walk a folder at a time; the lock is the kernel's and not the file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from deltalens.core.locks import lock
from deltalens.core.text import shown
from deltalens.errors import OptionError, OutputError


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold `folder/lock` while the context lasts; the file itself stays.

    Raises:
        OptionError: if another walk holds it.
        OutputError: if the file cannot be made.
    """
    path = folder / "lock"
    try:
        file = path.open("ab")
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be written: {error.strerror}") from None
    with file:
        if not lock(file.fileno()):
            raise OptionError(
                f"{shown(folder.parent)}: another walk is running in this folder; "
                "wait for it, or give another --out"
            )
        yield
