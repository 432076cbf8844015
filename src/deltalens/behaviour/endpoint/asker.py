"""Many requests at once: each asked once, kept as it arrives, and stopped early where it is no use.

Threads, not asyncio: judges are plain functions, and a notebook has an event loop running already.
The threads only send and store; this thread alone counts and decides.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from deltalens.behaviour.batch import Say
from deltalens.behaviour.endpoint.cache import Cache, request_key
from deltalens.behaviour.endpoint.cost import Estimate, require_affordable, tokens
from deltalens.behaviour.endpoint.replies import (
    Failed,
    UnusableError,
    Verdict,
    open_reply,
    read_reply,
    usage,
)
from deltalens.behaviour.endpoint.settings import Settings
from deltalens.behaviour.endpoint.transport import EndedError, Transport
from deltalens.core.protocols import Score, Unscored
from deltalens.errors import BehaviourError

Took = Callable[[str, Verdict], None]
"""Told of every verdict as it comes: the request's key, and what was said."""
_LINES = 10
"""How often progress is said while requests are sent."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        key: SHA-256 of everything that is sent.
        body: what is sent.
        inputs: tokens of the prompt, estimated.
    """

    key: str
    body: Mapping[str, Any] = field(hash=False, compare=False)
    inputs: int = field(compare=False)


@dataclass(frozen=True)
class _Arrived:
    """What a thread hands over: a verdict, or what went wrong, and the tokens that it took."""

    request: Request
    verdict: Verdict | BaseException
    used: tuple[int, int] | None = None


def make_request(prompt: str, settings: Settings) -> Request:
    """The request for one filled rubric; lone surrogates, which no request can hold, are `?`."""
    prompt = prompt.encode("utf-8", "replace").decode()
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        **settings.extra,
    }
    if settings.method == "logprobs":
        body |= {"logprobs": True, "top_logprobs": settings.top_logprobs}
    return Request(request_key(settings.base_url, body), body, tokens(len(prompt)))


