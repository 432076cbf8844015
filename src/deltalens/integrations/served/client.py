"""One request an answer, sent by the official `openai` library.

The library sends again what failed on the way (408, 409, 429 and 5xx, a cut or refused connection,
a time-out), with growing waits and by what `Retry-After` says. Ours is that waiting ends with the
work, that a body that is no reply is asked for again, and that no redirect is followed.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from deltalens._extras import require
from deltalens.behaviour.endpoint.client import waiting_client
from deltalens.core.text import shown
from deltalens.errors import BehaviourError, OptionError
from deltalens.integrations.served.address import KEY

_BODIES = 3
"""How often a body that is no reply is asked for, in all."""


class EndedError(Exception):
    """The work was ended before this request was sent."""


@dataclass(frozen=True)
class Answered:
    """One answer.

    Attributes:
        text: None where the reply has none (a refusal by a filter, thoughts alone).
        finished: False where it was cut at the largest length.
    """

    text: str | None
    finished: bool


class Client:
    """Asks a server; safe to use from several threads.

    Args:
        url: its address, up to `/v1`.
        key: its key, or empty.
        timeout: seconds for one request.
        retries: how often a request is sent again.
        wait: waits a number of seconds, or less if the work ends.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        timeout: float = 600.0,
        retries: int = 4,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.url = url
        self._openai: Any = require("openai", extra="judges", purpose="a walk over a server")
        self._ended, self._key = threading.Event(), key
        self._client = waiting_client(
            self._openai,
            url,
            key,
            timeout=timeout,
            retries=retries,
            wait=wait or self._ended.wait,
            before=_with_key if key else _without_key,
        )
        weakref.finalize(self, self._client.close)  # connections that were kept open

    def begin(self) -> None:
        """Send again."""
        self._ended.clear()

    def end(self) -> None:
        """Let nobody wait any longer, and send nothing more."""
        self._ended.set()

    def models(self) -> tuple[str, ...]:
        """The models that the server lists, without sending the request twice.

        Raises:
            OptionError: if no server is there, or it has no such list.
        """
        try:
            raw = self._client.with_options(max_retries=0).models.with_raw_response.list()
            held = json.loads(raw.http_response.text)["data"]
            return tuple(str(item["id"]) for item in held)
        except self._openai.APIStatusError as error:
            raise OptionError(self._refused(error, "GET /models")) from None
        except self._openai.APIConnectionError as error:
            raise OptionError(
                f"--model {shown(self.url, 120)}: no server answers there: {self._cause(error)}"
            ) from None
        except (ValueError, LookupError, TypeError):
            raise OptionError(
                f"--model {shown(self.url, 120)}: GET /models gives no list of models; an "
                "OpenAI-compatible server's address ends in /v1 as a rule"
            ) from None

    def answers(self) -> bool:
        """Whether anything answers there, whatever it says of its models.

        Raises:
            OptionError: if nothing does.
        """
        try:
            self._client.with_options(max_retries=0).models.with_raw_response.list()
        except self._openai.APIStatusError:
            return False
        except self._openai.APIConnectionError as error:
            raise OptionError(
                f"--model {shown(self.url, 120)}: no server answers there: {self._cause(error)}"
            ) from None
        return True

    def answer(self, body: Mapping[str, Any]) -> Answered:
        """The first choice of the reply.

        Raises:
            BehaviourError: if there is none after all retries.
            EndedError: if the work has ended.
        """
        what, problem = f"model {shown(body['model'], 80)!r}", ""
        for _ in range(_BODIES):
            if self._ended.is_set():
                raise EndedError
            try:
                return _answered(self._sent(body), int(body["max_tokens"]))
            except (ValueError, LookupError, TypeError) as error:
                problem = f"a reply that cannot be read: {shown(error, 120)}"
            except self._openai.APIStatusError as error:
                raise BehaviourError(self._refused(error, what)) from None
            except self._openai.APIConnectionError as error:
                problem = self._cause(error)
                break
        raise BehaviourError(f"--model {shown(self.url, 120)}: {what}: {problem}")

    def _sent(self, body: Mapping[str, Any]) -> str:
        given = dict(body)
        fields = {name: given.pop(name) for name in ("model", "messages")}
        raw = self._client.chat.completions.with_raw_response.create(**fields, extra_body=given)
        return raw.http_response.text

    def _refused(self, error: Any, what: str) -> str:
        said = self._redacted(shown(error.message, 200))
        more = f" (the key comes from {KEY})" if error.status_code in (401, 403) else ""
        return (
            f"--model {shown(self.url, 120)}: {what}: the server said {error.status_code}: "
            f"{said}{more}"
        )

    def _cause(self, error: Exception) -> str:
        return self._redacted(shown(error.__cause__ or error, 120))

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _answered(text: str, most: int) -> Answered:
    """An answer of a reply's text.

    `finish_reason` says whether it was cut; where a server leaves it out, the number of tokens
    does, and where that is missing, too, the answer is taken as it is.
    """
    held = json.loads(text)
    choice: Mapping[str, Any] = held["choices"][0]
    content = choice["message"].get("content")
    if content is not None and not isinstance(content, str):
        raise TypeError("its content is no text")
    reason = choice.get("finish_reason")
    if reason is None:
        used = cast("Mapping[str, Any]", held.get("usage") or {}).get("completion_tokens")
        return Answered(content, not (isinstance(used, int) and used >= most))
    return Answered(content, reason not in ("length", "content_filter"))


def _with_key(_: Any) -> None:
    return None


def _without_key(request: Any) -> None:
    """The library sends a placeholder where there is no key."""
    request.headers.pop("Authorization", None)
