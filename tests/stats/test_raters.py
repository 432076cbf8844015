"""Agreement of judges against the literature's examples, and against other implementations."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.errors import OptionError
from deltalens.stats.clusters import over_clusters
from deltalens.stats.raters import (
    alpha,
    binned,
    kappa,
    mean_difference,
    rank_correlation,
    scored_by,
)

N = np.nan
# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section E: 4 observers, 12 units;
# printed there: nominal .743, ordinal .815, interval .849, ratio .797.
KRIPPENDORFF = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]).T  # fmt: skip
# The same, section A: two observers, ten binary units; printed there: alpha .095.
BINARY = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], float).T


def expanded(table: list[list[int]]) -> np.ndarray:
    """Pairs of classes that make this table of counts."""
    return np.array(
        [[i, j] for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)], float
    )


def test_alpha_of_the_papers_tables() -> None:
    assert alpha(KRIPPENDORFF) == pytest.approx(0.849, abs=5e-4)
    assert alpha(BINARY) == pytest.approx(0.095, abs=5e-4)


def test_alpha_as_the_package_computes_it(rng: np.random.Generator) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    for judges in (2, 3, 5):
        scores = rng.integers(0, 101, (30, judges)).astype(float) * 0.5
        scores[rng.random(scores.shape) < 0.3] = N
        expected = krippendorff.alpha(reliability_data=scores.T, level_of_measurement="interval")
        assert alpha(scores) == pytest.approx(float(expected), abs=1e-12)
    binary = (rng.random((40, 3)) < 0.3).astype(float)
    expected = krippendorff.alpha(reliability_data=binary.T, level_of_measurement="nominal")
    assert alpha(binary) == pytest.approx(float(expected), abs=1e-12)


def test_kappa_by_hand() -> None:
    # Cohen 1960's form: 20 and 15 of 50 agreed, p_o = .7, p_e = .5.
    assert kappa(expanded([[20, 5], [10, 15]]), "none") == pytest.approx(0.4)
    table = np.array([[4, 2, 0], [1, 3, 2], [0, 1, 7]])
    p = table / table.sum()
    by_chance_ = np.outer(p.sum(1), p.sum(0))
    i, j = np.indices(p.shape)
    for weights, w in (("linear", abs(i - j)), ("quadratic", (i - j) ** 2)):
        expected = 1 - (w * p).sum() / (w * by_chance_).sum()
        assert kappa(expanded(table.tolist()), weights) == pytest.approx(expected)  # type: ignore[arg-type]


def test_classes_of_ten() -> None:
    scores = np.array([0, 9.99, 10, 29.9, 30, 89, 90, 99, 100, N])
    np.testing.assert_array_equal(binned(scores), [0, 0, 1, 2, 3, 8, 9, 9, 9, N])


def test_judges_alike_and_opposite() -> None:
    x = np.array([0.0, 20, 40, 60, 90])
    same, turned = np.stack([x, x], axis=1), np.stack([x, 90 - x], axis=1)
    for found in (kappa(binned(same)), alpha(same), rank_correlation(same)):
        assert found == pytest.approx(1)
    assert rank_correlation(turned) < -0.9
    assert alpha(turned) < 0
    assert mean_difference(np.stack([x + 3, x], axis=1)) == pytest.approx(3)


def test_undefined_is_none_and_not_one() -> None:
    flat = np.full((5, 2), 100.0)
    assert kappa(binned(flat)) is None
    assert alpha(flat) is None
    assert rank_correlation(flat) is None
    one_flat = np.array([[1.0, 3], [1, 5], [1, 1]])
    assert kappa(one_flat) == kappa(one_flat, "none") == 0.0
    apart = np.array([[1, N], [N, 2.0]])
    assert alpha(apart) is None
    assert kappa(apart) is None
    assert mean_difference(apart) is None
    with pytest.raises(OptionError, match="kappa is of two judges; found 3"):
        kappa(np.zeros((4, 3)))


def test_who_scored_what() -> None:
    scores = np.array([[1, 2], [1, N], [N, 2], [N, N], [3, 4.0]])
    assert scored_by(scores).tolist() == [2, 1, 1, 1]


def clustered(rng: np.random.Generator, q: int, m: int = 6) -> tuple[list[str], np.ndarray]:
    """Two judges that see a question's own level and an answer's, each with some noise."""
    level = np.repeat(rng.normal(0, 1, q), m)
    truth = level + rng.normal(0, 1, q * m)
    scores = truth[:, None] + rng.normal(0, 0.8, (q * m, 2))
    return [f"q{i // m}" for i in range(q * m)], scores


@pytest.mark.parametrize(("q", "draws", "runs"), [(8, 0, 200), (45, 99, 60)])
def test_intervals_cover_new_questions(q: int, draws: int, runs: int) -> None:
    """Of the mean difference of judges with a bias of each question, whose truth is 0."""
    rng = np.random.default_rng(q)
    held = 0
    for _ in range(runs):
        names, scores = clustered(rng, q)
        scores[:, 0] += np.repeat(rng.normal(0, 0.7, q), 6)  # the question's own bias
        found = over_clusters(
            names, lambda rows, s=scores: mean_difference(s[rows]), rng=rng, draws=draws or 1
        )
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.0 <= found.high
    assert held / runs > (0.90 if q == 8 else 0.85)


def test_the_jackknife_of_a_mean_is_students_interval(rng: np.random.Generator) -> None:
    from scipy import stats

    values = rng.normal(3, 1, (12, 2))
    names = [str(i) for i in range(12)]
    found = over_clusters(names, lambda rows: mean_difference(values[rows]), rng=rng)
    d = values[:, 0] - values[:, 1]
    expected = stats.t.interval(0.95, 11, d.mean(), d.std(ddof=1) / np.sqrt(12))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.method == "jackknife over questions, for new questions"


def test_no_interval_and_why(rng: np.random.Generator) -> None:
    few = over_clusters(["a", "b"], lambda _: 1.0, rng=rng)
    assert (few.low, few.reason) == (
        None, "n = 2 questions: an interval for new questions needs at least 3")  # fmt: skip
    flat = over_clusters(list("abcd"), lambda _: 1.0, rng=rng)
    assert flat.reason == "leaving any question out changes nothing: an interval needs some spread"
    gone = over_clusters(list("abcd"), lambda rows: 1.0 if 0 in rows else None, rng=rng)
    assert gone.reason == "without one of the questions the statistic is undefined"
    none = over_clusters(list("abcd"), lambda _: None, rng=rng)
    assert (none.estimate, none.reason) == (None, "the statistic is undefined")
    many = [str(i) for i in range(45)]
    rare = over_clusters(many, lambda rows: 1.0 if 0 in rows else None, rng=rng, draws=50)
    assert rare.low is None
    assert "of 50 draws" in (rare.reason or "")
