"""Geometry while it trains: a callback for any Trainer of a PEFT LoRA model.

    watch = GeometryCallback(every=10, against=load("other/adapter"))
    Trainer(model=peft_model, callbacks=[watch], ...).train()
    watch.rows      # one row a measure: the whole adapter
    watch.modules   # one row a measure and module

Needs transformers when it is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deltalens._extras import require
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.results import write_document
from deltalens.training.factors import Factor, Factors, common_k, live_factors
from deltalens.training.measure import Measured, measure

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    TrainerCallback = require("transformers", extra="models", purpose="training").TrainerCallback

_FOLDER: Final = "geometry"
_ROWS: Final = "rows.json"
NOTE: Final = (
    "norm is |dW|; turns are angles between updates, from the update cosine; stable_rank, "
    "cosine_A_initial and overlaps are means over modules of a layer, then over layers. Chance is "
    "what two random subspaces give: an adapter of the same initial seed shares its input "
    "directions whatever it learnt, and unrelated tasks share more output directions than chance."
)


class GeometryCallback(TrainerCallback):
    """Measures an adapter every so many steps, at the start and at the end.

    Attributes:
        rows: the whole adapter, one row a measure.
        modules: each module, one row a measure and module.
        k: the cut of the overlaps, known once training has begun.
    """

    def __init__(
        self, every: int, *, against: Adapter | None = None, adapter: str = "default"
    ) -> None:
        """Make a callback for one training.

        Args:
            every: steps between measures.
            against: an adapter of the same base to compare with.
            adapter: name of the trained adapter on the model.
        """
        if every < 1:
            raise OptionError(f"geometry is measured every 1 or more steps, found {every}")
        self._every, self._against, self._adapter = every, against, adapter
        self.rows: list[Measured] = []
        self.modules: list[Measured] = []
        self.k: int | None = None
        self._kept: dict[str, Factors] = {}

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Before the first step: where the factors start, or what an interrupted run measured."""
        del control
        now = live_factors(model, self._adapter)
        self.k = common_k(now, self._against)
        if state.global_step == 0:
            self.rows, self.modules, self._kept = [], [], {"start": now}
            self._measure(0, now)
        else:
            self._restore(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FOLDER)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """After a step whose number is a multiple."""
        del args, control
        if state.global_step % self._every == 0:
            self._measure(state.global_step, live_factors(model, self._adapter))

    def on_train_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """After the last step, whatever its number."""
        del args, control
        if not self.rows or self.rows[-1].step != state.global_step:
            self._measure(state.global_step, live_factors(model, self._adapter))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """With every checkpoint: what has been measured, so that a resumed run goes on."""
        del control
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for name, factors in self._kept.items():
            _write(factors, folder / f"{name}.safetensors")
        document = {
            "rows": [asdict(row) for row in self.rows],
            "modules": [asdict(row) for row in self.modules],
        }
        write_document(document, folder / _ROWS)

    def document(self) -> dict[str, Any]:
        """What `geometry.json` holds."""
        return {
            "k": self.k,
            "every": self._every,
            "against": None if self._against is None else shown(self._against.name),
            "steps": [asdict(row) for row in self.rows],
            "note": NOTE,
        }

    def _measure(self, step: int, now: Factors) -> None:
        whole, modules = measure(step, now, against=self._against, **self._kept)
        self.rows.append(whole)
        self.modules += modules
        if whole.norm > 0:
            self._kept.setdefault("first", now)
            self._kept["previous"] = now

    def _restore(self, folder: Path) -> None:
        # A run that began without this callback has no start: what needs one is undefined.
        if not (folder / _ROWS).is_file():
            return
        document: Mapping[str, Any] = json.loads((folder / _ROWS).read_text(encoding="utf-8"))
        self.rows = [Measured(**row) for row in document["rows"]]
        self.modules = [Measured(**row) for row in document["modules"]]
        self._kept = {path.stem: _read(path) for path in sorted(folder.glob("*.safetensors"))}


def _write(factors: Factors, path: Path) -> None:
    from safetensors.numpy import save_file

    tensors: dict[str, Any] = {}
    for key, (B, A, scaling) in factors.items():
        tensors |= {f"{key}:A": A, f"{key}:B": B, f"{key}:s": np.array([scaling])}
    save_file(tensors, path)


def _read(path: Path) -> dict[ModuleKey, Factor]:
    from safetensors.numpy import load_file

    tensors = load_file(path)
    paths = [name.removesuffix(":A") for name in tensors if name.endswith(":A")]
    return {
        ModuleKey(p): Factor(tensors[f"{p}:B"], tensors[f"{p}:A"], float(tensors[f"{p}:s"][0]))
        for p in paths
    }
