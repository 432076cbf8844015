"""One request to an endpoint, sent by the official `openai` library.

The library keeps connections, times requests out, and sends again what failed on the way (429 and
5xx, a cut or refused connection, a time-out), with growing waits and by what `Retry-After` says.
Ours is what it does not know: that requests are spaced (a hook before each attempt), that everyone
pauses when one is told to, that waiting ends with the work, and that a body that is no reply is
asked for again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from deltalens._extras import require
from deltalens.behaviour.endpoint.address import host_and_port
from deltalens.behaviour.endpoint.client import waiting_client
from deltalens.behaviour.endpoint.limits import Clock, Limits
from deltalens.behaviour.endpoint.replies import Failed, UnusableError
from deltalens.behaviour.endpoint.settings import Settings
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

_BODIES = 3
"""How often a body that is no reply is asked for, in all."""
_LONGEST_HOLD = 120.0
_SECRET = 8
"""Shorter keys are placeholders (EMPTY, 1), and taking them out could change a reply."""
_FATAL = (401, 402, 403, 404)


class EndedError(Exception):
    """The work was stopped while this request waited."""


class Transport:
    """Sends requests; safe to use from several threads.

    Args:
        settings: address, model, limits.
        key: the endpoint's key; empty for none.
        clock: time and waiting.

    Raises:
        DependencyError: if the `openai` library is not installed.
    """

    def __init__(self, settings: Settings, key: str, clock: Clock) -> None:
        self._openai: Any = require("openai", extra="judges", purpose="a judge behind an endpoint")
        self._settings, self._key, self._clock = settings, key, clock
        self._place = host_and_port(settings.base_url)
        self._limits = Limits(clock, settings.requests_per_minute, settings.tokens_per_minute)
        self._mine = threading.local()
        self._client: Any = None
        self.ended = threading.Event()

    @contextmanager
    def opened(self) -> Generator[None]:
        """Connections that stay open while the context lasts."""
        self.ended.clear()
        client = waiting_client(
            self._openai,
            self._settings.base_url,
            self._key,
            timeout=self._settings.timeout,
            retries=self._settings.retries,
            wait=self._wait,
            before=self._before,
            after=self._after,
        )
        with client as self._client:
            yield

    def send(
        self, body: Mapping[str, Any], tokens: int, check: Callable[[str], object]
    ) -> str | Failed:
        """The reply's text, or why there is none in the end; `opened` around it.

        Args:
            body: what is sent.
            tokens: what it is estimated to take.
            check: raises `UnusableError` for text that is no reply.

        Raises:
            BehaviourError: if no other request could fare better (key, model, address).
            EndedError: if the work was stopped meanwhile.
        """
        self._mine.tokens = tokens
        problem = ""
        for _ in range(min(_BODIES, self._settings.retries + 1)):
            try:
                text = self._redacted(self._post(body))
                check(text)
            except UnusableError as found:
                problem = str(found)
            except self._openai.APIStatusError as error:
                return self._refused(error)
            except self._openai.APITimeoutError:
                within = f"within {self._settings.timeout:g} s"
                return Failed(f"no reply from {self._place} {within} ({self._tries})")
            except self._openai.APIConnectionError as error:
                cause = self._redacted(shown(error.__cause__ or error, 120))
                return Failed(f"the connection to {self._place} failed: {cause} ({self._tries})")
            else:
                return text
        return Failed(problem)

    def _post(self, body: Mapping[str, Any]) -> str:
        given = dict(body)
        fields = {name: given.pop(name) for name in ("model", "messages")}
        raw = self._client.chat.completions.with_raw_response.create(**fields, extra_body=given)
        return raw.http_response.text

    def _refused(self, error: Any) -> Failed:
        code, said = error.status_code, self._redacted(shown(_message(error), 200))
        settings = self._settings
        if (
            code in _FATAL
            or 300 <= code < 400
            or getattr(error, "code", "") == "insufficient_quota"
        ):
            raise BehaviourError(f"{settings.where}: {_what(code, settings)} ({code}): {said}")
        if code in (400, 422) and "logprob" in said:
            raise BehaviourError(
                f"{settings.where}: the endpoint gives no log-probabilities ({code}: {said}); "
                "'method: text' reads the number in the reply instead"
            )
        again = f" ({self._tries})" if code in (408, 409, 429) or code >= 500 else ""
        return Failed(f"the endpoint said {code}: {said}{again}")

    @property
    def _tries(self) -> str:
        n = self._settings.retries + 1
        return f"sent {n} times" if n > 1 else "sent once"

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) >= _SECRET else text

    def _before(self, request: Any) -> None:
        """Every attempt waits for its turn; a request without a key carries none."""
        if not self._key:
            request.headers.pop("Authorization", None)
        self._wait(self._limits.turn(self._mine.tokens))

    def _after(self, response: Any) -> None:
        """Where one request is told to come later, none is sent before."""
        if response.status_code in (429, 503):
            try:
                seconds = float(response.headers.get("retry-after", ""))
            except ValueError:
                return
            if 0.0 < seconds <= _LONGEST_HOLD:
                self._limits.hold(seconds)

    def _wait(self, seconds: float) -> None:
        if seconds > 0.0:
            self._clock.wait(seconds, self.ended)
        if self.ended.is_set():
            raise EndedError


def _message(error: Any) -> str:
    """What the endpoint said, as far as it said it in the usual form."""
    body = error.body
    if isinstance(body, dict):
        held: Any = body.get("message") or body.get("detail") or body
        return str(held)
    return str(body or error.message)


def _what(code: int, settings: Settings) -> str:
    if code in (401, 403):
        return f"the endpoint refuses the key in {settings.key_env or 'no variable'}"
    if code == 404:
        return f"no model {shown(settings.model, 80)!r} at {shown(settings.base_url, 120)}"
    if 300 <= code < 400:
        return "the endpoint answers with a redirect, which is not followed; give its own address"
    return "the endpoint wants to be paid"
