"""One walk a folder at a time.

The lock is the kernel's (`flock`) and not the file: a process that dies, however, lets go of it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from deltalens.core.text import shown
from deltalens.errors import OptionError, OutputError


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold `folder/lock` while the context lasts; the file itself stays.

    Raises:
        OptionError: if another walk holds it.
        OutputError: if the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # no such lock on this system
        yield
        return
    path = folder / "lock"
    try:
        file = path.open("ab")
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptionError(
                f"{shown(folder.parent)}: another walk is running in this folder; "
                "wait for it, or give another --out"
            ) from None
        except OSError:
            pass  # a file system without locks: nothing to hold
        yield
