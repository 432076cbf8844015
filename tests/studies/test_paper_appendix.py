"""The appendix: single directions, groups against the base, and that everything is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.core.adapter import Adapter
from deltalens.core.result import Result
from deltalens.geometry.pc_profile import pc_profile
from deltalens.io.read import load
from deltalens.studies.compare.study import compare
from deltalens.studies.paper.appendix.base_groups import GROUPS, MEASURES, base_groups, base_table
from deltalens.studies.paper.appendix.section import (
    Appendix,
    appendix,
    appendix_figures,
    appendix_sections,
    appendix_tables,
)
from deltalens.studies.paper.estimates import pair_values
from deltalens.studies.paper.organisms import Organisms
from deltalens.studies.paper.random_baseline import random_like
from deltalens.studies.paper.relations import RANDOM, relate
from organism_files import hand_made

K = 3


@pytest.fixture(scope="module")
def organisms(tmp_path_factory: pytest.TempPathFactory) -> Organisms:
    return hand_made(tmp_path_factory.mktemp("organisms"))


@pytest.fixture(scope="module")
def adapters(organisms: Organisms) -> list[Adapter]:
    found = [load(folder) for folder in organisms.folders.values()]
    return [*found, random_like(found[0], RANDOM, rng=np.random.default_rng(0))]


@pytest.fixture(scope="module")
def comparison(organisms: Organisms, adapters: list[Adapter]) -> Result:
    return compare(adapters, base=organisms.base, top_k=K, full_provenance=False)


@pytest.fixture(scope="module")
def found(comparison: Result, organisms: Organisms, adapters: list[Adapter]) -> Appendix:
    entries = organisms.entries
    return appendix(comparison, entries, adapters, relate(entries), K)


def test_single_directions_are_those_of_a_dense_svd(adapters: list[Adapter]) -> None:
    one, two = adapters[0], adapters[3]
    keys = sorted(one.specs)
    profile = pc_profile([one, two], keys, K)
    for m, key in enumerate(keys):
        V = [np.linalg.svd(a[key].B @ a[key].A, full_matrices=False)[2][:K] for a in (one, two)]
        np.testing.assert_allclose(profile[m, 0, 1], np.abs(np.einsum("ij,ij->i", *V)), atol=1e-6)
        np.testing.assert_allclose(profile[m, 0, 0], 1.0, atol=1e-9)


def test_their_mean_is_the_pc_cosine(
    found: Appendix, comparison: Result, organisms: Organisms
) -> None:
    values = pair_values(comparison, "pc_cosine")
    pair = next(r for r in relate(organisms.entries) if r.relation == "same seed")
    held = [r.value for r in found.pcs if (r.a, r.b) == (pair.a, pair.b)]
    assert len(held) == K
    mean = np.mean(np.array(held, dtype=float))
    assert mean == pytest.approx(values[frozenset((pair.a, pair.b))], abs=1e-9)


def test_directions_beyond_the_rank_are_undefined(adapters: list[Adapter]) -> None:
    profile = pc_profile(adapters[:2], sorted(adapters[0].specs), 9)
    assert profile.shape[-1] <= 9
    assert np.isnan(profile).all()


def test_groups_against_the_base_hold_every_run_once(
    comparison: Result, organisms: Organisms
) -> None:
    made = base_groups(comparison, organisms.entries)
    for measure in MEASURES:
        sizes = {group: len(values) for group, values in made.values[measure].items()}
        assert sizes == {"bad": 6, "narrow": 2, "benign": 8}
    ours = [t for t in made.tests if t.variant == "tasks"]
    assert len(ours) == len(MEASURES)
    for test in ours:  # three bad tasks, four benign ones
        assert test.n == 7
        assert test.p_smallest == pytest.approx(2 / 35)
        assert test.p is not None
        assert test.p_smallest is not None
        assert test.p >= test.p_smallest
        assert test.reason == "too few tasks for p = .05"
    theirs = [t for t in made.tests if t.variant == "paper"]
    assert {t.test.split()[0] for t in theirs} == {"Kruskal-Wallis", "Mann-Whitney"}
    assert "not independent" in base_table(made).caption


def test_everything_is_drawn_and_written(found: Appendix) -> None:
    drawn = appendix_figures(found)
    assert {"groups-boxes-overlap", "groups-layers-cosine", "groups-tree-overlap"} <= drawn.keys()
    assert {"appendix-pcs", "appendix-base-overlap"} <= drawn.keys()
    sections = appendix_sections(found, dict.fromkeys(drawn, "<svg></svg>"))
    assert sections[0].title == "Figures 4 and 5 and the appendix"
    tables = appendix_tables(found)
    assert all(len(rows) > 0 for rows in tables.values())
    groups = {row.a for row in tables["groups"]} | {row.b for row in tables["groups"]}
    assert groups == set(GROUPS)
