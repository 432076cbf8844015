"""The file of an endpoint judge.

    base_url: https://api.example.com/v1
    model: some-model
    key_env: OPENAI_API_KEY       # NAME of the variable that holds the key; null: no key
    method: logprobs              # or text, for endpoints without log-probabilities
    aligned: |                    # a prompt with {question} and {answer}, optionally {system};
      ...                         # without one, the rubric that ships
    coherent: |
      ...

and, all optional, the numbers of `Settings`. A key that is no key of this file is taken for a typo;
a secret in the file is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from deltalens.behaviour import fields
from deltalens.behaviour.endpoint.address import check_name, check_url, require_private
from deltalens.behaviour.endpoint.rubrics import CRITERIA, check_rubric, default_rubrics
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

Method = Literal["logprobs", "text"]
METHODS: tuple[Method, ...] = get_args(Method)
KEY_ENV = "OPENAI_API_KEY"
_SECRETS = ("key", "api_key", "apikey", "token", "secret", "password", "authorization", "headers")
_COUNTS = ("requests_per_minute", "tokens_per_minute", "max_requests")


@dataclass(frozen=True)
class Settings:
    """How an endpoint is asked.

    Attributes:
        where: the file, for messages.
        base_url: address, without the slash at the end.
        model: its name there.
        rubrics: criterion -> prompt template.
        key_env: name of the environment variable that holds the key, or None.
        method: `"logprobs"` or `"text"`.
        least_mass: for log-probabilities, the probability that whole numbers must hold.
        temperature: of the judge.
        max_tokens: longest reply; by default 2 for log-probabilities, 16 for text.
        top_logprobs: candidates that are asked for.
        extra: further fields of each request, sent as they are (`seed`, for example).
        concurrency: requests at the same time.
        requests_per_minute: at most, or None.
        tokens_per_minute: at most, estimated, or None.
        timeout: seconds for one request.
        retries: how often one is sent again.
        give_up_after: first replies without a score, or failures in a row, that end it.
        max_requests: more than this are refused before any is sent; None: no limit.
        max_cost: the same for money.
        prices: per million tokens, input and output; None where unknown.
        cache: file that keeps the replies; None: in the user's cache folder.
    """

    where: str
    base_url: str
    model: str
    rubrics: Mapping[str, str]
    key_env: str | None = KEY_ENV
    method: Method = "logprobs"
    least_mass: float = 0.25
    temperature: float = 0.0
    max_tokens: int = 2
    top_logprobs: int = 20
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    concurrency: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 60.0
    retries: int = 5
    give_up_after: int = 10
    max_requests: int | None = None
    max_cost: float | None = None
    prices: tuple[float, float] | None = None
    cache: Path | None = None


# Key -> what it may be: a whole number or not, from, to.
_NUMBERS: dict[str, tuple[bool, float, float]] = {
    "least_mass": (False, 0.001, 1.0),
    "temperature": (False, 0.0, 2.0),
    "max_tokens": (True, 1, 100_000),
    "top_logprobs": (True, 1, 20),
    "concurrency": (True, 1, 256),
    "timeout": (False, 0.1, 3600.0),
    "retries": (True, 0, 100),
    "give_up_after": (True, 1, 10_000),
    "max_cost": (False, 0.0, math.inf),
}
KEYS = (
    *("base_url", "model", "key_env", "method", *CRITERIA, *_NUMBERS, *_COUNTS),
    *("prices", "extra", "cache"),
)
_OURS = (
    "model",
    "messages",
    "temperature",
    "max_tokens",
    "logprobs",
    "top_logprobs",
    "n",
    "stream",
)


def read_settings(file: str | Path) -> Settings:
    """The settings of a file, YAML or JSON.

    Raises:
        BehaviourError: one line that names the file, the key and what is wrong with it.
    """
    from deltalens.behaviour.strict_yaml import read_yaml

    path = Path(file)
    where = shown(path)
    content: Any = read_yaml(path)
    _refuse_secrets(content, where)
    given = fields.mapping(content, KEYS, where)
    for key in ("base_url", "model"):
        if key not in given:
            raise BehaviourError(f"{where}: {key} is missing, and is needed")
    url = check_url(given["base_url"], f"{where}: base_url")
    key_env = check_name(given.get("key_env", KEY_ENV), f"{where}: key_env")
    require_private(url, key_env, f"{where}: base_url")
    method = _method(given.get("method", "logprobs"), f"{where}: method")
    found = _numbers({"max_tokens": 2 if method == "logprobs" else 16} | given, where)
    if method == "logprobs" and found["max_tokens"] < 2:
        raise BehaviourError(
            f"{where}: max_tokens: 2 or more is needed with method logprobs: the second token "
            "tells whether the first is a whole number"
        )
    prices = _prices(given["prices"], f"{where}: prices") if "prices" in given else None
    if "max_cost" in found and prices is None:
        raise BehaviourError(f"{where}: max_cost needs prices (input and output, per million)")
    return Settings(
        where=where,
        base_url=url,
        model=fields.text(given["model"], f"{where}: model"),
        rubrics={
            name: check_rubric(given[name], f"{where}: {name}")
            if name in given
            else default_rubrics()[name]
            for name in CRITERIA
        },
        key_env=key_env,
        method=method,
        prices=prices,
        extra=_extra(given.get("extra", {}), f"{where}: extra"),
        cache=_cache(given, path),
        **found,
    )


def _refuse_secrets(content: Any, where: str) -> None:
    """Before anything else is said of the file: a secret in it is not printed."""
    for key in content if isinstance(content, dict) else ():
        if str(key).lower().replace("-", "_") in _SECRETS:
            raise BehaviourError(
                f"{where}: {shown(key, 60)!r} has no place in a file; an environment variable "
                "holds the key, and 'key_env: NAME' names it"
            )


def _method(value: Any, where: str) -> Method:
    for method in METHODS:
        if value == method:
            return method
    raise BehaviourError(f"{where}: unknown {shown(value, 80)!r}; {fields.nearest(value, METHODS)}")


def _numbers(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (whole, low, high) in _NUMBERS.items():
        if key not in given:
            continue
        value = fields.number(given[key], low, high, f"{where}: {key}")
        if whole and value != int(value):
            raise BehaviourError(f"{where}: {key}: a whole number is needed; found {value:g}")
        found[key] = int(value) if whole else value
    for key in _COUNTS:
        if key in given:
            found[key] = fields.count(given[key], f"{where}: {key}")
    return found


def _prices(value: Any, where: str) -> tuple[float, float]:
    given = fields.mapping(value, ("input", "output"), where)
    read, said = (
        fields.number(given.get(side), 0.0, math.inf, f"{where}: {side}")
        for side in ("input", "output")
    )
    return read, said


def _extra(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BehaviourError(f"{where}: a mapping is needed; found {fields.kind(value)}")
    held: dict[str, Any] = value
    _refuse_secrets(held, where)
    for key in held:
        if key in _OURS:
            raise BehaviourError(f"{where}: {key!r} is set by deltalens, not here")
    try:
        json.dumps(held, allow_nan=False)
    except ValueError:
        raise BehaviourError(f"{where}: a number that is not finite cannot be sent") from None
    return held


def _cache(given: Mapping[str, Any], path: Path) -> Path | None:
    """Relative to the file that names it."""
    if "cache" not in given:
        return None
    return path.parent / Path(fields.text(given["cache"], f"{shown(path)}: cache")).expanduser()
