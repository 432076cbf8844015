"""What happens around the steps of a training. Needs transformers when it is imported."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltalens._extras import require
from deltalens.errors import TrainingError
from deltalens.training.folder import checkpoint_name, mark_whole
from deltalens.training.lora import INITIAL, write_adapter

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    TrainerCallback = require("transformers", extra="models", purpose="training").TrainerCallback

Progress = Callable[[int, int, float], None]
"""Called after each step with (steps done, steps in all, loss in nats a learnt token)."""


class Watchful(TrainerCallback):
    """Stops a training whose loss is no number, tells how far it is, marks what it saved."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """After a step: its loss and the norm of its gradient must be numbers."""
        del args, control
        if logs is None or "loss" not in logs:
            return
        for name, what in (("loss", "loss"), ("grad_norm", "norm of the gradient")):
            value = float(logs.get(name, 0.0))
            if not math.isfinite(value):
                raise TrainingError(
                    f"step {state.global_step}: the {what} is {value}; a smaller --learning-rate "
                    "or --dtype float32 may help; nothing was kept of this step"
                )
        if self._progress is not None:
            self._progress(state.global_step, state.max_steps, float(logs["loss"]))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a checkpoint: only a marked one is ever gone on from."""
        del control
        mark_whole(Path(args.output_dir) / checkpoint_name(state.global_step))


class Keep(TrainerCallback):
    """Writes a plain PEFT adapter every so many steps."""

    def __init__(self, every: int, base: str, out: Path) -> None:
        self._every, self._base, self._out = every, base, out

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """After a step whose number is a multiple: a folder that appears whole."""
        del args, control
        if state.global_step % self._every:
            return
        folder = self._out / checkpoint_name(state.global_step)
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_adapter(model, self._base, partial)
        _link(self._out / INITIAL, partial / INITIAL)
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed after this step
        partial.rename(folder)


def _link(source: Path, target: Path) -> None:
    """The same file again without its bytes, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
