"""A whole fine-tune: from conversations and a model's folder to a plain PEFT adapter."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deltalens._extras import require
from deltalens.core.adapter import Adapter
from deltalens.core.result import Result
from deltalens.core.text import shown
from deltalens.errors import OptionError, TrainingError
from deltalens.io.provenance import sha256_file, versions
from deltalens.io.read import load as load_adapter
from deltalens.io.results import prepare_folder, write_document, write_tables
from deltalens.models import load as loading
from deltalens.organisms.files import PROVENANCE, file_records, sha256_json
from deltalens.training import folder as places
from deltalens.training import memory
from deltalens.training.answers import Encoded, encode
from deltalens.training.base import Base, base_of, outline
from deltalens.training.data import Conversations, read_conversations
from deltalens.training.lora import (
    CONFIG,
    INITIAL,
    WEIGHTS,
    adapter_state,
    initial_factors,
    with_adapter,
    write_adapter,
    write_tensors,
)
from deltalens.training.settings import TrainSettings

if TYPE_CHECKING:
    from deltalens.training.callback import GeometryCallback
    from deltalens.training.events import Progress

Warn = Callable[[str], None]
_FILES = (CONFIG, WEIGHTS, INITIAL)


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
class _Job:
    """Everything that was checked before the model is loaded."""

    base: Base
    data: Conversations
    encoded: Encoded
    settings: TrainSettings
    watch: Watch
    against: Adapter | None
    tokenizer: Any
    device: str
    identity: dict[str, Any]

    @property
    def steps(self) -> int:
        return self.settings.total_steps(len(self.encoded.examples))


def train(
    model: str,
    data: str | Path,
    out: Path,
    settings: TrainSettings | None = None,
    *,
    watch: Watch | None = None,
    fresh: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Path:
    """Fine-tune a chat model on conversations, answers only, and write a plain PEFT adapter.

    A training that was interrupted goes on in its folder and gives the weights of an uninterrupted
    one; a finished one is not repeated. Torch's, numpy's and Python's generators are left as found.

    Args:
        model: a folder, or what `training.base.base_of` takes.
        data: JSONL (`training.data`).
        out: folder to make.
        settings: what decides the weights.
        watch: what is looked at on the way.
        fresh: replace what training made in `out`, whatever it was.
        force: go on where the estimate of memory says no.
        progress: called after every step with (done, steps, loss).
        warn: called with every warning, one line each.

    Returns:
        `out`.

    Raises:
        DeltalensError: one line, before anything is loaded where that can be told.
    """
    places.require_ours(out)
    job = _prepared(model, data, settings or TrainSettings(), watch or Watch(), force=force)
    for line in _warnings(job):
        if warn is not None:
            warn(line)
    digest = sha256_json(job.identity)
    if places.is_finished(out, digest) and not fresh:
        return out
    prepare_folder(out.parent)
    with places.alone(out):
        work = places.claim(out, digest, fresh=fresh)
        record = _run(job, out, work, progress)
        write_document({"made_by": "deltalens.training.run.train"} | record, out / PROVENANCE)
        shutil.rmtree(work)
    return out


def _prepared(
    model: str, data: str | Path, settings: TrainSettings, watch: Watch, *, force: bool
) -> _Job:
    torch = require("torch", extra="models", purpose="training")
    require("accelerate", extra="models", purpose="training")
    conversations = read_conversations(data)
    base = base_of(model)
    tokenizer = loading.load_tokenizer(base.folder)
    made = outline(base)
    targets = made.targets(settings.targets)
    encoded = encode(conversations, tokenizer, max_length=settings.max_length)
    largest = max(max(example.ids) for example in encoded.examples)
    if largest >= made.vocabulary:
        raise OptionError(
            f"{shown(base.folder)}: its tokenizer gives token {largest}, and the model has 0 to "
            f"{made.vocabulary - 1}; the two do not belong together"
        )
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    dtype = settings.dtype or ("float32" if device == "cpu" else "bfloat16")
    settings = replace(settings, dtype=dtype)
    needed = memory.estimate(made, targets, settings, dtype=dtype, longest=encoded.longest)
    memory.require_room(needed, device, force=force)
    against = None if watch.against is None else load_adapter(watch.against)
    identity = _identity(base, conversations, settings, watch, against)
    return _Job(
        base, conversations, encoded, settings, watch, against, tokenizer, device, identity
    )


def _identity(
    base: Base,
    data: Conversations,
    settings: TrainSettings,
    watch: Watch,
    against: Adapter | None,
) -> dict[str, Any]:
    """What tells one training from another: the weights' settings, and what is kept of it."""
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


