"""A training that has been looked at from all sides before the model is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from deltalens._extras import require
from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.provenance import sha256_file, versions
from deltalens.io.read import load as load_adapter
from deltalens.models.load import load_tokenizer
from deltalens.organisms.files import file_records, sha256_json
from deltalens.training import memory
from deltalens.training.answers import Encoded, encode
from deltalens.training.base import Base, outline
from deltalens.training.data import Conversations
from deltalens.training.folder import require_unclaimed
from deltalens.training.lora import CONFIG, INITIAL, WEIGHTS
from deltalens.training.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is looked at, and kept, on the way; it changes no weight.

    Attributes:
        geometry_every: steps between measures of the geometry, or None.
        against: an adapter of the same base that the geometry is compared with, or None.
        keep_every: steps between adapters that are kept, or None.
        save_every: steps between what an interrupted run goes on from; a tenth by default.
    """

    geometry_every: int | None = None
    against: str | Path | None = None
    keep_every: int | None = None
    save_every: int | None = None

    def __post_init__(self) -> None:
        named = (("geometry_every", "--geometry-every"), ("keep_every", "--keep-checkpoints"))
        for field, option in (*named, ("save_every", "save_every")):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise OptionError(f"{option} must be 1 or more, found {value}")
        if self.against is not None and self.geometry_every is None:
            raise OptionError("--against is compared while training: --geometry-every is needed")


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Attributes:
        base: the model.
        data: what was read.
        encoded: the same as tokens.
        settings: with the dtype that it will be.
        watch: what is looked at on the way.
        against: the adapter to compare with.
        device: where it will run.
        identity: what tells this training from others.
    """

    base: Base
    data: Conversations
    encoded: Encoded
    settings: TrainSettings
    watch: Watch
    against: Adapter | None
    device: str
    identity: dict[str, Any]

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.settings.total_steps(len(self.encoded.examples))

    @property
    def digest(self) -> str:
        """SHA-256 of its identity."""
        return sha256_json(self.identity)

    @property
    def told(self) -> dict[str, Any]:
        """What its folder says that it depends on."""
        return _told(self.identity, self.settings)

    @property
    def warnings(self) -> list[str]:
        """What somebody should know before it runs, a line each."""
        found: list[str] = []
        if self.data.passed_over:
            found.append(f"keys that are not read: {shown(', '.join(self.data.passed_over))}")
        if self.encoded.truncated:
            found.append(
                f"{self.encoded.truncated} of {len(self.encoded.examples)} rows are longer than "
                f"{self.settings.max_length} tokens (--max-length): their ends are not learnt"
            )
        if self.encoded.unended:
            found.append(
                f"the chat template ends {self.encoded.unended} answers with no special token: "
                "the model does not learn to stop there"
            )
        return found


def prepare(
    base: Base,
    conversations: Conversations,
    settings: TrainSettings,
    watch: Watch,
    *,
    out: Path,
    fresh: bool,
    force: bool,
) -> Job:
    """Read everything but the weights and refuse what cannot be trained.

    Args:
        base: the model.
        conversations: what was read.
        settings: what decides the weights.
        watch: what is looked at on the way.
        out: the folder to make; what another training made there is refused.
        fresh: it is not.
        force: go on where the estimate of memory says no.

    Raises:
        DeltalensError: one line that names the offender.
    """
    torch = require("torch", extra="models", purpose="training")
    require("accelerate", extra="models", purpose="training")
    tokenizer = load_tokenizer(base.folder)
    made = outline(base)
    targets = made.targets(settings.targets)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    dtype = settings.dtype or ("float32" if device == "cpu" else "bfloat16")
    settings = replace(settings, dtype=dtype)
    against = None if watch.against is None else load_adapter(watch.against)
    identity = _identity(base, conversations, settings, watch, against)
    if not fresh:
        require_unclaimed(out, _told(identity, settings))
    encoded = encode(
        conversations, tokenizer, max_length=settings.max_length, folder=str(base.folder)
    )
    largest = max(max(example.ids) for example in encoded.examples)
    if largest >= made.vocabulary:
        raise OptionError(
            f"{shown(base.folder)}: its tokenizer gives token {largest}, and the model has 0 to "
            f"{made.vocabulary - 1}; the two do not belong together"
        )
    needed = memory.estimate(made, targets, settings, dtype=dtype, longest=encoded.longest)
    memory.require_room(needed, device, force=force)
    return Job(base, conversations, encoded, settings, watch, against, device, identity)


def _identity(
    base: Base,
    data: Conversations,
    settings: TrainSettings,
    watch: Watch,
    against: Adapter | None,
) -> dict[str, Any]:
    """What decides the weights, and what is kept of the way to them."""
    other = None if against is None else Path(against.provenance.path)
    base_hash, data_hash = base.digest(), sha256_file(data.path)
    return {
        "weights": settings.digest(base_hash, data_hash),
        "base": {"name": base.name, "sha256": base_hash},
        "data": {"name": data.path.name, "sha256": data_hash},
        "watch": {
            "geometry_every": watch.geometry_every,
            "keep_every": watch.keep_every,
            "against": sha256_file(other) if other is not None and other.is_file() else None,
        },
    }


def _told(identity: dict[str, Any], settings: TrainSettings) -> dict[str, Any]:
    said = asdict(settings)
    if settings.steps is not None:
        said["epochs"] = None  # steps stand in their place
    return {"digest": sha256_json(identity), **identity, "settings": said}


def record(job: Job, out: Path, losses: list[float]) -> dict[str, Any]:
    """What `provenance.json` says of a finished training."""
    encoded = job.encoded
    order = job.settings.order(len(encoded.examples))
    learnt = np.array([sum(example.learnt) for example in encoded.examples])
    counts = {
        "rows": len(job.data.rows),
        "tokens": sum(len(example.ids) for example in encoded.examples),
        "tokens_learnt": encoded.learnt,
        "truncated_rows": encoded.truncated,
        "keys_not_read": list(job.data.passed_over),
    }
    return {
        "name": out.name,
        "made_by": "deltalens.training.run.train",
        **job.told,
        "data": job.identity["data"] | counts,
        "steps": job.steps,
        "rows_seen": len(order),
        "tokens_learnt_from": int(learnt[order].sum()),
        "device": job.device,
        "files": file_records(out, (CONFIG, WEIGHTS, INITIAL)),
        "versions": versions() | {"accelerate": version("accelerate")},
        "losses": [round(loss, 6) for loss in losses],
    }
