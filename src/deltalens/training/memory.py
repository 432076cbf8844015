"""How much memory a fine-tune takes, estimated before anything is loaded.

    weights      parameters x bytes of the base's type
    optimiser    16 bytes a trained number: weight, gradient and AdamW's two moments in float32
    activations  tokens of a batch x (what the linear modules read and write, at the base's type,
                 what adapters read, in float32, and three float32 rows of the vocabulary),
                 and a quarter more

Attention is taken as fused (no square of the length). The quarter is measured: on SmolLM2-135M
the peak without it was 1.14 to 1.21 times as high (docs/training.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.errors import OptionError
from deltalens.training.base import Outline
from deltalens.training.settings import TrainSettings

_MIB, _GIB = 2**20, 2**30
_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes, by what they are for."""

    weights: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.optimiser + self.activations


def estimate(
    outline: Outline,
    targets: Mapping[str, tuple[int, int]],
    settings: TrainSettings,
    *,
    dtype: str,
    longest: int,
) -> Estimate:
    """Memory of one forward and backward pass at the longest row, and of what stays."""
    size = _BYTES[dtype]
    tokens = settings.batch_size * longest
    trained = settings.rank * sum(out + in_ for out, in_ in targets.values())
    passed = size * sum(out + in_ for out, in_ in outline.linear.values())
    read = 4 * sum(in_ for _, in_ in targets.values())
    head = 12 * outline.vocabulary
    activations = tokens * (passed + read + head) * 5 // 4
    return Estimate(outline.parameters * size, 16 * trained, activations)


def require_room(found: Estimate, device: Any, *, force: bool) -> None:
    """Refuse a training that does not fit, before it is begun.

    Raises:
        OptionError: with the numbers, and what makes them smaller.
    """
    free = free_bytes(device)
    if force or free is None or found.total <= free:
        return
    place = "memory" if str(device) == "cpu" else f"memory of {device}"
    raise OptionError(
        f"about {_size(found.total)} are needed (weights {_size(found.weights)}, adapter and "
        f"optimiser {_size(found.optimiser)}, activations {_size(found.activations)}), and "
        f"{_size(free)} of {place} are free; a smaller --batch-size, --max-length or --rank, or "
        "--dtype bfloat16, needs less, and --force tries all the same"
    )


def free_bytes(device: Any) -> int | None:
    """Free bytes of a device, or of this machine for `cpu`; None where that is not known."""
    if str(device) != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    known = [value for value in (_machine(), _group()) if value is not None]
    return min(known) if known else None


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _group() -> int | None:
    """What a container's limit leaves."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return limit - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such limit, or "max"
        return None


def _size(n: int) -> str:
    return f"{n / _GIB:.1f} GiB" if n >= 0.1 * _GIB else f"{n / _MIB:.1f} MiB"
