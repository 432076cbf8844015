"""`deltalens train --data FILE.jsonl`: a chat model is fine-tuned on conversations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltalens.cli.screen import step_line, warning
from deltalens.core.text import shown
from deltalens.errors import OptionError, TrainingDataError


def train_chat(
    model: str,
    data: str,
    out: Path,
    settings: Mapping[str, Any],
    watch: Mapping[str, Any],
    *,
    fresh: bool,
    force: bool,
) -> int:
    """Train with the options that were given and the defaults for the others."""
    from deltalens.training.run import Watch, train
    from deltalens.training.settings import TrainSettings

    _require_a_chat_model(model, data)
    given = {name: value for name, value in settings.items() if value is not None}
    if "steps" in given and "epochs" in given:
        raise OptionError("--steps and --epochs both say how long; one is allowed")
    if "targets" in given:
        given["targets"] = tuple(name.strip() for name in given["targets"].split(","))
    train(
        model,
        data,
        out,
        TrainSettings(**given),
        watch=Watch(**watch),
        fresh=fresh,
        force=force,
        progress=step_line,
        warn=warning,
    )
    if watch["geometry_every"] is not None:
        draw(out)
    print(out)
    return 0


def _require_a_chat_model(model: str, data: str) -> None:
    """The default of --model is a toy, which cannot read a user's text."""
    from deltalens.io.strict_json import require_regular_file
    from deltalens.organisms.base import SHIPPED

    require_regular_file(Path(data), TrainingDataError)
    if model in SHIPPED:
        raise OptionError(
            f"--data {shown(data, 80)}: a JSONL file needs --model DIR or hf:owner/name; "
            f"{model} (the default is toy) reads symbols, no text"
        )


def draw(out: Path) -> None:
    """The figure of a watched training, from its `geometry.json`."""
    from deltalens.figures import TrainingCurves, save, training_figure
    from deltalens.training.folder import FIGURE, GEOMETRY

    document = json.loads((out / GEOMETRY).read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = document["steps"]
    measures = ("norm", "turn_previous", "turn_first", "cosine_A_initial")
    shared = ("overlap_input", "overlap_output", "chance_input", "chance_output", "cosine_against")
    named = measures if document["against"] is None else (*measures, *shared)
    curves = {name: tuple(row[name] for row in rows) for name in named}
    compared = "" if document["against"] is None else f", compared with {document['against']}"
    figure = training_figure(
        TrainingCurves(
            losses=tuple(document["losses"]),
            steps=tuple(row["step"] for row in rows),
            against=document["against"],
            small_print=f"k = {document['k']}{compared}; {document['note']}",
            **curves,
        )
    )
    save(figure, out, FIGURE)
