"""Our errors as Inspect shows those of its own: one line, and no traceback."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from inspect_ai._util.error import PrerequisiteError
from rich.markup import escape

from deltalens.errors import DeltalensError


@contextmanager
def in_one_line() -> Generator[None]:
    """Raise our errors as both their own kind and the kind that Inspect prints without traceback.

    For what is checked before an evaluation starts; inside one, Inspect keeps the traceback of
    every error in its log, as it should.
    """
    try:
        yield
    except PrerequisiteError:
        raise
    except DeltalensError as problem:
        made = _both(type(problem))(str(problem))
        made.message = escape(str(problem))  # Inspect prints it with rich, which reads [brackets]
        raise made from None


@cache
def _both(kind: type[DeltalensError]) -> type[PrerequisiteError]:
    return type(kind.__name__, (kind, PrerequisiteError), {"__doc__": kind.__doc__})
