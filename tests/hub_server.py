"""A stand-in for the hub: the two answers that its client asks for, and ways to answer wrongly."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
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
        xet: announce Xet storage: `"good"` serves it, `"lost"` has no such file there, `"wrong"`
            gives other bytes of the right length.
        lfs: announce the SHA-256 of every file.
        lying: `"short"` cuts the connection inside a file, `"long"` announces one byte more.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v2": OTHER})
    announced: dict[str, Any] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    status: int = 200
    lying: str = ""
    xet: str = ""
    lfs: bool = False
    sha: Any = None
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        return [a.split("/", 5)[5] for a in self.asked if a.startswith("GET /owner/name/resolve/")]

    def _lfs(self, name: str) -> dict[str, Any]:
        data = self.files.get(name)
        if not self.lfs or data is None:
            return {}
        digest = hashlib.sha256(data).hexdigest()
        return {"lfs": {"sha256": digest, "size": len(data), "pointerSize": 130}}

    def info(self, revision: str) -> dict[str, Any] | None:
        commit = self.revisions.get(revision, revision if revision in (COMMIT, OTHER) else None)
        if commit is None:
            return None
        names = [*self.files, *self.extra]
        sizes = {n: self.announced.get(n, len(self.files.get(n, b""))) for n in names}
        siblings = [{"rfilename": n, "size": sizes[n], **self._lfs(n)} for n in names]
        sha = commit if self.sha is None else self.sha
        return {"_id": "1", "id": "owner/name", "sha": sha, "siblings": siblings}

    def announcement(self, name: str) -> dict[str, str]:
        """The headers that say where Xet has a file, if it has."""
        if not self.xet:
            return {}
        digest = hashlib.sha256(self.files[name]).hexdigest()
        return {"X-Xet-Hash": digest, "Link": f'<{self.url}/xet-token>; rel="xet-auth"'}

    def reconstruction(self, digest: str) -> bytes:
        """How Xet puts a file together: here from one piece of one xorb."""
        n, span = len(self._by_digest(digest)), {"start": 0, "end": 1}
        term = {"hash": digest, "unpacked_length": n, "range": span}
        there = {"range": span, "url": f"{self.url}/xorb/{digest}",
                 "url_range": {"start": 0, "end": n + 7}}  # fmt: skip
        return json.dumps(
            {"offset_into_first_range": 0, "terms": [term], "fetch_info": {digest: [there]}}
        ).encode()

    def xorb(self, digest: str) -> bytes:
        """The piece: version, its length, no compression, its length again, its bytes."""
        data = self._by_digest(digest)
        size = len(data).to_bytes(3, "little")
        return b"\0" + size + b"\0" + size + (data if self.xet == "good" else data[::-1])

    def _by_digest(self, digest: str) -> bytes:
        return next(d for d in self.files.values() if hashlib.sha256(d).hexdigest() == digest)


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
                    self.send(200, data, body=body, commit=commit, more=hub.announcement(name))
            elif path == "/xet-token":
                token = {"Cas-Url": hub.url, "Access-Token": "x", "Token-Expiration": "9999999999"}
                self.send(200, b"{}", body=body, more={f"X-Xet-{k}": v for k, v in token.items()})
            elif path.startswith("/v1/reconstructions/") and hub.xet != "lost":
                self.send(200, hub.reconstruction(path.rpartition("/")[2]), body=body)
            elif path.startswith("/xorb/"):
                self.send(206, hub.xorb(path.rpartition("/")[2]), body=body)
            else:
                self.send(404, b"{}", body=body)

        def send(
            self,
            status: int,
            data: bytes,
            *,
            body: bool,
            code: str = "",
            commit: str = "",
            more: Mapping[str, str] = MappingProxyType({}),
        ) -> None:
            length = len(data) + (hub.lying == "long" and bool(commit))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", "application/json")
            for name, value in more.items():
                self.send_header(name, value)
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
