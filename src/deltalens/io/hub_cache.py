"""Where the hub's own client keeps what it fetched, and what is to be found there offline."""

from __future__ import annotations

import os
import re
from pathlib import Path

from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.hub_names import HubPath

COMMIT = re.compile(r"[0-9a-f]{40}\Z")


def root() -> Path:
    """The client's cache, by the environment as it is now."""
    named = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(named or f"{home}/hub").expanduser()


def snapshot(place: HubPath, commit: str, subfolder: str | None = None) -> Path:
    """The folder of a place, or of another subfolder, at a commit; its files are links."""
    inside = place.subfolder if subfolder is None else subfolder
    return _storage(place) / "snapshots" / commit / inside


def remember(place: HubPath, commit: str) -> None:
    """What the revision was, where the cache keeps that: offline it will be asked for again."""
    if COMMIT.match(place.revision):
        return
    ref = _storage(place) / "refs" / place.revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit, encoding="utf-8")


def remember_absent(place: HubPath, commit: str, name: str) -> None:
    """That a repository has no such file, as the client itself notes it."""
    mark = _absent(place, commit, name)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def is_absent(place: HubPath, commit: str, name: str) -> bool:
    """Whether a repository is known to have no such file."""
    return _absent(place, commit, name).is_file()


def commit_of(place: HubPath) -> str:
    """Which commit the cache holds of a revision, without a word to the network.

    Raises:
        AdapterError: if it holds none.
    """
    ref = _storage(place) / "refs" / place.revision
    try:
        known = ref.read_text(encoding="utf-8")[:100].strip() if ref.is_file() else place.revision
    except (OSError, UnicodeDecodeError):
        known = ""
    if not COMMIT.match(known) or not snapshot(place, known).is_dir():
        raise AdapterError(
            f"hf:{place.repo}@{shown(place.revision)}: not in the cache {shown(root())}, and "
            "HF_HUB_OFFLINE forbids to fetch it"
        )
    return known


def _storage(place: HubPath) -> Path:
    return root() / f"models--{place.repo.replace('/', '--')}"


def _absent(place: HubPath, commit: str, name: str) -> Path:
    return _storage(place) / ".no_exist" / commit / place.subfolder / name
