"""One pass over the files: two Gram matrices a module hold everything that n updates share.

Stack the factors, `A = [A_1; ..; A_n]` and `B = [B_1 .. B_n]`; then `A A^T` and `B^T B`, one
symmetric product each, determine every norm, cosine, singular value and angle between the updates.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array, Float, Int
from deltalens.geometry.memory import fitting_workers, rank_runs

_BATCH_BYTES = 16 * 2**20
_SKETCH = 256
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class GramBatch:
    """Gram blocks of m modules and n adapters, ranks padded with zeros to a common r.

    Attributes:
        keys: the m modules.
        shapes: `(out, in)` of each, `Int[Array, "m 2"]`.
        ranks: width of each factor, 0 where an adapter lacks the module, `Int[Array, "m n"]`.
        A: `A_i A_j^T`, `Float[Array, "m n r n r"]`.
        B: `B_i^T B_j`, `Float[Array, "m n r n r"]`.
        sketch: the first entries of each lora_A, which tell equal initialisations apart.
    """

    keys: tuple[ModuleKey, ...]
    shapes: Int[Array, "m 2"]
    ranks: Int[Array, "m n"]
    A: Float[Array, "m n r n r"]
    B: Float[Array, "m n r n r"]
    sketch: Float[Array, "m n s"]


def map_batches(
    adapters: Sequence[Adapter],
    keys: Sequence[ModuleKey],
    measure: Callable[[GramBatch], T],
    *,
    workers: int | None = None,
) -> Iterator[T]:
    """Stream modules through `measure` in batches, in order, several at a time.

    Modules run in parallel on one BLAS thread each: two threaded libraries on shared cores cost
    fifty times more than they save.

    Args:
        adapters: updates of one base; each file is read once.
        keys: the modules to read, of equal shape in all adapters that have them.
        measure: what to keep of a batch; the Gram matrices are dropped afterwards.
        workers: threads; as many as cores and free memory allow by default.
    """
    workers = workers or fitting_workers(adapters, keys)
    local = threading.local()

    def run(batch: tuple[int, Sequence[ModuleKey]]) -> T:
        return measure(_gram_batch(adapters, batch[1], batch[0], local))

    chunks = _chunks(adapters, keys, workers)
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        yield from _bounded(pool, run, chunks, ahead=2 * workers)


def one_blas_thread() -> AbstractContextManager[object]:
    """Limit BLAS to one thread for a while; free of cost where the environment says so already."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    if any(os.environ.get(name) == "1" for name in names):
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def _bounded(
    pool: ThreadPoolExecutor,
    run: Callable[[tuple[int, Sequence[ModuleKey]]], T],
    chunks: Iterable[tuple[int, Sequence[ModuleKey]]],
    ahead: int,
) -> Iterator[T]:
    """Results in order with at most `ahead` batches in memory."""
    todo = iter(chunks)
    pending = [pool.submit(run, chunk) for chunk in islice(todo, ahead)]
    try:
        while pending:
            done = pending.pop(0).result()
            pending += [pool.submit(run, chunk) for chunk in islice(todo, 1)]
            yield done
    finally:
        for future in pending:
            future.cancel()


def _chunks(
    adapters: Sequence[Adapter], keys: Sequence[ModuleKey], workers: int
) -> Iterator[tuple[int, Sequence[ModuleKey]]]:
    """Modules to read together, and the rank that all of them are padded to."""
    for rank, run in rank_runs(adapters, keys):
        block = 4 * 8 * (len(adapters) * rank) ** 2
        size = max(1, min(_BATCH_BYTES // block, -(-len(run) // (2 * workers))))
        for start in range(0, len(run), size):
            yield rank, run[start : start + size]


def _gram_batch(
    adapters: Sequence[Adapter], keys: Sequence[ModuleKey], r: int, local: threading.local
) -> GramBatch:
    n, m = len(adapters), len(keys)
    A, B = np.empty((m, n, r, n, r)), np.empty((m, n, r, n, r))
    shapes, ranks = np.zeros((m, 2), dtype=int), np.zeros((m, n), dtype=int)
    sketch, scaling = np.zeros((m, n, _SKETCH)), np.ones(n * r)
    for row, key in enumerate(keys):
        holders = {i: a.specs[key] for i, a in enumerate(adapters) if key in a.specs}
        d_out, d_in = next(iter(holders.values())).shape
        shapes[row] = d_out, d_in
        stack_A = _workspace(local, "A", n * r * d_in).reshape(n * r, d_in)
        stack_B = _workspace(local, "B", n * r * d_out).reshape(d_out, n * r)
        for i, adapter in enumerate(adapters):
            rank = holders[i].rank if i in holders else 0
            ranks[row, i] = rank
            start, end = i * r, i * r + rank
            if rank:
                B_i, A_i = stack_B[:, start:end], stack_A[start:end]
                scaling[start : start + r] = adapter.read_into(key, B_i, A_i)
                width = min(_SKETCH, d_in)
                sketch[row, i, :width] = stack_A[start, :width]
            stack_A[end : start + r] = 0.0
            stack_B[:, end : start + r] = 0.0
        A[row] = (stack_A @ stack_A.T).reshape(n, r, n, r)
        B[row] = (np.outer(scaling, scaling) * (stack_B.T @ stack_B)).reshape(n, r, n, r)
        if not np.isfinite(A[row].sum() + B[row].sum()):
            _name_the_culprit(adapters, key)
    return GramBatch(tuple(keys), shapes, ranks, A, B, sketch)


def _workspace(local: threading.local, name: str, size: int) -> Array:
    """A thread's own buffer, kept between modules: fresh pages cost more than the arithmetic."""
    buffer: Array | None = getattr(local, name, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size)
        setattr(local, name, buffer)
    return buffer[:size]


def _name_the_culprit(adapters: Sequence[Adapter], key: ModuleKey) -> None:
    # Indexing checks every tensor and names the one that holds NaN or infinity.
    for adapter in adapters:
        if key in adapter:
            adapter[key]
