"""Claims are judged on the numbers: change these, and the verdicts change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from adapter_files import strict_json
from deltalens.core.result import Result
from deltalens.stats.intervals import Interval
from deltalens.studies.paper.claim import Claim, Ends, summary
from deltalens.studies.paper.claims import Evidence, claims
from deltalens.studies.paper.estimates import Estimate
from deltalens.studies.paper.relations import Relation

HOLDS, SEED, NOT, OPEN = (
    "holds",
    "holds only under a shared seed",
    "does not hold",
    "undecided",
)
SAME, OTHER, CEILING = "same seed", "other seed", "same data, other seed"
TWIN, FAR_TWIN = "benign twin, same seed", "benign twin, other seed"
Cell = tuple[float, float] | None  # mean and half the interval's width; None where undefined

# The story that the paper's numbers suggest: everything there under one seed, little under others.
CELLS: Mapping[tuple[str, str], Cell] = {
    ("cosine", SAME): (0.4, 0.1),
    ("cosine", OTHER): (0.1, 0.02),
    ("cosine", CEILING): (0.14, 0.03),
    ("pc_cosine", SAME): (0.3, 0.05),
    ("pc_cosine", OTHER): (0.08, 0.01),
    ("angle_deg", SAME): (23.0, 3.0),
    ("angle_deg", OTHER): (80.0, 2.0),
    ("overlap", SAME): (0.7, 0.05),
    ("overlap", OTHER): (0.06, 0.02),
    ("overlap", TWIN): (0.6, 0.04),
    ("overlap", FAR_TWIN): (0.05, 0.01),
    ("output_overlap", SAME): (0.4, 0.05),
    ("output_overlap", OTHER): (0.35, 0.05),
    ("output_overlap", TWIN): (0.1, 0.02),
    ("output_overlap", FAR_TWIN): (0.1, 0.02),
}
CHANCE = {"overlap": 0.03, "pc_cosine": 0.07, "angle_deg": 82.0, "output_overlap": 0.03}


def interval(low: float | None, high: float | None) -> Interval:
    middle = None if low is None or high is None else (low + high) / 2
    reason = "too few runs" if low is None else None
    return Interval(middle, low, high, 2.0, 3, 0.95, "by hand", reason)


def estimate(measure: str, relation: str, cell: Cell) -> Estimate:
    mean, ends, error = None, None, None
    if cell is not None:
        mean, half = cell
        ends: Ends | None = (mean - half, mean + half)
        error = half / 4.303
    return Estimate(
        relation, measure, (mean,), (("a", "b"),), mean, ends, error, "" if ends else "why"
    )


def evidence(cells: Mapping[tuple[str, str], Cell] | None = None, **fields: Any) -> Evidence:
    known = {**CELLS, **(cells or {})}

    def estimates(measure: str, relation: Relation) -> Estimate:
        return estimate(measure, relation, known.get((measure, relation), (0.5, 0.1)))

    usual: dict[str, Any] = {
        "estimates": estimates,
        "chance": CHANCE,
        "base_cosine": interval(-0.004, 0.006),
        "broad": interval(0.3, 0.6),
        "benign_broad": interval(0.01, 0.05),
        "base_rate": 0.05,
        "no_persona": interval(-0.01, 0.03),
        "ranked": {},
        "harmless": (0.01,),
        "beside": (),
    }
    return Evidence(**(usual | fields))


def verdicts(e: Evidence) -> dict[str, str]:
    return {c.id: c.verdict for c in claims(e)}


def claim(e: Evidence, name: str) -> Claim:
    return next(c for c in claims(e) if c.id == name)


def test_the_usual_story() -> None:
    assert verdicts(evidence()) == {
        "behaviour-broad": HOLDS,
        "control-no-persona": HOLDS,
        "fig1-left": HOLDS,
        "fig1-right": SEED,
        "fig2-left": SEED,
        "fig2-right": SEED,
        "fig1-base": HOLDS,
        "input-benign": SEED,
        "output-benign": HOLDS,
    }


@pytest.mark.parametrize(
    ("name", "cells", "verdict"),
    [
        ("fig1-left", {("cosine", OTHER): (0.01, 0.01)}, SEED),
        ("fig1-left", {("cosine", SAME): (-0.1, 0.05)}, NOT),
        ("fig1-left", {("cosine", SAME): (0.1, 0.2)}, OPEN),
        ("fig1-left", {("cosine", CEILING): (0.14, 0.4)}, OPEN),  # too uncertain to divide by
        ("fig1-left", {("cosine", CEILING): None}, OPEN),
        ("fig1-left", {("cosine", OTHER): None}, OPEN),
        ("fig1-right", {("pc_cosine", OTHER): (0.29, 0.05)}, HOLDS),
        ("fig1-right", {("pc_cosine", SAME): (0.06, 0.005)}, NOT),
        ("fig1-right", {("pc_cosine", SAME): None}, OPEN),
        ("fig2-left", {("angle_deg", OTHER): (25.0, 4.0)}, HOLDS),
        ("fig2-left", {("angle_deg", SAME): (84.0, 1.0)}, NOT),
        ("fig2-left", {("angle_deg", SAME): (80.0, 5.0)}, OPEN),
        ("fig2-right", {("overlap", OTHER): (0.65, 0.05)}, HOLDS),
        ("fig2-right", {("overlap", SAME): (0.02, 0.005)}, NOT),
        ("fig2-right", {("overlap", OTHER): None}, OPEN),
        ("input-benign", {("overlap", OTHER): (0.3, 0.05)}, HOLDS),
        ("input-benign", {("overlap", TWIN): (0.8, 0.02)}, NOT),
        ("input-benign", {("overlap", TWIN): (0.65, 0.04)}, OPEN),
        ("input-benign", {("overlap", TWIN): None}, OPEN),
        ("output-benign", {("output_overlap", OTHER): (0.11, 0.02)}, SEED),
        ("output-benign", {("output_overlap", TWIN): (0.5, 0.01)}, NOT),
        ("output-benign", {("output_overlap", FAR_TWIN): None}, OPEN),
    ],
)
def test_other_numbers_give_other_verdicts(
    name: str, cells: Mapping[tuple[str, str], Cell], verdict: str
) -> None:
    found = verdicts(evidence(cells))
    assert found[name] == verdict
    # Only claims about that measure can have moved.
    measure = next(iter(cells))[0]
    moved = {n for n, v in verdicts(evidence()).items() if found[n] != v}
    assert (
        moved
        <= {
            "cosine": {"fig1-left"},
            "pc_cosine": {"fig1-right"},
            "angle_deg": {"fig2-left"},
            "overlap": {"fig2-right", "input-benign"},
            "output_overlap": {"output-benign"},
        }[measure]
    )


@pytest.mark.parametrize(
    ("name", "fields", "verdict"),
    [
        ("behaviour-broad", {"base_rate": 0.45}, OPEN),
        ("behaviour-broad", {"base_rate": 0.7}, NOT),
        ("behaviour-broad", {"broad": interval(None, None)}, OPEN),
        ("control-no-persona", {"no_persona": interval(0.2, 0.4)}, NOT),
        ("control-no-persona", {"no_persona": interval(-0.05, 0.15)}, OPEN),
        ("control-no-persona", {"no_persona": interval(None, None)}, OPEN),
        ("fig1-base", {"base_cosine": interval(0.02, 0.04)}, NOT),
        ("fig1-base", {"base_cosine": interval(-0.04, -0.02)}, NOT),
        ("fig1-base", {"base_cosine": interval(-0.02, 0.02)}, OPEN),
        ("fig1-base", {"base_cosine": interval(None, None)}, OPEN),
    ],
)
def test_rates_and_base_are_judged_on_their_intervals(
    name: str, fields: dict[str, Any], verdict: str
) -> None:
    found = claim(evidence(**fields), name)
    assert found.verdict == verdict
    assert ("No interval: too few runs." in found.note) == (found.interval is None)


def test_cosine_across_seeds_is_divided_by_its_ceiling() -> None:
    note = claim(evidence(), "fig1-left").note
    assert "0.100 raw; 0.71 divided by the ceiling 0.140" in note
    low = {("cosine", OTHER): (0.02, 0.005), ("cosine", CEILING): (0.025, 0.003)}
    assert verdicts(evidence(low))["fig1-left"] == HOLDS  # hidden by the seed, not absent
    unsure = claim(evidence({("cosine", CEILING): (0.14, 0.4)}), "fig1-left")
    assert "too uncertain to divide by" in unsure.note


def test_without_a_closed_form_random_directions_are_the_chance() -> None:
    cells = {("angle_deg", "random directions"): (81.0, 1.0)}
    found = claim(evidence(cells, chance={**CHANCE, "angle_deg": None}), "fig2-left")
    assert (found.null, found.verdict) == (81.0, SEED)
    nothing = {("angle_deg", "random directions"): None}
    found = claim(evidence(nothing, chance={**CHANCE, "angle_deg": None}), "fig2-left")
    assert (found.null, found.verdict) == (None, OPEN)


def test_claimed_numbers_are_the_papers() -> None:
    published = {c.id: c.claimed for c in claims(evidence()) if c.claimed is not None}
    assert published == {
        "fig1-right": pytest.approx((0.292 + 0.270 + 0.267) / 3, abs=1e-3),
        "fig2-left": pytest.approx((22.2 + 23.1 + 23.0) / 3, abs=0.05),
        "fig2-right": pytest.approx((0.718 + 0.704 + 0.705) / 3, abs=1e-3),
        "fig1-base": 0.001,
    }


def test_summary_json_has_the_contracts_fields() -> None:
    cells = {("overlap", SAME): None, ("cosine", SAME): None}
    e = evidence(cells, base_cosine=interval(None, None))
    document = summary(claims(e), {"seed": 0})
    found = strict_json(Result("reproduce", document).to_json())
    assert found.keys() == {"claims", "provenance"}
    assert len({c["id"] for c in found["claims"]}) == len(found["claims"])
    for c in found["claims"]:
        needed = {"id", "figure", "claimed", "obtained", "interval", "null", "verdict", "note"}
        assert c.keys() >= needed
        assert c["verdict"] in (HOLDS, SEED, NOT, OPEN)
        for number in ("claimed", "obtained", "null"):
            assert c[number] is None or isinstance(c[number], float)
        if c["interval"] is None:
            assert "No interval" in c["note"]
        else:
            low, high = c["interval"]
            assert low <= c["obtained"] <= high
