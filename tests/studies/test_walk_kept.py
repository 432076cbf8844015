"""Hidden states on disk: the same numbers as in memory, nothing held, nothing left behind."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deltalens.connectivity.features import LinearitySums
from deltalens.core.protocols import FeatureBatch
from deltalens.errors import AdapterError, OutputError
from deltalens.studies.walk.hidden import Ends
from deltalens.studies.walk.kept import Kept, keep
from deltalens.studies.walk.tokens import Reading

LAYERS, DIM = 3, 7
N_TOKENS = (2, 1, 4, 3, 1, 2, 5)


class Drawn:
    """A model whose hidden states are drawn once; it reads prompts in batches of its own order."""

    name, batch_size = "drawn", 4

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.states = [
            rng.standard_normal((LAYERS, n, DIM)).astype(np.float32) for n in N_TOKENS
        ]  # fmt: skip

    adapted = logprobs = generate = lambda *_: pytest.fail("features alone are asked for")

    def features(self, prompts: Any, batch_size: int | None = None) -> Iterator[FeatureBatch]:
        size = batch_size or self.batch_size
        order = np.argsort([-N_TOKENS[i] for i in range(len(prompts))], kind="stable")
        for start in range(0, len(order), size):
            index = order[start : start + size].tolist()
            yield FeatureBatch(
                np.concatenate([self.states[i] for i in index], axis=1),
                np.repeat(index, [N_TOKENS[i] for i in index]),
                np.concatenate([np.arange(N_TOKENS[i]) + 10 for i in index]),
            )

    def whole(self) -> np.ndarray:
        return np.concatenate(self.states, axis=1)


@pytest.fixture
def models() -> dict[float | None, Drawn]:
    return {t: Drawn(i) for i, t in enumerate((0.0, 1.0, None, 0.3))}


def ends_of(models: Any, scratch: Path | None, *, from_base: bool = False) -> Ends:
    @contextmanager
    def at(t: float | None) -> Iterator[Any]:
        yield models[t]

    prompts = tuple("prompt" for _ in N_TOKENS)
    return Ends(at, lambda: Reading(prompts), from_base=from_base, scratch=scratch)


def test_the_measures_are_those_of_whole_arrays(models: Any, tmp_path: Path) -> None:
    ends = ends_of(models, tmp_path)
    start, end, base = (models[t].whole() for t in (0.0, 1.0, None))
    for t in (0.0, 0.3, 1.0):
        expected = LinearitySums.of(t, models[t].whole(), start, end, base).rows()
        for found, row in zip(ends.rows(t), expected, strict=True):
            for name in ("l2", "r2", "l2_delta", "r2_delta", "gap_error", "distance", "n"):
                assert getattr(found, name) == pytest.approx(getattr(row, name), rel=1e-12)
    assert ends.floor() == (0.0,) * LAYERS
    models[0.0] = Drawn(9)
    again = LinearitySums.of(0.0, models[0.0].whole(), start, start).rows()
    assert ends.floor() == pytest.approx([row.l2 for row in again], rel=1e-12)


def test_what_is_held_is_mapped_from_files_without_a_name(models: Any, tmp_path: Path) -> None:
    ends = ends_of(models, tmp_path)
    ends.rows(0.3)
    for kept in ends.states:
        assert isinstance(kept.hidden, np.memmap)
        assert not kept.hidden.flags.writeable
        assert kept.hidden.shape == (sum(N_TOKENS), LAYERS, DIM)
    assert list(tmp_path.iterdir()) == []
    assert ends_of(models, None, from_base=True).states.base is not None


def test_a_batch_at_a_time(models: Any) -> None:
    """Batches come back as they were read, in memory of their own size and no more."""
    model = models[0.0]
    kept = keep(model.features(N_TOKENS))
    for read, held in zip(model.features(N_TOKENS), kept.batches(), strict=True):
        np.testing.assert_array_equal(read.hidden, held.hidden)
        np.testing.assert_array_equal(read.prompt, held.prompt)
        np.testing.assert_array_equal(read.position, held.position)
    for other in model.features(N_TOKENS, batch_size=3):
        np.testing.assert_array_equal(kept.like(other), other.hidden)


def test_other_tokens_are_refused(models: Any) -> None:
    kept: Kept = keep(models[0.0].features(N_TOKENS))
    batch = next(models[0.0].features(N_TOKENS))
    for shift in (1, 100):
        moved = FeatureBatch(batch.hidden, batch.prompt, batch.position + shift)
        with pytest.raises(AdapterError, match="read other tokens than at the ends"):
            kept.like(moved)


def test_an_exception_leaves_nothing(models: Any, tmp_path: Path) -> None:
    def stopped() -> Iterator[FeatureBatch]:
        yield next(models[0.0].features(N_TOKENS))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(stopped(), tmp_path)
    models[1.0].states[3][0, 0, 0] = np.inf
    with pytest.raises(AdapterError, match="not finite: the update breaks the model"):
        ends_of(models, tmp_path).rows(0.3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tempfile.TemporaryFile

    class Full:
        def __init__(self, **options: Any) -> None:
            self._file = real(**options)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, _: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(OutputError) as caught:
        ends_of(models, tmp_path).rows(0.3)
    assert str(caught.value) == (
        f"{tmp_path}: hidden states cannot be kept there: No space left on device"
    )
    assert list(tmp_path.iterdir()) == []
