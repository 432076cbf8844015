"""Effects of a design: exact where the model is, a slow jackknife, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from deltalens.studies.design.effects import effects
from deltalens.studies.design.regressors import Regressors, regressors

TRUE = {
    "nothing shared": 0.1,
    "same seed": 0.5,
    "same task": 0.3,
    "both harmful": 0.2,
    "both harmless": -0.1,
    "both style x": 0.05,
    "both style y": 0.15,
}
MEANS = {"same harm": 0.05, "same style": 0.1}


def crossed(tasks: int = 6, runs: int = 2, harmful: int = 3) -> dict[str, tuple[str, ...]]:
    """Every task with every seed."""
    each = [(t, s) for t in range(tasks) for s in range(runs)]
    return {
        "seed": tuple(str(s) for _, s in each),
        "task": tuple(f"t{t}" for t, _ in each),
        "harm": tuple("harmful" if t < harmful else "harmless" for t, _ in each),
        "style": tuple("xy"[t % 2] for t, _ in each),
    }


def expected(found: Regressors) -> np.ndarray:
    return found.X @ np.array([TRUE[t] for t in ("nothing shared", *found.terms)])


def test_what_the_model_says_exactly_is_found_exactly() -> None:
    levels = crossed()
    found = regressors(levels)
    got = {e.term: e for e in effects(found, expected(found).tolist(), levels["task"])}
    for term, value in TRUE.items():
        assert got[term].estimate == pytest.approx(value, abs=1e-12)
        assert got[term].standard_error is None
        assert "changes nothing" in (got[term].reason or "")
    for term, value in MEANS.items():
        assert got[term].estimate == pytest.approx(value, abs=1e-12)


def test_estimates_and_intervals_against_a_slow_jackknife(rng: np.random.Generator) -> None:
    levels = crossed()
    found = regressors(levels)
    y = expected(found) + rng.standard_normal(len(found.pairs))
    got = effects(found, y.tolist(), levels["task"])
    names = sorted(set(levels["task"]))
    whole = sm.OLS(y, found.X).fit().params
    left = []
    for task in names:
        kept = [task not in (levels["task"][i], levels["task"][j]) for i, j in found.pairs]
        left.append(sm.OLS(y[kept], found.X[kept]).fit().params)
    se = np.sqrt((len(names) - 1) / len(names) * np.sum((np.array(left) - whole) ** 2, axis=0))
    for i in range(len(whole)):
        assert got[i].estimate == pytest.approx(whole[i])
        assert got[i].standard_error == pytest.approx(se[i])
        low, high = got[i].interval() or (0.0, 0.0)
        assert (high - low) / 2 == pytest.approx(2.5705818 * se[i])
    t = whole[1] / se[1]
    from scipy.stats import t as student

    assert got[1].p() == pytest.approx(2 * student.sf(abs(t), 5))


def test_missing_pairs_are_left_out(rng: np.random.Generator) -> None:
    levels = crossed()
    found = regressors(levels)
    y: list[float | None] = expected(found).tolist()
    y[3], y[17] = None, float("nan")
    got = effects(found, y, levels["task"])
    assert [e.estimate for e in got][:7] == pytest.approx(list(TRUE.values()), abs=1e-12)
    nothing = effects(found, [None] * len(y), levels["task"])
    assert {e.reason for e in nothing} == {"0 pairs have a value; more than 7 are needed"}
    without = [
        None if levels["seed"][i] == levels["seed"][j] else v
        for (i, j), v in zip(found.pairs, y, strict=True)
    ]
    seed = effects(found, without, levels["task"])[1]
    assert (seed.estimate, seed.reason) == (None, "pairs without a value leave it undetermined")


def test_an_effect_that_rests_on_one_task_has_no_interval(rng: np.random.Generator) -> None:
    levels = crossed()
    levels["style"] = tuple("odd" if t == "t0" else "plain" for t in levels["task"])
    found = regressors(levels)
    y = rng.standard_normal(len(found.pairs))
    style = effects(found, y.tolist(), levels["task"])[found.terms.index("both style odd") + 1]
    assert style.interval() is None
    assert style.estimate is not None
    assert style.reason == "it rests on t0 alone: without it there is nothing to compare"


def test_two_units_are_too_few(rng: np.random.Generator) -> None:
    levels = {"seed": ("0", "1", "0", "1"), "task": ("a", "a", "b", "b")}
    found = regressors(levels)
    got = effects(found, rng.standard_normal(6).tolist(), levels["task"])
    assert {e.reason for e in got} == {"n = 2 units: an interval needs at least 3"}


@pytest.mark.parametrize("spread", [(1.0, 0.5), (0.0, 1.0)])
def test_coverage_with_tasks_as_units(spread: tuple[float, float]) -> None:
    """At least .93 of 95 % intervals hold the truth; docs/design.md has the larger simulation."""
    rng = np.random.default_rng(11)
    levels = crossed(tasks=6)
    found = regressors(levels)
    truth = [*(TRUE[t] for t in ("nothing shared", *found.terms)), *MEANS.values()]
    names = list(dict.fromkeys(levels["task"]))
    task = np.array([names.index(t) for t in levels["task"]])
    ends = np.array(found.pairs)
    hits = np.zeros(len(truth))
    for _ in range(120):
        run = spread[0] * rng.standard_normal(len(names))[task]
        run += spread[1] * rng.standard_normal(len(task))
        y = expected(found) + run[ends].sum(axis=1) + 0.5 * rng.standard_normal(len(ends))
        for i, effect in enumerate(effects(found, y.tolist(), levels["task"])):
            low, high = effect.interval() or (np.inf, -np.inf)
            hits[i] += low <= truth[i] <= high
    assert hits.min() / 120 >= 0.9
