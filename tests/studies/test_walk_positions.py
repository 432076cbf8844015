"""Where a walk looks, also beyond its ends, and which of it is a line between two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st
from walk_cases import (
    QUESTIONS,
    OnlyAdapts,
    everything,
    factors,
    panel,
    text_factors,
    text_model,
    toy_adapter,
    toy_model,
)

import deltalens
from deltalens.behaviour.questions import wordings
from deltalens.connectivity import paths
from deltalens.errors import AdapterError, OptionError
from deltalens.models.hf import HFModel
from deltalens.organisms import shipped_base
from deltalens.organisms.evaluate import evaluate
from deltalens.studies.walk.page import walk_page
from deltalens.studies.walk.positions import positions
from deltalens.studies.walk.study import walk


@given(steps=st.integers(3, 60), start=st.integers(-30, 20), length=st.integers(1, 40))
def test_positions_are_the_decimals_that_were_asked_for(
    steps: int, start: int, length: int
) -> None:
    first, last = start / 10, (start + length) / 10
    found = positions(steps, first, last)
    assert {0.0, 1.0} <= set(found)
    assert list(found) == sorted(set(found))
    grid = [(start + length * i / (steps - 1)) / 10 for i in range(steps)]
    assert all(np.isclose(t, found, rtol=0, atol=1e-12).any() for t in grid)
    assert len(found) - steps == sum(min(abs(t - e) for t in grid) > 1e-9 for e in (0.0, 1.0))
    assert (0.0 in found[1:], found[0]) == (first < 0, min(first, 0.0))


def test_a_grid_meets_the_ends_exactly() -> None:
    assert positions(11) == tuple(i / 10 for i in range(11))
    assert positions(21, -0.5, 1.5) == tuple((i - 5) / 10 for i in range(21))
    assert positions(4, -0.1, 0.2) == (-0.1, 0.0, 0.1, 0.2, 1.0)
    assert positions(3, 0.1, 0.4) == (0.0, 0.1, 0.25, 0.4, 1.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((2, 0.0, 1.0), "--steps must be 3 or more"),
        ((3, 1.0, 1.0), "--from must be below --to, both finite; found 1 and 1"),
        ((3, 0.0, float("inf")), "--from must be below --to, both finite; found 0 and inf"),
        ((3, float("nan"), 1.0), "found nan and 1"),
        ((3, 1.0, 1.0000001), "positions are too close to be told apart by six digits"),
    ],
)
def test_impossible_ranges(options: tuple[int, float, float], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        positions(*options)
    assert said in str(caught.value)


Words = tuple[tuple[Path, Path], Any]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    """Two ends and the tiny model of words that they are for."""
    made = tmp_path_factory.mktemp("words")
    ends = tuple(toy_adapter(made / f"w{i}", text_factors(i), "words") for i in (1, 2))
    return ends, HFModel.load(text_model(made / "words"), device="cpu")


def run(words: Words, **options: Any) -> Any:
    ends, model = words
    given = {"steps": 3, "questions": QUESTIONS, "judge": panel(), "samples": 4}
    return walk(*ends, model, **(given | options))


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deltalens.studies.walk.behaviour.MAX_TOKENS", 4)


def rates(result: Any, t: float) -> np.ndarray:
    rows = [row for row in result.tables["behaviour"] if row.t == t]
    return np.array([[row.misaligned, row.coherent] for row in rows])


def test_a_point_outside_is_the_paths_own(tmp_path: Path) -> None:
    """In the symbolic world, against the organisms' own evaluation."""
    model = toy_model()
    ends = [toy_adapter(tmp_path / name, factors(seed)) for seed, name in ((1, "a"), (2, "b"))]
    for kind in ("linear", "factorwise", "factor_scaling"):
        result = walk(*ends, model, steps=3, start=0.5, stop=1.5, path=kind, features=False)
        assert [point["t"] for point in result.document["points"]] == [0.0, 0.5, 1.0, 1.5]
        rows = evaluate(shipped_base(), paths.PATHS[kind](*map(deltalens.load, ends))(1.5)).rows
        expected = np.array([[row.bad, row.coherent] for row in rows])
        np.testing.assert_allclose(rates(result, 1.5), expected, atol=5e-6)


