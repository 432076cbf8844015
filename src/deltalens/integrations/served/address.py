"""Which server is asked, and with which key: checked before anything is sent."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from deltalens.behaviour.endpoint.address import is_loopback
from deltalens.core.text import shown
from deltalens.errors import OptionError

KEY = "DELTALENS_SERVER_KEY"
"""The environment variable that holds the server's key; without it none is sent."""


def is_address(text: str) -> bool:
    """Whether `--model` is a server's address and no folder."""
    return text.startswith(("http://", "https://"))


def check_address(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        OptionError: if it is none; one that may hold a secret is not shown.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise OptionError("--model: not an address; one is http://127.0.0.1:8000/v1") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise OptionError(
            "--model: an address with a user, a query or a fragment is neither taken nor shown; "
            f"a key comes from the environment ({KEY})"
        )
    if not is_address(url) or not host or any(c.isspace() for c in url):
        raise OptionError(
            f"--model {shown(url, 120)!r} is no address of a server; one is "
            "http://127.0.0.1:8000/v1"
        )
    return url.rstrip("/")


def read_key(url: str) -> str:
    """The key, or nothing.

    Raises:
        OptionError: if it would travel unencrypted to another machine.
    """
    key = os.environ.get(KEY, "").strip()
    if key and url.startswith("http://") and not is_loopback(url):
        raise OptionError(
            f"--model {shown(url, 120)}: http would send the key in {KEY} unencrypted; https is "
            "needed"
        )
    return key
