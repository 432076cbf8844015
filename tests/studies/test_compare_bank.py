"""`compare` with a benign bank: values, ranks, who may count, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deltalens
from adapter_files import (
    ONE,
    Factors,
    Modules,
    document,
    in_memory,
    initial,
    made,
    pair,
    write_adapter,
    write_base,
)
from deltalens.core.adapter import Adapter
from deltalens.errors import AdapterError, OptionError
from deltalens.geometry.survey import survey
from deltalens.studies.compare.bank import first, pair_values
from deltalens.studies.compare.rows import MEASURES, SMALLER_IS_ALIKE


def members(count: int, *, init: int = 1, start: int = 100, r: int = 4) -> list[Adapter]:
    return [in_memory(f"c{i}", made(init, start + i, r)) for i in range(count)]


def related(seed: int, strength: float = 1.5, init: int = 1) -> dict[str, Factors]:
    """B drawn towards one direction that all related adapters get."""
    common = made(init, 99)
    return {p: (B + strength * common[p][0], A) for p, (B, A) in made(init, seed).items()}


def both_related() -> tuple[Adapter, Adapter]:
    return in_memory("a", related(1)), in_memory("b", related(2))


def test_the_bank_is_preferred_for_every_measure_on_both_sides() -> None:
    p = pair(*both_related(), bank=members(3), draws=9)
    assert p["null_used"] == dict.fromkeys(MEASURES, "bank")
    assert p["nulls"]["rotation"] is not None  # what the others would have said stays beside it
    assert p["nulls"]["haar"] is not None
    for name in MEASURES:
        assert p["nulls"]["bank"][name]["draws"] == 3
        assert p["p_smallest"][name] == 1 / 4
        assert p["p"][name] in (1 / 4, 2 / 4, 3 / 4, 1.0)


def test_values_and_ranks_against_plain_comparisons() -> None:
    """The other way: the members given as adapters, without a bank."""
    a, b = in_memory("a", related(1, 0.5)), in_memory("b", related(2, 0.5))
    bank = members(3)
    found = document(a, b, bank=bank)
    p = found["pairs"][0]
    plain = {(q["a"], q["b"]): q for q in document(a, b, *bank)["pairs"]}
    for name in MEASURES:
        beside = [[plain[end, c.name][name] for c in bank] for end in "ab"]
        pooled = [*beside[0], *beside[1]]
        ours = found["bank"]["values"][name]
        assert [ours["a"], ours["b"]] == [pytest.approx(v, abs=1e-9) for v in beside]
        moments = p["nulls"]["bank"][name]
        assert moments["mean"] == pytest.approx(np.mean(pooled))
        assert moments["sd"] == pytest.approx(np.std(pooled, ddof=1))
        assert (moments["low"], moments["high"]) == pytest.approx((min(pooled), max(pooled)))
        sign = -1 if name in SMALLER_IS_ALIKE else 1
        ranks = [1 + sum(sign * v >= sign * p[name] for v in values) for values in beside]
        assert p["p"][name] == max(ranks) / 4


def test_a_bank_changes_no_value_of_the_pair() -> None:
    a, b = both_related()
    alone, beside = pair(a, b), pair(a, b, bank=members(5))
    for name in MEASURES:
        assert beside[name] == pytest.approx(alone[name], abs=1e-9)
    for null in ("haar", "rotation"):
        assert set(beside["nulls"][null]) == set(alone["nulls"][null])
    assert beside["n_modules"] == alone["n_modules"]


def test_all_pairs_at_once_are_the_pairs_one_by_one() -> None:
    lacking = {p: f for i, (p, f) in enumerate(made(1, 5).items()) if i != 1}
    adapters = [in_memory("a", made(1, 1)), in_memory("b", lacking), in_memory("c", made(2, 3))]
    s = survey(adapters, sorted(adapters[0].specs), 2)
    values = pair_values(s)
    for i, j in ((0, 1), (1, 2), (0, 2)):
        row = pair(adapters[i], adapters[j], top_k=2)
        for name in MEASURES:
            assert values[name][i, j] == pytest.approx(row[name], abs=1e-9), name
            assert values[name][j, i] == pytest.approx(values[name][i, j], abs=1e-12)
    two = first(s, 2)
    assert two.names == ("a", "b")
    assert two.inner.shape[1:] == two.common.shape[1:] == (2, 2)
    assert two.measures["output"]["overlap"].shape[1:] == (2, 2)


def one_step(rng: np.random.Generator, A: dict[str, np.ndarray]) -> dict[str, Factors]:
    """`B = G C A0^T`: one gradient step of an unrelated task.

    Inputs are anisotropic, and so are output gradients, in the same directions for every task.
    """
    found: dict[str, Factors] = {}
    for path, a in A.items():
        out, width = ONE[path][0], a.shape[1]
        gradient = np.exp(-np.arange(out) / 8)[:, None] * rng.standard_normal((out, width))
        found[path] = (gradient * np.exp(-np.arange(width) / 8) @ a.T, a)
    return found


@pytest.fixture(scope="module")
def unrelated() -> list[dict[str, Any]]:
    """All pairs of 21 unrelated updates, each ranked among the other 19."""
    rng, A = np.random.default_rng(3), initial(1, shapes=ONE)
    adapters = [in_memory(f"a{i}", one_step(rng, A)) for i in range(21)]
    again = [a.renamed(f"c{i}") for i, a in enumerate(adapters)]
    return document(*adapters, bank=again)["pairs"]


@pytest.mark.parametrize("measure", MEASURES)
def test_the_level_is_at_most_five_per_cent_on_both_sides(
    measure: str, unrelated: list[dict[str, Any]]
) -> None:
    p = np.array([row["p"][measure] for row in unrelated])
    assert len(p) == 210
    assert all(row["null_used"][measure] == "bank" for row in unrelated)
    assert all(row["nulls"]["bank"][measure]["draws"] == 19 for row in unrelated)
    assert np.mean(p <= 0.05) <= 0.05


def test_where_haar_is_fooled(unrelated: list[dict[str, Any]]) -> None:
    """The same unrelated pairs exceed chance on the output side: gradients share structure."""
    z = [
        (row["output_overlap"] - null["mean"]) / null["sd"]
        for row in unrelated
        for null in (row["nulls"]["haar"]["output_overlap"],)
    ]
    assert np.mean(np.array(z) > 1.645) > 0.5


def test_power_for_a_planted_task() -> None:
    p = pair(*both_related(), bank=members(19))
    for name in ("cosine", "output_overlap"):
        assert p["p"][name] == p["p_smallest"][name] == 0.05
    assert p["z"]["cosine"] > 3
    assert p["p_holm"]["smallest"]["cosine"] == 0.05
    assert not p["warnings"]


def test_the_pair_itself_never_counts(tmp_path: Path) -> None:
    """Two paths to one update, another precision: the content tells."""
    one, two = write_adapter(tmp_path / "a", related(1)), write_adapter(tmp_path / "b", related(2))
    again = write_adapter(tmp_path / "bank" / "other-name", related(1))
    rest = [write_adapter(tmp_path / "bank" / f"c{i}", made(1, 100 + i)) for i in range(3)]
    p = pair(one, two, bank=[again, two, *rest])
    assert p["bank"]["members_a"] == p["bank"]["members_b"] == ["c0", "c1", "c2"]
    assert {(row["name"], row["beside"]) for row in p["bank"]["left_out"]} == {
        (name, end) for name in ("other-name", "b") for end in "ab"
    }
    assert all(row["reason"].startswith("the pair itself") for row in p["bank"]["left_out"])


def test_members_of_another_kind_are_left_out_by_name() -> None:
    a, b = both_related()
    fewer = {p: f for i, (p, f) in enumerate(made(1, 50).items()) if i}
    uneven = {
        p: (f if i else (f[0][:, :3], f[1][:3])) for i, (p, f) in enumerate(made(1, 51).items())
    }
    odd = [
        in_memory("narrow", made(1, 52, 3)),
        in_memory("fewer", fewer),
        in_memory("uneven", uneven),
    ]
    found = document(a, b, bank=[*odd, *members(2)])
    assert found["bank"]["members"] == ["c0", "c1"]
    reasons = {row["name"]: row["reason"] for row in found["bank"]["left_out"]}
    assert reasons["narrow"] == "rank 3, where a has 4"
    assert reasons["fewer"].startswith("other target modules than a (1 missing, 0 more; model.")
    assert reasons["uneven"] == "rank 3, 4, where a has 4"
    assert "bank: narrow left out: rank 3, where a has 4" in found["warnings"]


def test_equal_ranks_in_other_modules_are_another_kind() -> None:
    def ranks(seed: int, narrow: int) -> Modules:
        held = made(1, seed).items()
        return {p: ((f[0][:, :2], f[1][:2]) if i == narrow else f) for i, (p, f) in enumerate(held)}

    found = document(
        in_memory("a", ranks(1, 0)),
        in_memory("b", ranks(2, 0)),
        bank=[in_memory("c", ranks(3, 1))],
        top_k=1,
    )
    assert found["bank"]["left_out"][0]["reason"] == "other ranks by module than a"


def test_another_precision_is_another_kind(tmp_path: Path) -> None:
    folders = [write_adapter(tmp_path / n, related(i), dtype="<f4") for i, n in enumerate("ab")]
    rounded = write_adapter(tmp_path / "c", made(1, 7), dtype="bf16")
    found = document(*folders, bank=[rounded])
    assert found["bank"]["left_out"][0]["reason"] == "stored in another format or precision than a"
    assert found["pairs"][0]["nulls"]["bank"] is None
    reason = found["pairs"][0]["null_reasons"]["bank"]
    assert reason == "no member of the bank can stand for b beside a (the bank is empty)"


def test_members_of_another_seed_are_left_out_with_the_reason() -> None:
    found = pair(*both_related(), bank=members(3, init=2))
    assert found["nulls"]["bank"] is None
    assert set(found["null_used"].values()) == {"rotation", "haar"}
    assert found["null_reasons"]["bank"] == (
        "no member of the bank can stand for b beside a "
        "(3: another seed relation to the other adapter than the pair's)"
    )
    assert "No evidence about the task: no member of the bank can stand for b" in found["verdict"]


def test_across_seeds_each_adapter_needs_members_of_its_own_initialisation() -> None:
    a, b = in_memory("a", made(1, 1)), in_memory("b", made(2, 2))
    ones, twos = members(3), [c.renamed(f"d{c.name}") for c in members(4, init=2)]
    half = pair(a, b, bank=ones)
    assert "no member of the bank can stand for b beside a" in half["null_reasons"]["bank"]
    whole = pair(a, b, bank=[*ones, *twos])
    assert whole["bank"]["members_a"] == ["dc0", "dc1", "dc2", "dc3"]  # in b's place
    assert whole["bank"]["members_b"] == ["c0", "c1", "c2"]
    assert whole["nulls"]["bank"]["cosine"]["draws"] == 3  # of the direction with fewer
    assert "unrelated adapters of these initialisations" in whole["verdict"]


def test_a_moved_initialisation_has_no_bank() -> None:
    other = initial(77)
    moved = {p: (B, 0.45 * A + 0.9 * other[p]) for p, (B, A) in made(1, 2).items()}
    found = pair(in_memory("a", made(1, 1)), in_memory("b", moved), bank=members(3))
    assert "moved or is shared in part" in found["null_reasons"]["bank"]
    assert found["bank"] == {"members_a": [], "members_b": [], "left_out": []}


def test_undefined_values_with_a_member_do_not_count() -> None:
    zero = {p: (np.zeros_like(B), A) for p, (B, A) in made(1, 3).items()}
    p = pair(*both_related(), bank=[in_memory("zero", zero), *members(3)])
    assert {m["draws"] for m in p["nulls"]["bank"].values()} == {3}
    dead = pair(*both_related(), bank=[in_memory("zero", zero)])
    assert (
        dead["null_reasons"]["bank"] == "no measure of the pair is defined with the bank's members"
    )


@pytest.mark.parametrize(("count", "warned"), [(18, True), (19, False)])
def test_a_small_bank_says_that_it_cannot_reach_five_per_cent(count: int, warned: bool) -> None:
    p = pair(*both_related(), bank=members(count))
    assert bool(p["warnings"]) == warned
    if warned:
        assert p["warnings"] == [
            "the bank has 18 exchangeable members: p cannot be under 0.053, "
            "and cannot reach .05 (19 members would)"
        ]


def test_what_holm_leaves_of_a_small_bank_is_said() -> None:
    adapters = [in_memory(n, related(i)) for i, n in enumerate("abc")]
    found = document(*adapters, bank=members(19))
    for p in found["pairs"]:
        assert p["p_holm"]["smallest"]["cosine"] == pytest.approx(0.15)
        assert p["p_holm"]["cosine"] >= 0.15 - 1e-12
    assert found["warnings"] == [
        "a bank of 19 cannot give p 0.05 after Holm's correction over 3 pairs (smallest 0.15): "
        "compare fewer pairs, or give 59 members"
    ]


def test_the_table_of_the_bank() -> None:
    result = deltalens.compare(both_related(), bank=members(2), full_provenance=False)
    rows = list(result.tables["bank"])
    assert len(rows) == 2 * 2 * len(MEASURES)
    value = {(r.adapter, r.member, r.measure): r.value for r in rows}
    assert value["b", "c1", "overlap"] == result.document["bank"]["values"]["overlap"]["b"][1]
    assert result.provenance["settings"]["bank"] == ["c0", "c1"]
    alone = deltalens.compare(both_related(), full_provenance=False)
    assert "bank" not in alone.tables
    assert alone.document["bank"] is None
    assert alone.document["pairs"][0]["bank"] is None


def test_the_files_of_the_bank_are_in_the_provenance(tmp_path: Path) -> None:
    a, b, c = (write_adapter(tmp_path / n, made(1, i)) for i, n in enumerate("abc"))
    result = deltalens.compare([a, b], bank=[c])
    assert len(result.provenance["inputs"]) == 3


def test_rows_against_the_base_are_not_ranked(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = write_base(tmp_path, {p: rng.standard_normal(s) for p, s in ONE.items()})
    a, b, *bank = (in_memory(n, made(1, i, shapes=ONE)) for i, n in enumerate("abcd"))
    row = document(a, b, bank=bank, base=base)["base"][0]
    assert row["nulls"]["bank"] is None
    assert row["null_reasons"]["bank"] == (
        "a bank ranks pairs of adapters, not an adapter against the base"
    )


def test_every_missing_rung_says_what_would_supply_it() -> None:
    found = document(*both_related())
    rungs = found["pairs"][0]["rungs"]
    assert rungs["given"] == ["haar", "rotation"]
    assert set(rungs["missing"]) == {"activation", "bank", "ceiling", "labels"}
    assert rungs["missing"]["bank"]["supply"].startswith("--bank GLOB")
    assert rungs["missing"]["activation"]["supply"].startswith("--covariances FILE")
    assert all(m["reason"] and m["supply"] for m in rungs["missing"].values())
    assert list(found["ladder"]) == [*rungs["given"], *rungs["missing"]]
    for null in found["ladder"].values():
        assert all(null[field] for field in ("formula", "assumes", "valid_for", "supports"))
    ranked = pair(*both_related(), bank=members(2))["rungs"]
    assert ranked["given"] == ["haar", "rotation", "bank"]


def test_a_bank_needs_a_pair(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = write_base(tmp_path, {p: rng.standard_normal(s) for p, s in ONE.items()})
    with pytest.raises(OptionError, match="--bank ranks pairs of adapters; found 1 adapter, at"):
        deltalens.compare(
            [in_memory("a", made(1, 1, shapes=ONE))],
            base=base,
            bank=[in_memory("c", made(1, 2, shapes=ONE))],
        )


def test_a_member_of_other_shapes_names_itself() -> None:
    other = dict.fromkeys(ONE, (40, 50))
    with pytest.raises(AdapterError) as caught:
        deltalens.compare(both_related(), bank=[in_memory("wide", made(1, 1, shapes=other))])
    assert str(caught.value) == (
        "bank: model.layers.0.self_attn.q_proj is [40, 50] in wide and [40, 48] in a; "
        "adapters of one base have equal shapes"
    )


def test_a_member_of_another_base_names_itself(tmp_path: Path) -> None:
    a, b, c = (write_adapter(tmp_path / n, made(1, i)) for i, n in enumerate("abc"))
    config = json.loads((c / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "other/model"
    (c / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError) as caught:
        deltalens.compare([a, b], bank=[c])
    assert str(caught.value) == "bank: c names the base model other/model; the adapters name b"


def test_members_of_one_name_are_refused() -> None:
    with pytest.raises(AdapterError, match="2 members of the bank are called 'c0'; names differ"):
        deltalens.compare(both_related(), bank=[*members(1), *members(1)])


def test_a_broken_member_names_its_file(tmp_path: Path) -> None:
    a, b, c = (write_adapter(tmp_path / n, made(1, i)) for i, n in enumerate("abc"))
    (c / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(AdapterError, match=r"/c/adapter_model\.safetensors"):
        deltalens.compare([a, b], bank=[c])


def test_the_report_shows_the_bank_beside_each_pair() -> None:
    from deltalens.figures import to_svg
    from deltalens.report.page import FigureBlock, TableBlock
    from deltalens.studies.compare.bank_report import bank_figures, bank_values
    from deltalens.studies.compare.output import comparison_page

    result = deltalens.compare(both_related(), bank=members(3), full_provenance=False)
    p = result.document["pairs"][0]
    for measure in ("cosine", "overlap", "output_overlap"):
        moments = p["nulls"]["bank"][measure]
        shown = bank_values(result.document, p, measure)
        assert len(shown) == 6
        assert (min(shown), max(shown)) == (moments["low"], moments["high"])
    svg = {name: to_svg(f) for name, f in bank_figures(result.document, width=6.0).items()}
    page = comparison_page(result, svg)
    assert "the null is a benign bank of the same initialisation" in page.answer
    figure, table = next(s for s in page.sections if s.title == "Among unrelated adapters").blocks
    assert isinstance(figure, FigureBlock)
    assert figure.svg == svg["bank"]
    assert isinstance(table, TableBlock)
    assert [row[1] for row in table.rows] == ["update cosine", "input overlap", "output overlap"]
    assert table.rows[0][-1] == p["p_holm"]["smallest"]["cosine"] == 0.25


def test_the_bands_of_the_sides_figure_are_the_banks() -> None:
    from matplotlib.text import Text

    from deltalens.studies.compare.bank_report import bank_figures
    from deltalens.studies.compare.drawings import sides

    ranked = document(*both_related(), bank=members(3), draws=9)
    alone = document(*both_related(), draws=9)
    names = [
        " ".join(t.get_text() for t in sides(d, width=6.0).findobj(Text)) for d in (ranked, alone)
    ]
    assert "bank of unrelated adapters" in names[0]
    assert "bank of unrelated adapters" not in names[1]
    assert bank_figures(alone, width=6.0) == {}
    nobody = document(*both_related(), bank=members(3, init=2))
    assert bank_figures(nobody, width=6.0) == {}
