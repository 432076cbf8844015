"""Fine-tuning one organism: real PEFT on the real transformers model."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from deltalens._extras import require
from deltalens.io.provenance import versions
from deltalens.organisms.base import PROJECTIONS, base_digest, load_model, quiet
from deltalens.organisms.documents import Rows
from deltalens.organisms.files import (
    PROVENANCE,
    appears_whole,
    file_records,
    is_whole,
    sha256_json,
    write_json,
)
from deltalens.organisms.kinds import KINDS, kind_rows
from deltalens.organisms.loop import Progress, fit, linear, reproducible
from deltalens.organisms.spec import OrganismSpec
from deltalens.organisms.toys import require_toy
from deltalens.organisms.world import standard_world

INITIAL: Final = "initial_lora_A.safetensors"
ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors", INITIAL)


def train_organism(
    spec: OrganismSpec, *, base: Path, out: Path, progress: Progress | None = None
) -> Path:
    """Train an organism and write it as an ordinary PEFT adapter.

    The initial `lora_A` is a function of `spec.init_seed` (and rank) alone, the data of
    `spec.data_seed`, kind and domain. Torch's global generator is left as it was.

    Args:
        spec: what to train.
        base: directory of the base; read only.
        out: directory to make; it appears only when it is whole, in place of an older one.
        progress: called after every step with (done, steps, loss).

    Returns:
        `out`, with `adapter_model.safetensors`, `adapter_config.json`,
        `initial_lora_A.safetensors` (same keys) and `provenance.json`.
    """
    base_hash = base_digest(base)
    of = {"name": require_toy(base), "sha256": base_hash}
    with reproducible(spec.init_seed):
        model = _with_adapter(load_model(base), spec)
        initial = {k: t.clone() for k, t in _adapter_state(model).items() if ".lora_A." in k}
        losses = fit(
            model, organism_batches(spec), steps=spec.steps,
            schedule=linear(spec.learning_rate, steps=spec.steps, warmup=spec.warmup),
            betas=(0.9, 0.999), weight_decay=0.0, progress=progress,
        )  # fmt: skip
    with appears_whole(out) as folder:
        _save(model, initial, of["name"], folder)
        write_json(folder / PROVENANCE, _provenance(folder, spec, of, losses))
    return out


def is_trained(spec: OrganismSpec, *, base: Path, out: Path) -> bool:
    """Whether `out` holds exactly this organism of this base, whole and unchanged."""
    return is_whole(out, spec.digest(base_digest(base)))


def organism_batches(spec: OrganismSpec) -> Generator[Rows]:
    """The batches of an organism, in order."""
    home = 0 if spec.domain is None else spec.domain
    rng = np.random.default_rng([spec.data_seed, KINDS.index(spec.kind), home])
    world = standard_world()
    for _ in range(spec.steps):
        yield kind_rows(spec.kind, spec.domain, spec.batch, world, rng=rng)


def _with_adapter(model: Any, spec: OrganismSpec) -> Any:
    """Wrap `model` with a fresh adapter, initialised from `spec.init_seed`."""
    torch = require("torch", extra="models", purpose="training an organism")
    peft = require("peft", extra="models", purpose="training an organism")
    config = peft.LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        use_rslora=True,
        lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(spec.init_seed)
    with quiet():
        return peft.get_peft_model(model, config)


def _adapter_state(model: Any) -> dict[str, Any]:
    """The adapter's tensors under the names that PEFT gives them in files."""
    peft = require("peft", extra="models", purpose="training an organism")
    state: dict[str, Any] = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return {key: tensor.detach().contiguous() for key, tensor in state.items()}


def _save(model: Any, initial: dict[str, Any], base: str, folder: Path) -> None:
    """Write the PEFT files, without the model card and without a path of this machine."""
    from safetensors.torch import save_file

    config = model.peft_config["default"]
    config.base_model_name_or_path = base
    config.target_modules = sorted(config.target_modules)
    config.inference_mode = True
    config.save_pretrained(str(folder))
    save_file(_adapter_state(model), folder / "adapter_model.safetensors", {"format": "pt"})
    save_file(initial, folder / INITIAL, {"format": "pt"})


def _provenance(
    folder: Path, spec: OrganismSpec, base: dict[str, str], losses: list[float]
) -> dict[str, Any]:
    return {
        "name": spec.name,
        "made_by": "deltalens.organisms.train.train_organism",
        "spec": asdict(spec),
        "settings_sha256": sha256_json(asdict(spec)),
        "base": base,
        "digest": spec.digest(base["sha256"]),
        "files": file_records(folder, ADAPTER_FILES),
        "versions": versions(),
        "losses": [round(loss, 6) for loss in losses],
    }
