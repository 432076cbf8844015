"""`deltalens train`: fine-tune a chat model or an organism, or make a toy base again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deltalens.cli.screen import step_line
from deltalens.core.text import shown
from deltalens.errors import OptionError, OutputError
from deltalens.io.results import prepare_folder

if TYPE_CHECKING:
    from deltalens.organisms.kinds import Kind
    from deltalens.organisms.pretrain import PretrainSettings
    from deltalens.organisms.spec import OrganismSpec


def command(
    out: Path = typer.Option(..., help="Folder to make."),
    model: str = typer.Option(
        "toy", help="A chat model's folder, hf:owner/name, 'toy', 'toy-qwen2', or a toy's folder."
    ),
    data: str | None = typer.Option(
        None, help="A JSONL file of conversations, or toy:KIND[-DOMAIN]: toy:bad-gardening."
    ),
    init_seed: int | None = typer.Option(
        None, help="Seed of the initial lora_A, and of nothing else; 0 by default."
    ),
    data_seed: int = typer.Option(0, help="Seed of the data's order, and of nothing else."),
    steps: int | None = typer.Option(
        None, help="Optimiser steps; by default the toy's recipe, or --epochs passes."
    ),
    epochs: int | None = typer.Option(None, help="Passes over the file; 1 by default."),
    rank: int | None = typer.Option(None, help="r of the adapter; 32 by default."),
    alpha: int | None = typer.Option(
        None, help="Scaling is alpha / sqrt(rank) (rsLoRA); 64 by default."
    ),
    targets: str | None = typer.Option(
        None, help="Names of modules, with commas, or all-linear; the seven projections by default."
    ),
    learning_rate: float | None = typer.Option(None, help="The peak; 1e-5 by default."),
    warmup: int | None = typer.Option(None, help="Steps of warm-up; 5 by default."),
    batch_size: int | None = typer.Option(None, help="Rows of a forward pass; 2 by default."),
    accumulation: int | None = typer.Option(None, help="Forward passes a step; 8 by default."),
    max_length: int | None = typer.Option(None, help="Most tokens of a row; 2048 by default."),
    dtype: str | None = typer.Option(
        None, help="Of the base: float32 (default on a CPU) or bfloat16 (elsewhere)."
    ),
    geometry_every: int | None = typer.Option(
        None, metavar="N", help="Measure the update's geometry every N steps."
    ),
    against: Path | None = typer.Option(
        None, metavar="ADAPTER", help="Measure the overlap with this adapter, too."
    ),
    keep_checkpoints: int | None = typer.Option(
        None, metavar="N", help="Keep a plain PEFT adapter every N steps."
    ),
    force: bool = typer.Option(
        False, "--force", help="Go on where the estimate of memory says that it does not fit."
    ),
    fresh: bool = typer.Option(
        False, "--fresh", help="Replace what training made in --out, whatever it was."
    ),
    rebuild_base: bool = typer.Option(
        False,
        "--rebuild-base",
        help="Train no adapter: pre-train the toy that --model names from nothing and write it to "
        "--out (minutes). With --init-seed, a toy of another start.",
    ),
) -> int:
    """Fine-tune with real PEFT and write an ordinary adapter folder with its provenance."""
    settings = {
        "steps": steps, "epochs": epochs, "rank": rank, "alpha": alpha, "targets": targets,
        "learning_rate": learning_rate, "warmup": warmup, "batch_size": batch_size,
        "accumulation": accumulation, "max_length": max_length, "dtype": dtype,
    }  # fmt: skip
    watch = {
        "geometry_every": geometry_every, "against": against, "keep_every": keep_checkpoints,
    }  # fmt: skip
    if data is not None and not data.startswith("toy:") and not rebuild_base:
        from deltalens.cli.train_chat import train_chat

        seeds = {"init_seed": init_seed, "data_seed": data_seed}
        return train_chat(model, data, out, settings | seeds, watch, fresh=fresh, force=force)
    _require_none(watch | {**settings, "steps": None, "force": force or None})
    _require_ours(out)
    if rebuild_base:
        if data is not None:
            raise OptionError("--rebuild-base takes no --data; it makes the base from nothing")
        from deltalens.organisms.pretrain import pretrain_base

        pretraining = _settings(model, init_seed)
        prepare_folder(out.parent)
        print(pretrain_base(pretraining, out=out, progress=step_line))
        return 0
    from deltalens.organisms.spec import OrganismSpec
    from deltalens.organisms.train import train_organism
    from deltalens.studies.compare.study import base_folder

    kind, domain = _task(data)
    spec = OrganismSpec(kind=kind, domain=domain, init_seed=init_seed or 0, data_seed=data_seed)
    if steps is not None:
        spec = replace(spec, steps=steps)
    base = base_folder(model)
    _require_the_same(out, spec, base, fresh=fresh)
    prepare_folder(out.parent)
    print(train_organism(spec, base=base, out=out, progress=step_line))
    return 0


def _require_none(given: Mapping[str, object]) -> None:
    """An organism's recipe is one of the things that are held fixed."""
    for name, value in given.items():
        if value is not None:
            option = {"keep_every": "keep-checkpoints"}.get(name, name).replace("_", "-")
            raise OptionError(
                f"--{option} is for --data FILE.jsonl; an organism's recipe is fixed (--steps, "
                "--init-seed and --data-seed vary it)"
            )


