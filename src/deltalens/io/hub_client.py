"""The hub's own client made quiet, and its exceptions as one line without what the server said."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.hub_names import HubPath

_STATUS = {
    401: "the hub asks for a token (401): private, gated or misspelt; log in with hf auth login",
    403: "the hub refuses access (403): ask for it on the repository's page",
    404: "the hub has no such repository or revision (404)",
    429: "the hub asks to wait (429: too many requests)",
}


@contextmanager
def quiet(utils: Any) -> Generator[None]:
    """Progress bars only where a person is looking, and none of the client's own remarks."""
    was_off, level = utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.logging.set_verbosity_error()
    if not sys.stderr.isatty() and not was_off:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if not was_off:
            utils.enable_progress_bars()


@contextmanager
def one_line(place: HubPath) -> Generator[None]:
    """The client's exceptions as one line of ours, without what the server or the address said."""
    where = f"hf:{place.repo}@{shown(place.revision)}"
    try:
        yield
    except AdapterError:
        raise
    except Exception as problem:
        status = getattr(getattr(problem, "response", None), "status_code", None)
        if _is_of_xet(problem):
            reason = (
                f"Xet storage does not give a file ({type(problem).__name__}); "
                "HF_HUB_DISABLE_XET=1 fetches without it"
            )
        elif status is not None:
            reason = _STATUS.get(status, f"the hub answered with status {status}")
        elif isinstance(problem, OSError) and "onsistency check" in str(problem):
            reason = "a file did not arrive whole; try again"
        elif _is_of_the_network(problem):
            reason = (
                f"no connection to the hub ({type(problem).__name__}); "
                "HF_HUB_OFFLINE=1 reads the cache alone"
            )
        elif isinstance(problem, OSError):
            reason = f"cannot be fetched: {problem.strerror or type(problem).__name__}"
        else:
            reason = f"the hub's answer is not understood ({type(problem).__name__})"
        raise AdapterError(f"{where}: {reason}") from None


def _is_of_the_network(problem: Exception) -> bool:
    module = type(problem).__module__.partition(".")[0]
    names = {kind.__name__ for kind in type(problem).__mro__}
    return module in {"httpx", "httpx2", "httpcore", "requests", "socket"} or bool(
        names
        & {"ConnectionError", "TimeoutError", "LocalEntryNotFoundError", "OfflineModeIsEnabled"}
    )


def _is_of_xet(problem: Exception) -> bool:
    """Whether it came from inside the client's other way to fetch: its types do not tell."""
    return any(frame.f_code.co_name == "xet_get" for frame, _ in walk_tb(problem.__traceback__))
