"""What the sums take, asked before anything is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from deltalens.core.moment import MOMENT_KINDS
from deltalens.errors import OptionError
from deltalens.models.sums import Plan

GIB = 2**30


def bytes_needed(widths: Iterable[int], plan: Plan) -> int:
    """Float64 sums of every input, and one matrix more while it is written."""
    numbers = [plan.numbers(d) for d in widths]
    return 8 * (sum(numbers) + 2 * max(numbers, default=0))


def require_memory(widths: list[int], plan: Plan, memory: float) -> int:
    """Bytes needed, where they fit in `memory` GiB.

    Raises:
        OptionError: with the estimate and the smaller kinds that would fit.
    """
    needed = bytes_needed(widths, plan)
    if needed <= memory * GIB:
        return needed
    smaller = MOMENT_KINDS[MOMENT_KINDS.index(plan.kind) + 1 :]
    others = {kind: bytes_needed(widths, replace(plan, kind=kind)) for kind in smaller}
    fitting = [f"--kind {k} ({_gib(n)})" for k, n in others.items() if n <= memory * GIB]
    advice = f"{' or '.join(fitting)} would fit" if fitting else "no smaller kind would fit"
    raise OptionError(
        f"--kind {plan.kind} needs {_gib(needed)} for {len(widths)} inputs up to {max(widths)} "
        f"wide; --memory is {memory:g} GiB; {advice}, and so do fewer --modules"
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"
