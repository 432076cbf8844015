"""Which address is asked, and with which key: checked before anything is sent.

A key is read from the environment and nowhere else, and is neither written, printed nor cached. It
travels encrypted: to another machine only by https.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from deltalens.behaviour import fields
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")

_PLAIN = re.compile(r"[!-~]{1,2000}")


def check_url(value: object, where: str) -> str:
    """An http or https address without user, password, query or fragment, and without end slash.

    Raises:
        BehaviourError: one line; an address that holds a secret is not printed.
    """
    url = fields.text(value, where).strip()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # labels that are empty or too long
    except ValueError:
        raise BehaviourError(f"{where}: not an address; http:// or https:// is needed") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BehaviourError(
            f"{where}: an address with a user, a password, a query or a fragment is not taken, nor "
            "shown; a key comes from the environment (key_env)"
        )
    if parts.scheme not in ("http", "https") or not host or not _PLAIN.fullmatch(url):
        raise BehaviourError(
            f"{where}: {shown(url, 120)!r} is no address of an endpoint; one is "
            "https://HOST/v1 or http://127.0.0.1:PORT/v1"
        )
    return url.rstrip("/")


def host_and_port(url: str) -> str:
    """Where an address leads, `HOST:PORT`: enough for a message, and nothing secret in it."""
    parts = _parts(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{shown(host, 80)}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own."""
    host = _parts(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_private(url: str, key_env: str | None, where: str) -> None:
    """Refuse to send a key unencrypted to another machine.

    Raises:
        BehaviourError: for http, another host and a key.
    """
    if key_env is not None and _parts(url).scheme == "http" and not is_loopback(url):
        raise BehaviourError(
            f"{where}: http would send the key in {key_env} unencrypted to "
            f"{shown(_parts(url).hostname, 80)}; https is needed, or 'key_env: null' for no key"
        )


def check_name(value: object, where: str) -> str | None:
    """The name of an environment variable; None (null) for an endpoint without a key.

    Raises:
        BehaviourError: if it is no such name; what stands there is not printed, for it may be
            the key itself.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise BehaviourError(
            f"{where}: the NAME of an environment variable is needed (capitals, digits and _), or "
            "null for no key; what stands there is not shown, as it may be a key"
        )
    return value


def read_key(name: str | None, where: str, environment: Mapping[str, str] | None = None) -> str:
    """The key, from the environment; empty where none is needed.

    Raises:
        BehaviourError: naming the variable that is not set, or whose value cannot be sent.
    """
    if name is None:
        return ""
    held = (os.environ if environment is None else environment).get(name, "").strip()
    if not held:
        raise BehaviourError(
            f"{where}: the environment variable {name} is not set; it holds the endpoint's key "
            "('key_env: null' for an endpoint without one)"
        )
    if not (held.isascii() and held.isprintable()) or " " in held:
        raise BehaviourError(
            f"{where}: the environment variable {name} holds characters that no key has"
        )
    return held


def _parts(url: str) -> SplitResult:
    return urlsplit(url)
