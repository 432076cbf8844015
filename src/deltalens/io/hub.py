"""Adapters and models of the Hugging Face hub, through its own client and its own cache.

The file list comes first, with sizes; then only config, safetensors and index files are fetched
(for a model that is to speak, its tokenizer's data files, too), at the commit that the revision
named. No code is run, and what the server says is never repeated: an address can hold a token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltalens._extras import require
from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import AdapterError, BaseModelError
from deltalens.io import hub_cache
from deltalens.io.base import BaseModel
from deltalens.io.hub_client import one_line, quiet
from deltalens.io.hub_names import (
    ADAPTER_CONFIG,
    PREFIX,
    TOKENIZER_DATA,
    TOKENS,
    HubPath,
    parse,
    wanted,
)
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.provenance import sha256_file

_SECONDS = 10.0
_TOKENIZER = "tokenizer.json"
_TRUE = frozenset(["1", "ON", "YES", "TRUE"])


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

    @property
    def source(self) -> dict[str, str]:
        """Repository, revision and commit, as results record them."""
        return {"repo": self.place.repo, "revision": self.place.revision, "commit": self.commit}

    def noted(self, adapter: Adapter) -> Adapter:
        """The adapter with repository, revision and commit in its provenance."""
        details = {**adapter.provenance.details, "hub": self.source}
        return replace(adapter, provenance=replace(adapter.provenance, details=details))


def is_hub_path(path: str | Path) -> bool:
    """Whether a path names a place on the hub."""
    return str(path).startswith(PREFIX)


def fetch(path: str, *, speaking: bool = False, limits: Limits = DEFAULT_LIMITS) -> Fetched:
    """Fetch what a hub path names into the cache, or find it there.

    `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to
    the hub's own client. Offline, only the cache is looked at.

    Args:
        path: `hf:owner/name[@revision][/subfolder]`.
        speaking: a whole model is needed, with its tokenizer's data files.
        limits: `file_bytes` bounds each file and their sum, `tokenizer_bytes` each of the
            tokenizer's, `header_bytes` every other.

    Raises:
        OptionError: for another form of path.
        AdapterError: in one line, if it is not there, too large, or does not arrive whole.
        DependencyError: without `huggingface_hub`.
    """
    place = parse(path)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        return _cached(place, speaking)
    client = require("huggingface_hub", extra="hub", purpose="reading from the hub")
    utils = require("huggingface_hub.utils", extra="hub", purpose="reading from the hub")
    with quiet(utils), one_line(place):
        endpoint = os.environ.get("HF_ENDPOINT") or None
        api = client.HfApi(endpoint=endpoint)
        info = api.model_info(
            place.repo, revision=place.revision, files_metadata=True, timeout=_SECONDS
        )
        commit = _commit(info.sha, place)
        files = {f.rfilename: f for f in info.siblings or []}
        sizes: dict[str, int | None] = {name: file.size for name, file in files.items()}
        names = wanted(sizes, place, speaking=speaking)
        _require_small(sizes, names, place, limits)
        for name in names:
            had = (hub_cache.snapshot(place, commit, "") / name).exists()
            found = api.hf_hub_download(
                place.repo, name, revision=commit, cache_dir=hub_cache.root(), etag_timeout=_SECONDS
            )
            _require_whole(Path(found), sizes[name], place)
            if not had:
                _require_announced(Path(found), getattr(files[name].lfs, "sha256", None), place)
        hub_cache.remember(place, commit)
        if speaking and not _has_tokenizer(names):
            hub_cache.remember_absent(place, commit, _TOKENIZER)
    return Fetched(hub_cache.snapshot(place, commit), place, commit)


def fetch_model(path: str, *, option: str = "--model") -> Fetched:
    """Fetch a model that is to speak: config, weights and its tokenizer's data files.

    Args:
        path: `hf:owner/name[@revision][/subfolder]`.
        option: what errors begin with, the option that named the model.

    Raises:
        OptionError: for another form of path.
        BaseModelError: in one line, if it is no whole model or cannot be fetched.
        DependencyError: without `huggingface_hub`.
    """
    try:
        return fetch(path, speaking=True)
    except AdapterError as error:
        raise BaseModelError(f"{option} {error}") from None


def model_folder(place: str | Path, *, option: str = "--model") -> Path:
    """The folder of a model that is to speak: a local path as it is, a hub path fetched.

    Raises:
        DeltalensError: as `fetch_model`, for a hub path.
    """
    return fetch_model(str(place), option=option).folder if is_hub_path(place) else Path(place)


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


def _cached(place: HubPath, speaking: bool) -> Fetched:
    """What the cache holds of a revision, whoever fetched it."""
    commit = hub_cache.commit_of(place)
    folder = hub_cache.snapshot(place, commit)
    where = f"hf:{place.repo}@{shown(place.revision)}"
    if speaking and (folder / ADAPTER_CONFIG).exists():
        raise AdapterError(f"{where}: holds an adapter; a whole model is needed")
    mute = speaking and not _has_tokenizer([child.name for child in folder.iterdir()])
    if mute and not hub_cache.is_absent(place, commit, _TOKENIZER):
        raise AdapterError(
            f"{where}: in the cache without its tokenizer, and HF_HUB_OFFLINE forbids to fetch it"
        )
    return Fetched(folder, place, commit)


def _has_tokenizer(names: Sequence[str]) -> bool:
    return any(name.rpartition("/")[2] in TOKENS for name in names)


def _commit(found: Any, place: HubPath) -> str:
    if not isinstance(found, str) or not hub_cache.COMMIT.match(found):
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
        allowed = _allowed(name.rpartition("/")[2], limits)
        total += size
        if size > allowed or total > limits.file_bytes:
            raise AdapterError(
                f"hf:{place.repo}: {shown(name)} brings the download to {total} bytes; at most "
                f"{allowed} a file and {limits.file_bytes} in all (file_bytes) are allowed"
            )


def _allowed(name: str, limits: Limits) -> int:
    if name.endswith(".safetensors"):
        return limits.file_bytes
    return limits.tokenizer_bytes if name in TOKENIZER_DATA else limits.header_bytes


def _require_whole(file: Path, announced: int | None, place: HubPath) -> None:
    size = file.stat().st_size
    if size != announced:
        raise AdapterError(
            f"hf:{place.repo}: {shown(file.name)} has {size} bytes; the hub announced {announced}"
        )


def _require_announced(file: Path, digest: str | None, place: HubPath) -> None:
    """Refuse and forget new weights that are not those of the hub's list.

    The client compares lengths alone, and Xet puts a file together from pieces of other places.
    """
    if digest is None or sha256_file(file) == digest:
        return
    file.resolve().unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    raise AdapterError(
        f"hf:{place.repo}: {shown(file.name)} did not arrive as the hub announced it "
        "(another SHA-256); try again"
    )
