"""A stand-in for the hub: the two answers that its client asks for, and ways to answer wrongly."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@dataclass
class Hub:
    """One repository `owner/name`, and what was asked of it.

    Attributes:
        files: path -> content.
        revisions: revision -> commit.
        announced: path -> a size in the list that is not the content's.
        extra: names that only the list has.
        status: the answer to everything, where it is no 200.
        lying: `"short"` cuts the connection inside a file, `"long"` announces one byte more.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v2": OTHER})
    announced: dict[str, Any] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    status: int = 200
    lying: str = ""
    sha: Any = None
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        return [a.split("/", 5)[5] for a in self.asked if a.startswith("GET /owner/name/resolve/")]

    def info(self, revision: str) -> dict[str, Any] | None:
        commit = self.revisions.get(revision, revision if revision in (COMMIT, OTHER) else None)
        if commit is None:
            return None
        names = [*self.files, *self.extra]
        sizes = {n: self.announced.get(n, len(self.files.get(n, b""))) for n in names}
        siblings = [{"rfilename": n, "size": sizes[n]} for n in names]
        sha = commit if self.sha is None else self.sha
        return {"_id": "1", "id": "owner/name", "sha": sha, "siblings": siblings}


@contextmanager
def serving(hub: Hub) -> Generator[Hub]:
    """The hub on a free port of this machine, in a thread, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            return None

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(self.path.partition("?")[0])
            hub.asked.append(f"{self.command} {path}")
            hub.headers.append(dict(self.headers))
            if hub.status != 200:
                self.send(hub.status, b'{"error": "secret hf_abc"}', body=body)
            elif path.startswith("/api/models/owner/name"):
                revision = path.partition("/revision/")[2] or "main"
                info = hub.info(revision)
                text = b"{}" if info is None else json.dumps(info).encode()
                code = "RevisionNotFound" if info is None else ""
                self.send(404 if info is None else 200, text, body=body, code=code)
            elif path.startswith("/owner/name/resolve/"):
                _, _, _, _, revision, name = path.split("/", 5)
                commit = hub.revisions.get(revision, revision)
                data = hub.files.get(name)
                if data is None:
                    self.send(404, b"{}", body=body, code="EntryNotFound")
                else:
                    self.send(200, data, body=body, commit=commit)
            else:
                self.send(404, b"{}", body=body)

        def send(
            self, status: int, data: bytes, *, body: bool, code: str = "", commit: str = ""
        ) -> None:
            length = len(data) + (hub.lying == "long" and bool(commit))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", "application/json")
            if code:
                self.send_header("X-Error-Code", code)
            if commit:
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.end_headers()
            if body:
                short = hub.lying == "short" and bool(commit)
                self.wfile.write(data[: len(data) // 2] if short else data)
                if short or length != len(data):
                    self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