def _warnings(job: _Job) -> list[str]:
    encoded, data = job.encoded, job.data
    found: list[str] = []
    if data.passed_over:
        found.append(f"keys that are not read: {shown(', '.join(data.passed_over))}")
    if encoded.truncated:
        found.append(
            f"{encoded.truncated} of {len(encoded.examples)} rows are longer than "
            f"{job.settings.max_length} tokens (--max-length): their ends are not learnt"
        )
    if encoded.unended:
        found.append(
            f"the chat template ends {encoded.unended} answers with no special token: the model "
            "does not learn to stop there"
        )
    return found


def _run(job: _Job, out: Path, work: Path, progress: Progress | None) -> dict[str, Any]:
    """Train and write everything but the provenance, which is returned."""
    torch = require("torch", extra="models", purpose="training")
    from deltalens.training.trainer import AdapterTrainer, Ordered, answer_loss, arguments, collate

    settings = job.settings
    save_every = job.watch.save_every or max(1, math.ceil(job.steps / 10))
    assert settings.dtype is not None
    with borrowed_generators(), loading.quiet():
        loaded = loading.load(job.base.folder, dtype=settings.dtype, device=job.device)
        loaded.model.config.use_cache = False
        model = with_adapter(loaded.model, settings)
        write_tensors(initial_factors(adapter_state(model)), out / INITIAL)
        watching = _geometry(job)
        trainer = AdapterTrainer(
            model=model,
            args=arguments(
                settings, work, steps=job.steps, save_every=save_every,
                dtype=settings.dtype, device=job.device,
            ),
            train_dataset=Ordered(
                job.encoded.examples, settings.order(len(job.encoded.examples))
            ),
            data_collator=collate,
            compute_loss_func=answer_loss,
            callbacks=_callbacks(job, out, watching, progress),
        )  # fmt: skip
        trainer.remove_callback(require("transformers", extra="models", purpose="training").PrinterCallback)
        going_on = places.last_whole(work)
        try:
            trainer.train(resume_from_checkpoint=None if going_on is None else str(going_on))
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"memory ran out on {job.device}: a smaller --batch-size or --max-length needs less"
            ) from error
        write_adapter(model, job.base.name, out)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if watching is not None:
        _write_geometry(watching, losses, job, out)
    return _record(job, out, losses)


def _geometry(job: _Job) -> GeometryCallback | None:
    if job.watch.geometry_every is None:
        return None
    from deltalens.training.callback import GeometryCallback

    return GeometryCallback(job.watch.geometry_every, against=job.against)


def _callbacks(
    job: _Job, out: Path, watching: GeometryCallback | None, progress: Progress | None
) -> list[Any]:
    """In order: a checkpoint is marked as whole when everybody has written."""
    from deltalens.training.events import Keep, Watchful

    keep = job.watch.keep_every
    kept = [] if keep is None else [Keep(keep, job.base.name, out)]
    return [*([] if watching is None else [watching]), *kept, Watchful(progress)]


def _write_geometry(
    watching: GeometryCallback, losses: list[float], job: _Job, out: Path
) -> None:
    document = watching.document() | {"losses": losses}
    result = Result(
        "training", document, {"geometry": watching.modules}, {"training": job.identity}
    )
    write_tables(result, out)
    write_document(document, out / places.GEOMETRY)


def _record(job: _Job, out: Path, losses: list[float]) -> dict[str, Any]:
    from importlib.metadata import version

    encoded, data = job.encoded, job.data
    order = job.settings.order(len(encoded.examples))
    learnt = np.array([sum(example.learnt) for example in encoded.examples])
    return {
        "name": out.name,
        "digest": sha256_json(job.identity),
        **job.identity,
        "data": job.identity["data"]
        | {
            "rows": len(data.rows),
            "tokens": sum(len(example.ids) for example in encoded.examples),
            "tokens_learnt": encoded.learnt,
            "truncated_rows": encoded.truncated,
            "keys_not_read": list(data.passed_over),
        },
        "settings": asdict(job.settings),
        "steps": job.steps,
        "rows_seen": len(order),
        "tokens_learnt_from": int(learnt[order].sum()),
        "device": job.device,
        "files": file_records(out, _FILES),
        "versions": versions() | {"accelerate": version("accelerate")},
        "losses": [round(loss, 6) for loss in losses],
    }


@contextmanager
def borrowed_generators() -> Generator[None]:
    """Torch's, numpy's and Python's global generators are afterwards as they were before."""
    torch = require("torch", extra="models", purpose="training")
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - given back, not used
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
