"""Adapters and models of the Hugging Face hub, through its own client and its own cache.

The file list comes first, with sizes; then only config, safetensors and index files are fetched, at
the commit that the revision named. No code is run, and what the server says is never repeated: an
address can hold a token.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltalens._extras import require
from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import BaseModel
from deltalens.io.hub_names import PREFIX, HubPath, parse, wanted
from deltalens.io.limits import DEFAULT_LIMITS, Limits

_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_TRUE = frozenset(["1", "ON", "YES", "TRUE"])
_STATUS = {
    401: "the hub asks for a token (401): private, gated or misspelt; log in with hf auth login",
    403: "the hub refuses access (403): ask for it on the repository's page",
    404: "the hub has no such repository or revision (404)",
    429: "the hub asks to wait (429: too many requests)",
}


@dataclass(frozen=True)
class Fetched:
    """A folder of the local cache that holds what a hub path named.

    Attributes:
        folder: inside the cache; its files are links, as the cache makes them.
        place: what was asked for.
        commit: what the revision was at that moment.
    """

    folder: Path
    place: HubPath
    commit: str

    def noted(self, adapter: Adapter) -> Adapter:
        """The adapter with repository, revision and commit in its provenance."""
        hub = {"repo": self.place.repo, "revision": self.place.revision, "commit": self.commit}
        details = {**adapter.provenance.details, "hub": hub}
        return replace(adapter, provenance=replace(adapter.provenance, details=details))


def is_hub_path(path: str | Path) -> bool:
    """Whether a path names a place on the hub."""
    return str(path).startswith(PREFIX)


def fetch(path: str, *, limits: Limits = DEFAULT_LIMITS) -> Fetched:
    """Fetch what a hub path names into the cache, or find it there.

    `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to
    the hub's own client. Offline, only the cache is looked at.

    Args:
        path: `hf:owner/name[@revision][/subfolder]`.
        limits: `file_bytes` bounds each file and their sum.

    Raises:
        OptionError: for another form of path.
        AdapterError: in one line, if it is not there, too large, or does not arrive whole.
        DependencyError: without `huggingface_hub`.
    """
    place = parse(path)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        return _cached(place)
    client = require("huggingface_hub", extra="hub", purpose="reading from the hub")
    utils = require("huggingface_hub.utils", extra="hub", purpose="reading from the hub")
    with _quiet(utils), _one_line(place):
        endpoint = os.environ.get("HF_ENDPOINT") or None
        api = client.HfApi(endpoint=endpoint)
        info = api.model_info(
            place.repo, revision=place.revision, files_metadata=True, timeout=_SECONDS
        )
        commit = _commit(info.sha, place)
        sizes: dict[str, int | None] = {f.rfilename: f.size for f in info.siblings or []}
        names = wanted(sizes, place)
        _require_small(sizes, names, place, limits)
        for name in names:
            found = api.hf_hub_download(
                place.repo, name, revision=commit, cache_dir=_cache(), etag_timeout=_SECONDS
            )
            _require_whole(Path(found), sizes[name], place)
    _remember(place, commit)
    return Fetched(_snapshot(place, commit), place, commit)


def load(
    path: Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Fetch an adapter or a full checkpoint and open it; its provenance names the commit.

    Args:
        path: `hf:owner/name[@revision][/subfolder]`.
        name: how reports call it; the last part of the path by default.
        base: the base model, for updates that are defined only with it.
        limits: what an untrusted file may cost.

    Raises:
        DeltalensError: as `fetch` and `io.read.load`.
    """
    from deltalens.io import read

    found = fetch(str(path), limits=limits)
    opened = read.load(found.folder, name=name or found.place.name, base=base, limits=limits)
    return found.noted(opened)


def local_folder(path: str | Path) -> Path:
    """A folder as it is, or the cache's folder of a hub path."""
    return fetch(str(path)).folder if is_hub_path(path) else Path(path)


def _commit(found: Any, place: HubPath) -> str:
    if not isinstance(found, str) or not _COMMIT.match(found):
        raise AdapterError(f"hf:{place.repo}: the hub names no commit for {shown(place.revision)}")
    return found


def _require_small(
    sizes: Mapping[str, int | None], names: list[str], place: HubPath, limits: Limits
) -> None:
    total = 0
    for name in names:
        size = sizes[name]
        if type(size) is not int or size < 0:
            raise AdapterError(f"hf:{place.repo}: the hub does not say how large {shown(name)} is")
        allowed = limits.file_bytes if name.endswith(".safetensors") else limits.header_bytes
        total += size
        if size > allowed or total > limits.file_bytes:
            raise AdapterError(
                f"hf:{place.repo}: {shown(name)} brings the download to {total} bytes; at most "
                f"{allowed} a file and {limits.file_bytes} in all (file_bytes) are allowed"
            )


def _require_whole(file: Path, announced: int | None, place: HubPath) -> None:
    size = file.stat().st_size
    if size != announced:
        raise AdapterError(
            f"hf:{place.repo}: {shown(file.name)} has {size} bytes; the hub announced {announced}"
        )


def _cache() -> Path:
    """The client's cache, by the environment as it is now."""
    named = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(named or f"{home}/hub").expanduser()


def _storage(place: HubPath) -> Path:
    return _cache() / f"models--{place.repo.replace('/', '--')}"


def _snapshot(place: HubPath, commit: str) -> Path:
    return _storage(place) / "snapshots" / commit / place.subfolder


def _remember(place: HubPath, commit: str) -> None:
    """What the revision was, where the cache keeps that: offline it will be asked for again."""
    if _COMMIT.match(place.revision):
        return
    ref = _storage(place) / "refs" / place.revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit, encoding="utf-8")


def _cached(place: HubPath) -> Fetched:
    """What the cache holds of a revision, without a word to the network."""
    ref = _storage(place) / "refs" / place.revision
    try:
        known = ref.read_text(encoding="utf-8")[:100].strip() if ref.is_file() else place.revision
    except (OSError, UnicodeDecodeError):
        known = ""
    folder = _snapshot(place, known)
    if not _COMMIT.match(known) or not folder.is_dir():
        raise AdapterError(
            f"hf:{place.repo}@{shown(place.revision)}: not in the cache {shown(_cache())}, and "
            "HF_HUB_OFFLINE forbids to fetch it"
        )
    return Fetched(folder, place, known)


@contextmanager
def _quiet(utils: Any) -> Generator[None]:
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
def _one_line(place: HubPath) -> Generator[None]:
    """The client's exceptions as one line of ours, without what the server or the address said."""
    where = f"hf:{place.repo}@{shown(place.revision)}"
    try:
        yield
    except AdapterError:
        raise
    except Exception as problem:
        status = getattr(getattr(problem, "response", None), "status_code", None)
        if status is not None:
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