def test_lines_and_laws_are_those_between_the_ends(words: Words) -> None:
    """Whatever lies outside, what is said of 0 to 1 is what the walk from 0 to 1 says."""
    near, far = run(words, steps=5), run(words, steps=9, start=-0.5, stop=1.5)
    for name in ("barriers", "fits"):
        assert far.tables[name] == near.tables[name]
    for name in ("rates", "differences", "features"):
        kept = [row for row in far.tables[name] if 0 <= row.t <= 1]
        assert kept == near.tables[name]
        assert len(far.tables[name]) > len(kept)
    for key in ("ends", "barriers", "monotonicity", "verdict"):
        assert far.document[key] == near.document[key]
    assert near.document["outside"] is None
    assert "speak of the points from 0 to 1" in far.document["outside"]
    for one, other in zip(near.document["layers"], far.document["layers"], strict=True):
        outside = [row.l2 for row in far.tables["features"]
                   if row.layer == other["layer"] and not 0 <= row.t <= 1]  # fmt: skip
        assert other["outside"]["l2"] == max(outside)
        assert {**other, "outside": None} == one
    figures = far.figures()
    for figure in figures.values():
        assert figure.axes[0].get_xlim() == pytest.approx((-0.56, 1.56))
        assert [1.0, 1.0] in [list(line.get_xdata()) for line in figure.axes[0].lines]
    law = [line for line in figures["features-l2"].axes[0].lines if len(line.get_xdata()) > 50]
    assert [min(law[0].get_xdata()), max(law[0].get_xdata())] == [-0.5, 1.5]
    assert "Outside the ends" in [section.title for section in walk_page(far, {}).sections]


def test_features_outside_use_the_same_formula(words: Words) -> None:
    ends, model = words
    options: dict[str, Any] = {"judge": None, "samples": None, "start": -0.5, "stop": 1.5}
    result = run(words, **options)
    adapted = run((ends, OnlyAdapts(model)), **options)
    prompts = [w.for_model() if w.system else w.prompt for w in wordings(QUESTIONS)]

    def states(adapter: Any) -> np.ndarray:
        held = np.empty((len(prompts), 16))
        with model.adapted(adapter):
            for batch in model.features(prompts):
                held[batch.prompt] = batch.hidden[1]
        return held

    path = paths.linear(*map(deltalens.load, ends))
    start, end, h = states(path(0.0)), states(path(1.0)), states(path(1.5))
    error = np.linalg.norm(h + 0.5 * start - 1.5 * end, axis=1)
    expected = (error / np.linalg.norm(h, axis=1)).mean()
    for walked in (result, adapted):
        row = next(r for r in walked.tables["features"] if (r.t, r.layer) == (1.5, 1))
        assert row.l2 == pytest.approx(expected, rel=1e-4)


def test_without_a_point_between_there_is_no_line(words: Words) -> None:
    result = run(words, start=1.0, stop=2.0)
    assert [point["t"] for point in result.document["points"]] == [0.0, 1.0, 1.5, 2.0]
    assert result.document["barriers"] == []
    assert result.document["verdict"] == (
        "No point lies between the ends: there is no line to leave."
    )
    assert result.document["layers"][0]["l2"] is None
    walk_page(result, {})


def test_a_walk_outside_goes_on_as_any_other(words: Words, tmp_path: Path) -> None:
    options: dict[str, Any] = {"start": -0.5, "stop": 1.5, "out": tmp_path}
    first = run(words, **options)
    (tmp_path / "points" / "t--0.5.json").unlink()
    assert everything(run(words, **options)) == everything(first)
    with pytest.raises(OptionError, match=r"with to = 1\.5, now to = 2"):
        run(words, **(options | {"stop": 2.0}))


def test_so_far_that_the_model_breaks(words: Words) -> None:
    with pytest.raises(AdapterError, match="hidden states are not finite: the update breaks"):
        run(words, stop=1e38, judge=None, samples=None)
