"""Figure 3: which lines, which numbers, which verdicts, and that they follow what was walked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from line_cases import T, curve, dip, result, triangle, walked

from deltalens.connectivity.paths import BASE, barycentric
from deltalens.core.adapter import Adapter
from deltalens.io.read import load
from deltalens.models.hf import HFModel
from deltalens.organisms.evaluate import evaluate
from deltalens.organisms.roster import roster
from deltalens.studies.paper.claim import Claim
from deltalens.studies.paper.lines import numbers, published
from deltalens.studies.paper.lines import walked as walked_module
from deltalens.studies.paper.lines.claims import LineEvidence, line_claims
from deltalens.studies.paper.lines.drawings import ALT, line_figures
from deltalens.studies.paper.lines.numbers import Number, over_lines
from deltalens.studies.paper.lines.page import lines_section
from deltalens.studies.paper.lines.plan import FAMILIES, Family, Line, corners, lines
from deltalens.studies.paper.lines.tables import line_tables
from deltalens.studies.paper.lines.triangle import Triangle, walk_triangle, weights
from deltalens.studies.paper.lines.walked import Walked, walk_lines
from deltalens.studies.paper.organisms import Organisms
from deltalens.studies.paper.relations import tasks
from deltalens.studies.paper.verdicts import both, bounded_runs
from deltalens.studies.walk.inputs import open_target
from organism_files import hand_made

HOLDS, SEED, NOT, OPEN = "holds", "holds only under a shared seed", "does not hold", "undecided"
NAMED = tasks(roster(0))


def evidence(held: Walked) -> LineEvidence:
    def of(family: Family, number: Number) -> numbers.Estimate:
        return over_lines(held, family, number, NAMED)

    return LineEvidence(of, held.triangle, seed=0)


def claims(held: Walked) -> dict[str, Claim]:
    return {c.id: c for c in line_claims(evidence(held))}


def test_the_lines_are_those_of_the_figure_and_its_controls() -> None:
    every = lines(roster(0))
    assert Counter(line.family for line in every) == {
        "from the base": 3, "from the base, theta^2": 3, "across tasks, same seed": 3,
        "across tasks, other seed": 6, "factors apart, same seed": 3,
        "factors apart, other seed": 9, "to a benign twin": 3,
    }  # fmt: skip
    entries = {e.name: e for e in roster(0)}
    for line in every:
        if line.family.startswith("from the base"):
            assert line.a == BASE
            assert entries[line.b].group == "bad"
            continue
        a, b = entries[line.a], entries[line.b]
        assert a.group == "bad"
        assert (a.spec.init_seed == b.spec.init_seed) == ("other" not in line.family)
        if line.family.startswith("across"):
            assert a.spec.domain != b.spec.domain
        assert b.group == ("benign" if "twin" in line.family else "bad")
    assert len({(line.name, line.family) for line in every}) == len(every)
    assert len({line.name for line in every}) == len(every)  # no two share a folder of points
    assert FAMILIES.keys() == {line.family for line in every}
    assert lines(roster(1))[0].b != every[0].b


@pytest.mark.parametrize("middle", [0.2, 0.5, 0.8])
def test_share_at_the_middle(middle: float) -> None:
    made = result(curve(0.0, middle, 1.0))
    assert numbers.share_at_the_middle(made) == pytest.approx(middle)
    assert numbers.share_at_the_middle(result([0.5] * 11)) is None


def test_dips_are_barriers_and_never_negative() -> None:
    hollow, humped = curve(0.9, 0.5, 0.9), curve(0.9, 1.0, 0.9)
    assert numbers.dip(result(hollow)) == pytest.approx(dip(hollow)) == pytest.approx(0.4)
    assert dip(humped) < 0
    assert numbers.dip(result(humped)) == 0.0
    assert numbers.coherence_dip(result([0.5] * 11, coherence=hollow)) == pytest.approx(0.4)


def test_step_back_is_against_the_trend() -> None:
    rates = list(curve(0.0, 0.5, 1.0))
    assert numbers.step_back(result(rates)) == 0.0
    rates[7] = rates[6] - 0.1
    assert numbers.step_back(result(rates)) == pytest.approx(0.1)
    assert numbers.step_back(result(rates[::-1])) == pytest.approx(0.3, abs=0.21)
    assert numbers.step_back(result([0.5] * 11)) is None


def test_features_are_means_over_layers_and_worst_over_t() -> None:
    made = result([0.9] * 11, l2=0.1)
    assert numbers.largest_l2(made) == pytest.approx(0.1)
    assert numbers.smallest_r2(made) == pytest.approx(1 - 0.01)
    assert numbers.smallest_r2_delta(made) == pytest.approx(1 - 0.02)
    assert numbers.largest_gap_error(made) == pytest.approx(0.5)
    assert numbers.distance(made) == pytest.approx(0.2)
    assert list(numbers.by_position(made, "l2")) == list(T)
    assert numbers.largest_l2(result([0.9] * 11)) is None


def test_the_organisms_story() -> None:
    found = claims(walked())
    assert {name: c.verdict for name, c in found.items()} == {
        "fig3-base": NOT, "fig3-base-monotone": HOLDS, "fig3-cross": HOLDS,
        "factors-apart": HOLDS, "fig3-l2": HOLDS, "fig3-r2": HOLDS, "line-benign": NOT,
    }  # fmt: skip
    assert not any(c.lead for c in found.values())
    assert found["fig3-base"].claimed == pytest.approx(published.share_at_the_middle())
    scaled = evidence(walked()).of("from the base, theta^2", numbers.share_at_the_middle).mean
    assert f"{scaled:.3g}" in found["fig3-base"].note


@pytest.mark.parametrize(
    ("family", "shape", "claim", "verdict"),
    [
        ("from the base", (0.0, 0.1, 0.9), "fig3-base", HOLDS),
        ("from the base", (0.0, 0.8, 0.3), "fig3-base-monotone", NOT),
        ("across tasks, same seed", (0.9, 0.5, 0.9), "fig3-cross", NOT),
        ("across tasks, other seed", (0.9, 0.5, 0.9), "fig3-cross", SEED),
        ("factors apart, other seed", (0.9, 0.95, 0.9), "factors-apart", NOT),
        ("factors apart, other seed", (0.9, 0.88, 0.9), "factors-apart", NOT),
    ],
)
def test_verdicts_follow_what_was_walked(
    family: Family, shape: tuple[float, float, float], claim: str, verdict: str
) -> None:
    assert claims(walked({family: shape}))[claim].verdict == verdict


def test_a_barrier_to_the_twin_would_tell() -> None:
    held = walked()
    broken = {
        line: result(curve(0.9, 0.5, 0.0), coherence=curve(0.97, 0.3 + 0.01 * i, 0.97), l2=0.2)
        if line.family == "to a benign twin"
        else made
        for i, (line, made) in enumerate(held.results.items())
    }
    assert claims(Walked(broken, held.triangle))["line-benign"].verdict == HOLDS


@pytest.mark.parametrize(
    ("values", "interval", "verdict"),
    [
        ([0.0, 0.0, 0.0], None, HOLDS),
        ([0.2, 0.2, 0.2], None, NOT),
        ([0.0, 0.0], None, OPEN),
        ([0.0, 0.0, None], None, OPEN),
        ([0.0, 0.01, 0.02], (-0.01, 0.03), HOLDS),
        ([0.0, 0.01, 0.02], (-0.1, 0.12), OPEN),
        ([], None, OPEN),
    ],
)
def test_runs_that_agree_exactly_decide(
    values: list[float | None], interval: tuple[float, float] | None, verdict: str
) -> None:
    assert bounded_runs(values, interval, 0.05) == verdict


def test_two_seed_relations_make_one_verdict() -> None:
    assert both(HOLDS, HOLDS) == HOLDS
    assert both(HOLDS, NOT) == SEED
    assert both(HOLDS, OPEN) == OPEN
    assert both(NOT, HOLDS) == NOT


def test_published_curves_dip_no_more_than_noise() -> None:
    found = published.dips(seed=0)
    assert len(found) == 3
    for excess in found.values():
        assert excess.value > 0.05  # they do dip ...
        assert excess.p is not None
        assert excess.p > 0.05  # ... as 40 answers a point do on a straight line
    assert published.share_at_half_theta() == pytest.approx(0.075, abs=0.001)
    assert published.share_at_the_middle() == pytest.approx(0.0894, abs=0.001)


def test_the_triangle_grid() -> None:
    grid = np.array(weights(4))
    assert len(grid) == len({tuple(w) for w in grid.tolist()}) == 15
    np.testing.assert_allclose(grid.sum(axis=1), 1.0)
    assert (grid >= 0).all()
    assert triangle(0.9).largest_dip() == 0.0
    assert triangle(0.9, inside=0.6).largest_dip() == pytest.approx(0.3)
    assert triangle(0.9, inside=0.6).lowest_inside() == 0.6


@pytest.fixture(scope="module")
def organisms(tmp_path_factory: pytest.TempPathFactory) -> Organisms:
    return hand_made(tmp_path_factory.mktemp("organisms"))


def test_a_point_of_the_triangle_is_the_barycentric_adapter(organisms: Organisms) -> None:
    model = open_target(organisms.base).load()
    assert isinstance(model, HFModel)
    ends: list[Adapter] = [load(organisms.folders[n]) for n in corners(organisms.entries)]
    found = walk_triangle(ends, model, edge=2)
    point = found.points[1]
    one, two, three = ends
    mixed = barycentric(one, two, three)(point.w1, point.w2, point.w3)
    rows = evaluate(organisms.base, mixed).rows
    assert point.misaligned == pytest.approx(np.mean([r.bad for r in rows]), abs=1e-6)
    assert point.coherent == pytest.approx(np.mean([r.coherent for r in rows]), abs=1e-6)


def test_lines_are_walked_kept_and_walked_again_when_organisms_change(
    organisms: Organisms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [lines(organisms.entries)[0], lines(organisms.entries)[-1]]

    def only(_: object) -> list[Line]:
        return chosen

    def no_triangle(*_: object) -> Triangle:
        return triangle(0.9)

    monkeypatch.setattr(walked_module, "STEPS", 3)
    monkeypatch.setattr(walked_module, "lines", only)
    monkeypatch.setattr(walked_module, "walk_triangle", no_triangle)

    def silent(_: str) -> None:
        return None

    def run(organisms: Organisms) -> Walked:
        return walk_lines(organisms, tmp_path, seed=0, fresh=False, say=silent)

    def documents(held: Walked) -> list[object]:
        return [r.document for r in held.results.values()]

    first = run(organisms)
    assert [line.family for line in first.results] == [line.family for line in chosen]
    points = sorted(tmp_path.rglob("t-*.json"))
    assert len(points) == 6
    before = [p.stat().st_mtime_ns for p in points]
    assert documents(run(organisms)) == documents(first)
    assert [p.stat().st_mtime_ns for p in points] == before

    changed = dict(organisms.folders)
    changed[chosen[0].b] = changed[next(e.name for e in organisms.entries if e.group == "narrow")]
    other = replace(organisms, folders=changed)
    again = run(other)
    assert documents(again)[0] != documents(first)[0]
    assert documents(again)[1] == documents(first)[1]


def test_figures_section_and_tables_hold_everything() -> None:
    held = walked()
    drawn = line_figures(held)
    assert drawn.keys() == ALT.keys()
    assert len(drawn["fig3"].axes) == 4
    section = lines_section(evidence(held), dict.fromkeys(ALT, "<svg></svg>"))
    text = repr(section)
    assert "no evidence of shared misalignment" in text
    for family in FAMILIES:
        assert family in text
    rows = line_tables(held)["lines"]
    assert len([r for r in rows if r.measure == "misaligned"]) == 30 * 11
    assert len(line_tables(held)["triangle"]) == len(held.triangle.points)
