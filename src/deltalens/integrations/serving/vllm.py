"""vLLM: what it can serve of an adapter, and the command that serves it.

Read in vLLM's source (`vllm/lora/peft_helper.py`, `lora_model.py`, `vllm/config/lora.py`, 0.26):

- a whole adapter has one scaling, `lora_alpha / r`, with rsLoRA `lora_alpha / sqrt(r)`;
  `rank_pattern` and `alpha_pattern` are not read. So every module is written at the point's
  largest rank, filled up with zeros, with `lora_alpha = r` and the true scaling in B.
- `--max-lora-rank` takes a few values; memory for that rank is set aside for every module.
- `modules_to_save`, DoRA and trained biases are refused when the adapter is loaded.
- factors are cast to the model's type, which is bf16 for most models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import OptionError, UnsupportedAdapterError
from deltalens.integrations.serving.manifest import ServedPoint
from deltalens.integrations.serving.server import Planned, Server
from deltalens.io.export_format import Format, Ranks
from deltalens.io.write import FORMAT, written_ranks

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` takes; 1 as well since 0.11, which older versions refuse."""

EMBEDDINGS = frozenset(["embed_tokens", "wte", "wpe", "embed_in", "word_embeddings"])


def _require(planned: Planned) -> None:
    """Refuse what vLLM would, before anything is written.

    Raises:
        UnsupportedAdapterError: naming the module and why.
        OptionError: if a rank is over the largest that vLLM takes.
    """
    for end in planned.ends:
        for path in end.biases:
            raise UnsupportedAdapterError(
                f"{shown(end.name)}: trains the bias of {shown(path)}, which vLLM does not serve; "
                "LoRA on linear layers is served"
            )
    for point in planned.points:
        _require_linear(point)
    ranks = [max(written_ranks(point, planned.rank).values()) for point in planned.points]
    max_lora_rank(max(ranks))


def _command(base: str, points: Sequence[ServedPoint]) -> tuple[str, ...]:
    """A walk asks one point at a time: one adapter on the device, all in the host's memory.

    `--generation-config vllm` leaves the model's own top-k, top-p and temperature out.
    """
    return (
        *("vllm", "serve", base, "--enable-lora", "--max-loras", "1"),
        *("--max-cpu-loras", str(len(points))),
        *("--max-lora-rank", str(max_lora_rank(max(p.rank for p in points)))),
        *("--generation-config", "vllm"),
        *("--lora-modules", *(f"{p.name}={p.folder}" for p in points)),
    )


def _config(adapter: Adapter, ranks: Ranks) -> dict[str, Any]:
    """PEFT's config with one rank for every module, hence without patterns."""
    assert FORMAT.config is not None  # PEFT's layout has a config
    return FORMAT.config(adapter, dict.fromkeys(ranks, max(ranks.values())))


def max_lora_rank(rank: int) -> int:
    """The smallest value of `--max-lora-rank` that holds a rank.

    Raises:
        OptionError: if none does.
    """
    for allowed in RANKS:
        if allowed >= rank:
            return allowed
    raise OptionError(
        f"--serve vllm: a point has rank {rank} (ranks of the ends add up), and vLLM takes "
        f"{', '.join(map(str, RANKS))}; --rank {RANKS[-1]} or less cuts it, and says what is lost"
    )


def _largest(_own: int, largest: int) -> int:
    return largest


def _require_linear(point: Adapter) -> None:
    for key, spec in point.specs.items():
        what = None
        if key.expert is not None:
            what = "an expert of a stacked tensor (target_parameters)"
        elif spec.layout.kernel:
            what = "a convolution"
        elif key.path.rpartition(".")[2] in EMBEDDINGS:
            what = "an embedding"
        if what is not None:
            raise UnsupportedAdapterError(
                f"{shown(point.name)}: {shown(key)} is {what}, which vLLM does not serve from an "
                "adapter; linear layers are served"
            )


def _nothing_more(_out: Path, _base: str, _points: Sequence[ServedPoint]) -> None:
    return None


UNIFORM = Format(FORMAT.weights, FORMAT.shapes, FORMAT.tensors, _config, _largest)
SERVER = Server(UNIFORM, ".", _require, _command, _nothing_more)