class Asker:
    """Asks an endpoint, through its cache.

    Attributes:
        sent: what was sent so far, in the endpoint's own count where it gives one.
    """

    def __init__(self, settings: Settings, cache: Cache, transport: Transport) -> None:
        self._settings, self._cache, self._transport = settings, cache, transport
        self._verdicts: dict[str, Verdict] = {}
        self._scored, self._without, self._failures = False, 0, 0
        self.sent = Estimate()

    def estimate(self, requests: Collection[Request]) -> Estimate:
        """What these would amount to, each once and without those that are cached."""
        keys = {each.key: each for each in requests}
        known = {k for k in keys if k in self._verdicts and _is_final(self._verdicts[k])}
        known |= self._cache.get(k for k in keys if k not in known).keys()
        missing = [each for key, each in keys.items() if key not in known]
        return self._estimate(missing, len(keys) - len(missing))

    def verdict(self, request: Request) -> Verdict:
        """What was said of one request; asked now if it was not before."""
        if request.key not in self._verdicts:
            self.ask([request], say=lambda _: None, took=lambda _key, _verdict: None)
        return self._verdicts[request.key]

    def ask(self, requests: Collection[Request], *, say: Say, took: Took) -> None:
        """Have a verdict on every request: from memory, the cache, or the endpoint.

        Args:
            requests: in the order in which they are sent; one that stands twice is sent once.
            say: told what is about to be sent, and how it goes.
            took: told of every verdict; it may raise, which ends the sending.

        Raises:
            BehaviourError: before anything is sent, if it is more than the file allows; later, if
                no further request could be of use (`give_up_after`). What arrived by then is kept.
        """
        wanted = {each.key: each for each in requests}
        for key in wanted:
            if key in self._verdicts and not _is_final(self._verdicts[key]):
                del self._verdicts[key]  # another time it may work
        unknown = [key for key in wanted if key not in self._verdicts]
        cached = self._cache.get(unknown)
        for key, reply in cached.items():
            self._take(key, self._read(reply), took)
        missing = [wanted[key] for key in unknown if key not in cached]
        if missing:
            estimate = self._estimate(missing, len(wanted) - len(missing))
            require_affordable(estimate, self.sent, self._settings)
            say(estimate.said(self._settings))
            self._send(missing, say, took)

    def _send(self, missing: list[Request], say: Say, took: Took) -> None:
        arrived: queue.Queue[_Arrived] = queue.Queue()
        rest, lock = iter(missing), Lock()
        threads = min(self._settings.concurrency, len(missing))
        with self._transport.opened(), ThreadPoolExecutor(threads) as pool:
            try:
                for _ in range(threads):
                    pool.submit(self._work, rest, lock, arrived)
                for n in range(1, len(missing) + 1):
                    self._arrived(arrived.get(), took)
                    if n % max(len(missing) // _LINES, 1) == 0:
                        say(f"judge {self._settings.model}: {n} of {len(missing)} replies")
            finally:  # whoever waits is woken; what is on its way arrives, and is kept
                self._transport.ended.set()

    def _arrived(self, each: _Arrived, took: Took) -> None:
        if isinstance(each.verdict, BaseException):
            raise each.verdict
        inputs, outputs = each.used or (each.request.inputs, self._settings.max_tokens)
        self.sent += Estimate(1, 0, inputs, outputs)
        self._take(each.request.key, each.verdict, took)

    def _work(self, rest: Iterator[Request], lock: Lock, arrived: queue.Queue[_Arrived]) -> None:
        while not self._transport.ended.is_set():
            with lock:
                request = next(rest, None)
            if request is None:
                return
            try:
                arrived.put(self._one(request))
            except EndedError:
                return
            except BaseException as problem:
                arrived.put(_Arrived(request, problem))
                return

    def _one(self, request: Request) -> _Arrived:
        """Send one; its reply is kept before anybody hears of it."""
        size = request.inputs + self._settings.max_tokens
        reply = self._transport.send(request.body, size, self._check)
        verdict = self._read(reply)  # raises for a reply that is not worth keeping
        if isinstance(reply, Failed):
            return _Arrived(request, verdict)
        self._cache.put(request.key, reply)
        return _Arrived(request, verdict, usage(reply))

    def _check(self, text: str) -> None:
        open_reply(text, self._settings.method)

    def _read(self, reply: str | Failed) -> Verdict:
        if isinstance(reply, Failed):
            return Verdict(reply, answered=False)
        try:
            return read_reply(reply, self._settings)
        except UnusableError as problem:  # of a cache that others wrote
            return Verdict(Unscored(str(problem)), answered=False)

    def _estimate(self, missing: Collection[Request], cached: int) -> Estimate:
        n = len(missing)
        inputs = sum(each.inputs for each in missing)
        return Estimate(n, cached, inputs, n * self._settings.max_tokens)

    def _take(self, key: str, verdict: Verdict, took: Took) -> None:
        """Keep a verdict; give up where nothing points to a score to come."""
        self._verdicts[key] = verdict
        said = verdict.said
        self._scored = self._scored or verdict.answered
        self._without += not verdict.answered
        self._failures = self._failures + 1 if isinstance(said, Failed) else 0
        took(key, verdict)
        if isinstance(said, Score):
            return
        where, most = self._settings.where, self._settings.give_up_after
        if self._failures >= most:
            raise BehaviourError(
                f"{where}: {self._failures} requests in a row failed (give_up_after); the last: "
                f"{said.reason}"
            )
        if not self._scored and self._without >= most:
            raise BehaviourError(
                f"{where}: none of the first {self._without} replies gave a score "
                f"(give_up_after); the last: {said.reason}"
            )


def _is_final(verdict: Verdict) -> bool:
    return not isinstance(verdict.said, Failed)
