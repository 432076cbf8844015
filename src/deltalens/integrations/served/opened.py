"""`--model URL --served DIR|PATTERN` as a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deltalens.errors import OptionError
from deltalens.integrations.served.address import check_address, is_address, read_key
from deltalens.integrations.served.client import Client
from deltalens.integrations.served.model import ServedModel
from deltalens.integrations.served.points import SLOT, exported_points, named_points

CONCURRENCY = 8


def open_served(
    url: str,
    served: str | Path | None,
    *,
    concurrency: int | None = None,
    wait: Callable[[float], object] | None = None,
) -> ServedModel:
    """A model whose points a server holds.

    Args:
        url: the server's address, up to `/v1`.
        served: a folder of `deltalens export --serve`, or a pattern of names with `{t}`.
        concurrency: requests at a time; by default 8, and 1 for `transformers serve`, which has one
            random state for all requests.
        wait: how a retry waits; for tests.

    Raises:
        OptionError: for an address or a folder that is none; for a pattern, also if no server
            answers.
    """
    url = check_address(url)
    if served is None:
        raise OptionError(
            "--model is a server: --served says which of its models is which point, a folder of "
            "deltalens export --serve or a pattern with {t}"
        )
    if concurrency is not None and concurrency < 1:
        raise OptionError(f"--concurrency must be 1 or more; found {concurrency}")
    client = Client(url, read_key(url), wait=wait)
    if SLOT in str(served) and not Path(served).exists():
        points = named_points(str(served), client.models())
    else:
        points = exported_points(Path(served))
    return ServedModel(
        points, client, concurrency=concurrency or (1 if points.unlisted else CONCURRENCY)
    )


def model_of(model: str, served: str | None, concurrency: int | None) -> str | ServedModel:
    """What `--model` names: a folder as it is, or a server.

    Raises:
        OptionError: if the options do not go together.
    """
    if is_address(model):
        return open_served(model, served, concurrency=concurrency)
    for name, value in (("--served", served), ("--concurrency", concurrency)):
        if value is not None:
            raise OptionError(f"{name} is for a server: --model must be its address, http://...")
    return model
