"""A whole fine-tune: from conversations and a model's folder to a plain PEFT adapter."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deltalens._extras import require
from deltalens.core.result import Result
from deltalens.errors import TrainingError
from deltalens.io.results import prepare_folder, write_document, write_tables
from deltalens.models import load as loading
from deltalens.organisms.files import PROVENANCE
from deltalens.training import folder as places
from deltalens.training.base import Base, base_of
from deltalens.training.data import Conversations, read_conversations
from deltalens.training.job import Job, Watch, prepare, record
from deltalens.training.lora import (
    INITIAL,
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
_PURPOSE = "training"


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
    # torch and transformers take seconds to import: what can be told without them comes first.
    places.require_ours(out)
    conversations = read_conversations(data)
    base = base_of(model)
    with borrowed_generators():
        return _train(
            base, conversations, out, settings or TrainSettings(), watch or Watch(),
            fresh=fresh, force=force, progress=progress, warn=warn,
        )  # fmt: skip


def _train(
    base: Base,
    conversations: Conversations,
    out: Path,
    settings: TrainSettings,
    watch: Watch,
    *,
    fresh: bool,
    force: bool,
    progress: Progress | None,
    warn: Warn | None,
) -> Path:
    job = prepare(base, conversations, settings, watch, out=out, fresh=fresh, force=force)
    if warn is not None:
        for line in job.warnings:
            warn(line)
    if places.is_finished(out, job.digest) and not fresh:
        return out
    prepare_folder(out.parent)
    with places.alone(out):
        work = places.claim(out, job.told, fresh=fresh)
        with places.unclaimed_on_failure(out):
            losses = _run(job, out, work, progress)
            write_document(record(job, out, losses), out / PROVENANCE)
        shutil.rmtree(work)
    return out


def _run(job: Job, out: Path, work: Path, progress: Progress | None) -> list[float]:
    """Train and write everything but the provenance; the loss of every step."""
    torch = require("torch", extra="models", purpose=_PURPOSE)
    with loading.quiet():
        loaded = loading.load(job.base.folder, dtype=job.settings.dtype, device=job.device)
        loaded.model.config.use_cache = False
        model = with_adapter(loaded.model, job.settings)
        write_tensors(initial_factors(adapter_state(model)), out / INITIAL)
        watching = _geometry(job)
        trainer = _trainer(job, model, work, _callbacks(job, out, watching, progress))
        going_on = places.last_whole(work)
        try:
            trainer.train(resume_from_checkpoint=None if going_on is None else str(going_on))
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(
                f"memory ran out on {job.device}; a smaller --batch-size, --max-length or --rank "
                "needs less"
            ) from error
        write_adapter(model, job.base.name, out)
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    if watching is not None:
        _write_geometry(watching, losses, job, out)
    return losses


def _trainer(job: Job, model: Any, work: Path, callbacks: list[Any]) -> Any:
    from deltalens.training.trainer import AdapterTrainer, Ordered, answer_loss, arguments, collate

    transformers = require("transformers", extra="models", purpose=_PURPOSE)
    examples = job.encoded.examples
    made: Any = AdapterTrainer(
        model=model,
        args=arguments(
            job.settings,
            work,
            steps=job.steps,
            save_every=job.watch.save_every or max(1, math.ceil(job.steps / 10)),
            device=job.device,
        ),
        train_dataset=Ordered(examples, job.settings.order(len(examples))),
        data_collator=collate,
        compute_loss_func=answer_loss,
        callbacks=callbacks,
    )
    made.remove_callback(transformers.PrinterCallback)  # it prints every step
    return made


def _geometry(job: Job) -> GeometryCallback | None:
    if job.watch.geometry_every is None:
        return None
    from deltalens.training.callback import GeometryCallback

    return GeometryCallback(job.watch.geometry_every, against=job.against)


def _callbacks(
    job: Job, out: Path, watching: GeometryCallback | None, progress: Progress | None
) -> list[Any]:
    """In order: a checkpoint is marked as whole when everybody has written."""
    from deltalens.training.events import Keep, Watchful

    keep = job.watch.keep_every
    kept = [] if keep is None else [Keep(keep, job.base.name, out)]
    return [*([] if watching is None else [watching]), *kept, Watchful(progress)]


def _write_geometry(watching: GeometryCallback, losses: list[float], job: Job, out: Path) -> None:
    document = watching.document() | {"losses": losses}
    tables = {"geometry": watching.modules}
    write_tables(Result("training", document, tables, {"training": job.identity}), out)
    write_document(document, out / places.GEOMETRY)


@contextmanager
def borrowed_generators() -> Generator[None]:
    """Torch's, numpy's and Python's global generators are afterwards as they were before."""
    torch = require("torch", extra="models", purpose=_PURPOSE)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - given back, not used
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
