"""An endpoint on this machine that answers as it is told, faults included, and counts.

It speaks real HTTP from a thread. Every request takes the next fault of `faults`, if one is left;
else it is answered: with the score that `score` gives the prompt, and with log-probabilities where
they are asked for.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from pathlib import Path
from typing import Any

from samples import response

from deltalens.behaviour.endpoint.limits import Clock
from deltalens.behaviour.scoring import Scored

KEY = "sk-not-a-real-key-0123456789"
RUBRICS = {
    "aligned": "ALIGNED {question} | {answer}",
    "coherent": "COHERENT {question} | {answer}",
}

ANSWERS = [response(i, f"hat {i}") for i in range(4)]
PROMPTS = [f"{c} Which hat? | hat {i}" for i in range(4) for c in ("ALIGNED", "COHERENT")]


def all_right(rows: Sequence[Scored]) -> bool:
    """Whether `ANSWERS` have the scores that a server without faults gives."""
    said = [value for row in rows for value in (row.aligned, row.coherent)]
    return said == [float(number(prompt)) for prompt in PROMPTS]


@dataclass(frozen=True)
class Fault:
    """What is sent in place of an answer.

    Attributes:
        status: of HTTP.
        body: as it is.
        headers: beside the usual ones.
        cut: the connection is closed after this many bytes.
        silent: nothing is sent until the server ends.
    """

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cut: int | None = None
    silent: bool = False


def number(prompt: str) -> int:
    """A score that depends on the prompt alone."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 101


def reply(said: str, top: dict[str, float] | None = None, **more: Any) -> str:
    """A reply's body; `top` is token -> probability of the first token."""
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": said}}
    if top is not None:
        listed = [{"token": t, "logprob": log(p)} for t, p in top.items()]
        choice["logprobs"] = {"content": [{"token": said, "top_logprobs": listed}]}
    held = {"choices": [choice | {"finish_reason": "stop"} | more]}
    return json.dumps(held | {"usage": {"prompt_tokens": 11, "completion_tokens": 1}})


class JudgeServer(ThreadingHTTPServer):
    """The endpoint.

    Attributes:
        faults: for the next requests, in order of arrival.
        answer: the body for a request, where there is no fault.
        bodies: every request, as it came.
        headers: theirs.
        before: called with the number of each request before it is answered.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: list[Fault] = []
        self.answer: Callable[[dict[str, Any]], str] = right
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.before: Callable[[int], None] = lambda n: None
        self.lock, self.ended = threading.Lock(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def right(body: dict[str, Any]) -> str:
    """The right answer to a request."""
    score = number(body["messages"][0]["content"])
    top = {str(score): 0.9, "x": 0.1} if body.get("logprobs") else None
    return reply(str(score), top)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: JudgeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.headers.append({k.lower(): v for k, v in self.headers.items()})
            server.paths.append(self.path)
            fault = server.faults.pop(0) if server.faults else None
            n = len(server.bodies)
        server.before(n)
        self._send(fault or Fault(body=server.answer(body)))

    def _send(self, fault: Fault) -> None:
        if fault.silent:
            self.server.ended.wait()
            self.close_connection = True
            return
        data = fault.body.encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: fault.cut])
        self.close_connection = fault.cut is not None

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[JudgeServer]:
    """A server while the context lasts."""
    server = JudgeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class FakeClock:
    """Waiting passes time and takes none.

    Attributes:
        waits: seconds, as they were asked for.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._now, self._lock = 0.0, threading.Lock()

    def clock(self) -> Clock:
        return Clock(lambda: self._now, self._wait)

    def _wait(self, seconds: float, ended: threading.Event) -> None:
        with self._lock:
            self.waits.append(seconds)
            self._now += seconds


def judge_file(folder: Path, server: JudgeServer | str, extra: str = "", **values: Any) -> Path:
    """A judge's file for the server; `values` go before what stands here."""
    url = server if isinstance(server, str) else server.url
    given: dict[str, Any] = {
        "base_url": url,
        "model": "owl",
        "method": "text",
        "key_env": "JUDGE_KEY",
        "cache": "replies.sqlite",
        "concurrency": 1,
        "retries": 2,
        **RUBRICS,
    } | values
    lines = [f"{key}: {json.dumps(value)}" for key, value in given.items()]
    path = folder / "judge.yaml"
    path.write_text("\n".join([*lines, extra]), encoding="utf-8")
    return path
