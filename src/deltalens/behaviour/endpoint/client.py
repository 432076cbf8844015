"""The official client, with waits between its attempts that a caller can cut short or count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deltalens.behaviour.endpoint.address import is_loopback

Hook = Callable[[Any], None]


def waiting_client(
    openai: Any,
    url: str,
    key: str,
    *,
    timeout: float,
    retries: int,
    wait: Callable[[float], object],
    before: Hook,
    after: Hook | None = None,
) -> Any:
    """An `openai.OpenAI` whose waits between attempts are ours.

    No redirect is followed, as it could lead to another host or away from https; an endpoint on
    this machine is reached without the environment's proxy.

    Args:
        openai: the library.
        url: the address up to `/v1`.
        key: what is sent as key; empty where none is.
        timeout: seconds of one request.
        retries: further attempts of a request that failed in passing.
        wait: called with the seconds between two attempts.
        before: called with every request, each attempt of it.
        after: called with every response.
    """

    class Waiting(openai.OpenAI):
        def _sleep_for_retry(
            self, *, retries_taken: int, max_retries: int, options: Any, response: Any
        ) -> None:
            headers = response.headers if response else None
            wait(self._calculate_retry_timeout(max_retries - retries_taken, options, headers))

    http = openai.DefaultHttpxClient(
        event_hooks={"request": [before], "response": [] if after is None else [after]},
        follow_redirects=False,
        trust_env=not is_loopback(url),
        timeout=timeout,
    )
    return Waiting(
        base_url=url, api_key=key or "none", timeout=timeout, max_retries=retries, http_client=http
    )