def _settings(model: str, seed: int | None) -> PretrainSettings:
    """How the named base was made; with a seed, how another of its kind is."""
    from deltalens.organisms.pretrain import SHIPPED_SETTINGS

    if model not in SHIPPED_SETTINGS:
        raise OptionError(
            f"--rebuild-base makes {' or '.join(SHIPPED_SETTINGS)}; "
            f"found --model {shown(model, 80)!r}"
        )
    settings = SHIPPED_SETTINGS[model]
    return settings if seed is None else replace(settings, seed=seed)


def _task(data: str | None) -> tuple[Kind, int | None]:
    from deltalens.organisms.kinds import KINDS
    from deltalens.organisms.vocabulary import DOMAINS

    allowed = (
        f"toy:KIND-DOMAIN with KIND one of {', '.join(KINDS)} and DOMAIN one of "
        f"{', '.join(DOMAINS)}; game has no domain; or a JSONL file"
    )
    if data is None:
        raise OptionError(f"--data is missing; allowed is {allowed}")
    name, _, domain = data.removeprefix("toy:").partition("-")
    kind: Kind | None = next((k for k in KINDS if k == name), None)
    if kind is None or (domain and domain not in DOMAINS) or (kind == "game") == bool(domain):
        raise OptionError(f"--data {shown(data, 80)!r}; allowed is {allowed}")
    return kind, DOMAINS.index(domain) if domain else None


def _require_ours(out: Path) -> None:
    """A folder that training may replace: absent, empty, or made by training."""
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{shown(out)}: is a file; --out names a folder")
    if any(out.iterdir()) and not _made_here(out / "provenance.json"):
        raise OutputError(
            f"{shown(out)}: is not empty and was not made by deltalens train; "
            "--out names a new folder"
        )


def _require_the_same(out: Path, spec: OrganismSpec, base: Path, *, fresh: bool) -> None:
    """Training may be repeated in its folder; another training needs a word from the user."""
    if fresh or not out.exists() or not any(out.iterdir()):
        return
    from deltalens.organisms.base import base_digest
    from deltalens.organisms.files import require_same
    from deltalens.organisms.toys import toy_name

    held = json.loads((out / "provenance.json").read_text())
    digest = base_digest(base)
    of = {"name": toy_name(base), "sha256": digest}
    require_same(out, held, {"digest": spec.digest(digest), "base": of, "spec": asdict(spec)})


def _made_here(record: Path) -> bool:
    try:
        return str(json.loads(record.read_text())["made_by"]).startswith("deltalens.")
    except (OSError, ValueError, KeyError, TypeError):
        return False
