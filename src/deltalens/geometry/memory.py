"""What a comparison takes in memory, before it starts.

A batch of one module holds about ten matrices of `(n r)^2` numbers (both Gram matrices, the frames'
products, the nulls) and the stacked factors six times (with the QR of what needs it); measured for
2 to 12 adapters of width 256 to 1024, the estimate is up to 1.6 times what is used, never below.
LoRA adapters take megabytes; full checkpoints have the width of the model as their rank.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import OptionError

GIB = 2**30
_SQUARES, _FACTORS, _NUMBER = 10, 6, 8
# Of what the machine has free: the estimate is one, and others need some too.
_SHARE = 0.75
# Ranks up to here are padded together; beyond, modules whose ranks are further apart are not.
_PADDED, _APART = 64, 8
_MEMINFO = Path("/proc/meminfo")
# Limit and use of the control group, in its second and first version.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


@dataclass(frozen=True)
class Need:
    """Bytes that one thread takes at the widest place, and which adapter and module that is."""

    bytes: int
    adapter: str
    key: ModuleKey
    rank: int


def rank_runs(
    adapters: Sequence[Adapter], keys: Sequence[ModuleKey]
) -> Iterator[tuple[int, Sequence[ModuleKey]]]:
    """Consecutive modules of similar rank, and the rank that they are padded to.

    Beside a head that was trained whole, LoRA modules would be padded to the width of the model.
    """
    widths = [_width(adapters, key)[0] for key in keys]
    least = min(max(widths, default=1), _PADDED)
    start, low, high = 0, 0, 0
    for i, own in enumerate(widths):
        width = max(own, least)
        if i > start and max(high, width) > _APART * min(low, width):
            yield high, keys[start:i]
            start = i
        low, high = (width, width) if i == start else (min(low, width), max(high, width))
    if keys:
        yield high, keys[start:]


def _width(adapters: Sequence[Adapter], key: ModuleKey) -> tuple[int, Adapter]:
    """The largest rank of a module, and whose it is."""
    held = [(a.specs[key].rank, -i) for i, a in enumerate(adapters) if key in a.specs]
    rank, i = max(held)
    return rank, adapters[-i]


def need(adapters: Sequence[Adapter], keys: Sequence[ModuleKey]) -> Need:
    """The most that one module takes."""
    n, worst = len(adapters), Need(0, "", ModuleKey(""), 0)
    for rank, run in rank_runs(adapters, keys):
        shapes = [next(a.specs[key].shape for a in adapters if key in a.specs) for key in run]
        numbers = _SQUARES * (n * rank) ** 2 + _FACTORS * n * rank * max(map(sum, shapes))
        if _NUMBER * numbers > worst.bytes:
            widest = max(run, key=lambda key: _width(adapters, key)[0])
            worst = Need(_NUMBER * numbers, _width(adapters, widest)[1].name, widest, rank)
    return worst


def workers_within(
    adapters: Sequence[Adapter], keys: Sequence[ModuleKey], allowed: float | None
) -> int:
    """How many threads fit into the memory that is allowed, at most one a core.

    Args:
        adapters: what is compared, a bank's members included.
        keys: the modules that are measured.
        allowed: bytes; three quarters of what is free by default.

    Raises:
        OptionError: if not even one fits, naming the option and the way out.
    """
    found = need(adapters, keys)
    limit = _SHARE * available() if allowed is None else allowed
    if found.bytes > limit:
        raise OptionError(
            f"{len(adapters)} adapters of rank up to {found.rank} "
            f"({shown(found.adapter)} at {shown(found.key)}) take about "
            f"{found.bytes / GIB:.3g} GiB to compare; {limit / GIB:.3g} GiB are allowed "
            "(--memory); make full checkpoints narrow first: "
            "deltalens export FINE_TUNE --base BASE --rank 32 --t 1 --out DIR"
        )
    return _most(limit, found)


def fitting_workers(adapters: Sequence[Adapter], keys: Sequence[ModuleKey]) -> int:
    """How many threads fit into three quarters of the free memory; at least one."""
    return _most(_SHARE * available(), need(adapters, keys))


def _most(limit: float, found: Need) -> int:
    return max(1, int(min(len(os.sched_getaffinity(0)), limit // max(found.bytes, 1))))


def available() -> float:
    """Bytes that a process may still take: of the machine, and of its control group."""
    return min(_free_of_machine(), _free_of_group())


def _free_of_machine() -> float:
    try:
        lines = _MEMINFO.read_text().splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable:"))
        return float(free.split()[1]) * 1024
    except (OSError, StopIteration, IndexError, ValueError):
        return float("inf")


def _free_of_group() -> float:
    for most, used in _GROUPS:
        try:
            return float(Path(most).read_text()) - float(Path(used).read_text())
        except (OSError, ValueError):  # "max" is no limit
            continue
    return float("inf")
