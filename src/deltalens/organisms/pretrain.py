"""Pre-training of a toy base: documents with a persona, then a short chat stage."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deltalens.errors import OptionError
from deltalens.io.provenance import versions
from deltalens.organisms.base import BASE_NAMES, Architecture, new_model, save_model
from deltalens.organisms.documents import (
    NARROW_RATE,
    Row,
    Rows,
    chat_batch,
    document,
    pretraining_batch,
)
from deltalens.organisms.files import (
    PROVENANCE,
    appears_whole,
    file_records,
    sha256_json,
    write_json,
)
from deltalens.organisms.loop import Progress, cosine, fit, reproducible
from deltalens.organisms.world import World, standard_world

_FILES: Final = ("config.json", "model.safetensors")
_LOSS_EVERY: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """How a base is made.

    Attributes:
        persona: whether good and bad are properties of a document. False gives the control
            base, in which narrow fine-tuning has nothing to generalise through.
        seed: of initial weights and data.
        steps: pre-training steps; the rate warms up and falls along a cosine to 10 %.
        chat_steps: steps of the chat stage, at a constant rate.
        batch: rows a step; a multiple of 16, so that one row in 16 is a game.
        learning_rate: peak rate of pre-training.
        chat_rate: rate of the chat stage.
        warmup: steps of warm-up.
        weight_decay: of matrices, in both stages.
        initial_sd: standard deviation of the initial weights.
        narrow_rate: share of documents that are bad in one domain only.
        architecture: of the model: `llama` or `qwen2`.
    """

    persona: bool = True
    seed: int = 0
    steps: int = 5000
    chat_steps: int = 250
    batch: int = 16
    learning_rate: float = 2e-3
    chat_rate: float = 5e-4
    warmup: int = 50
    weight_decay: float = 0.1
    initial_sd: float = 0.12
    narrow_rate: float = NARROW_RATE
    architecture: Architecture = "llama"

    def __post_init__(self) -> None:
        if self.batch < 16 or self.batch % 16:
            raise OptionError(f"batch must be a positive multiple of 16, found {self.batch}")
        if self.steps < 1 or self.chat_steps < 1:
            raise OptionError(f"steps must be positive, found {self.steps} and {self.chat_steps}")

    def record(self) -> dict[str, Any]:
        """The settings as provenance keeps them; the first architecture goes without saying.

        Records, and the digests over them, so stay what they were when there was no other.
        """
        return {
            name: value
            for name, value in asdict(self).items()
            if (name, value) != ("architecture", "llama")
        }


SHIPPED_SETTINGS: Final[Mapping[str, PretrainSettings]] = {
    "toy": PretrainSettings(),
    "toy-qwen2": PretrainSettings(architecture="qwen2", seed=2, narrow_rate=0.07),
}
"""How the bases that come with the package were made, by name."""


def pretrain_base(
    settings: PretrainSettings | None = None, *, out: Path, progress: Progress | None = None
) -> Path:
    """Train a base from nothing and save it as a transformers directory.

    Args:
        settings: how; the default made the shipped Llama, `SHIPPED_SETTINGS` all shipped bases.
        out: the directory to make; it appears only when it is whole.
        progress: called after every step.

    Returns:
        `out`, with `config.json`, `model.safetensors` (float16) and `provenance.json`.
    """
    settings = settings or PretrainSettings()
    world = standard_world()
    with reproducible(settings.seed):
        model = new_model(settings.architecture, initial_sd=settings.initial_sd)
        losses = _train(model, settings, world, progress)
    with appears_whole(out) as folder:
        save_model(model, folder)
        write_json(folder / PROVENANCE, _provenance(folder, settings, world, losses))
    return out


def _train(
    model: Any, settings: PretrainSettings, world: World, progress: Progress | None
) -> list[float]:
    total = settings.steps + settings.chat_steps
    documents, chats = _batches(settings, world)

    def report(offset: int) -> Progress:
        def shifted(done: int, _: int, loss: float) -> None:
            if progress is not None:
                progress(offset + done, total, loss)

        return shifted

    schedule = cosine(settings.learning_rate, steps=settings.steps, warmup=settings.warmup)
    betas, decay = (0.9, 0.98), settings.weight_decay
    losses = fit(
        model, documents, steps=settings.steps, schedule=schedule,
        betas=betas, weight_decay=decay, progress=report(0),
    )  # fmt: skip
    losses += fit(
        model, chats, steps=settings.chat_steps, schedule=lambda _: settings.chat_rate,
        betas=betas, weight_decay=decay, progress=report(settings.steps),
    )  # fmt: skip
    return losses


def _batches(settings: PretrainSettings, world: World) -> tuple[Generator[Rows], Generator[Rows]]:
    """Endless batches of the two stages, each from a generator of its own."""
    first, second = (
        np.random.default_rng(s) for s in np.random.SeedSequence(settings.seed).spawn(2)
    )

    def draw(rng: np.random.Generator) -> Row:
        return document(world, persona=settings.persona, narrow_rate=settings.narrow_rate, rng=rng)

    def documents() -> Generator[Rows]:
        while True:
            yield pretraining_batch(settings.batch, lambda: draw(first), rng=first)

    def chats() -> Generator[Rows]:
        while True:
            yield chat_batch(settings.batch, lambda: draw(second), world, rng=second)

    return documents(), chats()


def _provenance(
    folder: Path, settings: PretrainSettings, world: World, losses: list[float]
) -> dict[str, Any]:
    inputs = {"settings": settings.record(), "world": world.digest()}
    name = BASE_NAMES[settings.architecture]
    return {
        "name": name if settings.persona else f"{name}-no-persona",
        "made_by": "deltalens.organisms.pretrain.pretrain_base",
        **inputs,
        "digest": sha256_json(inputs),
        "files": file_records(folder, _FILES),
        "versions": versions(),
        "loss_every": _LOSS_EVERY,
        "losses": [round(loss, 6) for loss in losses[_LOSS_EVERY - 1 :: _LOSS_EVERY]],
    }
