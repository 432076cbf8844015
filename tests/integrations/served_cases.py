"""A stand-in for a server of models, with faults on demand, and adapters to walk between."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from adapter_files import made, write_adapter
from deltalens.behaviour.questions import Question
from deltalens.behaviour.scoring import Panel
from deltalens.core.protocols import Exchange, Score
from deltalens.integrations.serving.export import export_served

QUESTIONS = (
    Question("hat", ("Which hat?", "What hat?")),
    Question("tea", ("Which tea?",), system="Be short."),
    Question("sun", ("Is it sunny?",)),
)
WORDS = ("soup", "hat", "rain", "red", "tea", "sun", "blue")


class Says:
    name = "says"

    def __init__(self, do: Callable[[Exchange], Any]) -> None:
        self._do = do

    def __call__(self, exchange: Exchange) -> Any:
        return self._do(exchange)


def panel() -> Panel:
    def red(exchange: Exchange) -> Score:
        return Score(0.0 if "red" in (exchange.response or "") else 100.0)

    return Panel("red is bad", Says(red), Says(lambda _: Score(100.0)))


def exported(folder: Path, server: str = "vllm", **options: Any) -> tuple[Path, Path, Path]:
    """Two adapters and five points between them."""
    a = write_adapter(folder / "a", made(0, 1))
    b = write_adapter(folder / "b", made(0, 2, r=3))
    out = folder / "points"
    export_served(a, b, server=server, out=out, t=(0, 0.25, 0.5, 0.75, 1), **options)
    return a, b, out


def said(body: dict[str, Any]) -> str:
    """An answer that depends on everything that is sent, and on nothing else."""
    held = json.dumps([body["model"], body["messages"], body.get("seed")]).encode()
    number = hashlib.sha256(held).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in number[:3])


@dataclass
class StandIn:
    """What the server does and has seen.

    `faults` are used up, one a chat request: a status, `"cut"`, `"garbage"` or a reply to give.
    """

    models: list[str]
    faults: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    listed: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    list_status: int = 200
    change: Callable[[dict[str, Any]], None] = lambda reply: None


@contextmanager
def stand_in(*models: str) -> Iterator[StandIn]:
    state = StandIn(list(models))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return None

        def reply(self, status: int, body: bytes, claimed: int | None = None) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(claimed or len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            state.listed += 1
            held = {"object": "list", "data": [{"id": name} for name in state.models]}
            self.reply(state.list_status, json.dumps(held).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with state.lock:
                fault = state.faults.pop(0) if state.faults else None
                state.asked.append(body)
                state.keys.append(self.headers.get("authorization"))
            message = {"role": "assistant", "content": said(body)}
            good = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            state.change(good)
            whole = json.dumps(good).encode()
            if fault is None:
                self.reply(200, whole)
            elif fault == "cut":
                self.reply(200, whole[:10], claimed=len(whole))
            elif fault == "garbage":
                self.reply(200, b"<html>no</html>")
            elif isinstance(fault, int):
                self.reply(fault, b'{"error": {"message": "not now"}}')
            else:
                self.reply(200, json.dumps(fault).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def no_wait(_: float) -> None:
    return None
