"""Replies on disk, so that nothing is paid twice: one SQLite file, shared by processes.

A reply is known by the SHA-256 of the address and the whole body that was sent. It is stored, as
the text that arrived, before anybody looks at it; a process that is killed loses what was on its
way and nothing else. The rollback journal (and not WAL) also holds on network file systems.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from deltalens.core.text import shown
from deltalens.errors import BehaviourError, OutputError

_FORMAT = 1
_SECONDS = 60.0
"""How long another process may hold the file before that is an error."""
_AT_ONCE = 500


def request_key(base_url: str, body: Mapping[str, Any]) -> str:
    """SHA-256 of the whole request, hexadecimal; the key of the endpoint is no part of it."""
    text = json.dumps([base_url, body], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def default_cache() -> Path:
    """The file in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`)."""
    folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(folder).expanduser() / "deltalens" / "judges.sqlite"


class Cache:
    """Request -> reply, on disk.

    Args:
        path: the file; made with its folder, readable by the user alone.

    Raises:
        BehaviourError: if there is a file that is no such cache.
        OutputError: if it cannot be made or opened.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{shown(path)}: cannot be written: {reason}") from None
        try:
            with self._opened() as db, db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, _FORMAT):
                    raise BehaviourError(
                        f"{shown(path)}: a cache of format {version}, where {_FORMAT} is read"
                    )
                db.execute(
                    "CREATE TABLE IF NOT EXISTS replies (request TEXT PRIMARY KEY, reply TEXT)"
                )
                db.execute(f"PRAGMA user_version = {_FORMAT}")
        except sqlite3.Error as error:
            raise self._problem(error) from None

    def get(self, requests: Iterable[str]) -> dict[str, str]:
        """The replies that are there, by the request's key."""
        wanted = list(requests)
        found: dict[str, str] = {}
        try:
            with self._opened() as db:
                for i in range(0, len(wanted), _AT_ONCE):
                    some = wanted[i : i + _AT_ONCE]
                    marks = ",".join("?" * len(some))
                    query = f"SELECT request, reply FROM replies WHERE request IN ({marks})"
                    found.update(db.execute(query, some))
        except sqlite3.Error as error:
            raise self._problem(error) from None
        return found

    def put(self, request: str, reply: str) -> None:
        """Keep a reply, on the disk when this returns; the first one stays.

        Raises:
            OutputError: if it cannot be kept.
        """
        try:
            with self._lock, self._opened() as db, db:
                db.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (request, reply))
        except sqlite3.Error as error:
            raise self._problem(error) from None

    def _opened(self) -> closing[sqlite3.Connection]:
        """A connection of one's own: those of threads and processes meet in the file's lock."""
        return closing(sqlite3.connect(self.path, timeout=_SECONDS))

    def _problem(self, error: sqlite3.Error) -> BehaviourError | OutputError:
        if "not a database" in str(error) or "malformed" in str(error):
            return BehaviourError(f"{shown(self.path)}: no cache of replies: {error}")
        return OutputError(f"{shown(self.path)}: the cache of replies cannot be used: {error}")
