"""The study from organisms to its folder, on organisms made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from line_cases import walked

from adapter_files import strict_json
from deltalens.core.result import Result
from deltalens.errors import OptionError, OutputError
from deltalens.stats.intervals import t_interval
from deltalens.studies.paper import examine as examine_module
from deltalens.studies.paper import study as study_module
from deltalens.studies.paper.examine import Study, examine
from deltalens.studies.paper.families import FAMILIES, BaseFamily
from deltalens.studies.paper.lines.walked import Walked
from deltalens.studies.paper.organisms import Organisms
from deltalens.studies.paper.relations import RANDOM
from deltalens.studies.paper.study import reproduce
from organism_files import hand_made

DRAWS = 9
_NO_RISE = (t_interval([0.0, 0.01, 0.02]), 0.05)


def quiet(_: str) -> None:
    return None


def examined(organisms: Organisms, family: BaseFamily = FAMILIES[0]) -> Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examine_module, "DRAWS", DRAWS)
        patch.setattr(examine_module, "no_persona_rise", lambda: _NO_RISE)
        return examine(organisms, walked(), family=family, seed=0, say=quiet)


@pytest.fixture(scope="module")
def organisms(tmp_path_factory: pytest.TempPathFactory) -> Organisms:
    return hand_made(tmp_path_factory.mktemp("organisms"))


@pytest.fixture(scope="module")
def study(organisms: Organisms) -> Study:
    return examined(organisms)


@pytest.fixture(scope="module")
def other(organisms: Organisms) -> Study:
    """The same organisms passed off as those of the second base."""
    return examined(organisms, FAMILIES[1])


@dataclass
class Written:
    """What one run of `reproduce` left, its training and comparison taken from the fixtures."""

    folder: Path
    result: Result
    asked: list[dict[str, Any]]
    walks: list[dict[str, Any]]
    lines: list[str]


@pytest.fixture(scope="module")
def written(study: Study, other: Study, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("written") / "r"
    asked: list[dict[str, Any]] = []
    walks: list[dict[str, Any]] = []
    lines: list[str] = []

    def grow(out: Path, **options: Any) -> Organisms:
        asked.append({**options, "out": out})
        return study.organisms

    def walk_lines(organisms: Organisms, out: Path, **options: Any) -> Walked:
        walks.append({**options, "out": out})
        return study.walked

    def examine(
        organisms: Organisms, walked: Walked, *, family: BaseFamily, seed: int, say: Any
    ) -> Study:
        assert (organisms, walked, seed) == (study.organisms, study.walked, 0)
        return {study.family: study, other.family: other}[family]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "grow", grow)
        patch.setattr(study_module, "walk_lines", walk_lines)
        patch.setattr(study_module, "examine", examine)
        result = reproduce(folder, fresh=True, workers=1, say=lines.append)
    return Written(folder, result, asked, walks, lines)


def verdicts(study: Study) -> dict[str, str]:
    return {c.id: c.verdict for c in study.claims}


def test_planted_numbers_come_out(study: Study) -> None:
    """One common direction in B and one A a seed were planted, and nothing else."""
    found = verdicts(study)
    assert found["behaviour-broad"] == "holds"
    assert found["control-no-persona"] == "holds"
    assert found["fig2-right"] != "does not hold"
    assert found["output-benign"] == "holds"  # the common direction is in B
    assert found["fig1-base"] == "holds"
    broad = next(c for c in study.claims if c.id == "behaviour-broad")
    assert broad.obtained == pytest.approx(0.5, abs=0.02)
    assert broad.null == pytest.approx(0.05, abs=0.02)


def test_quiet_organisms_change_the_verdict(tmp_path: Path) -> None:
    found = verdicts(examined(hand_made(tmp_path, broad=0.01)))
    assert found["behaviour-broad"] == "does not hold"


def test_the_comparison_holds_base_and_random_directions(study: Study) -> None:
    document = study.comparison.document
    names = [a["name"] for a in document["adapters"]]
    assert len(names) == 19
    assert names[-1] == RANDOM
    assert {row["b"] for row in document["base"]} == {"base"}
    groups = sorted((sorted(g) for g in document["init_groups"]), key=len)
    assert [len(g) for g in groups] == [1] * 9 + [10]  # eight own, the random one; ten share one
    chance = study.evidence.chance
    assert chance["overlap"] == pytest.approx((((4 / 128 + 4 / 352) / 2) + 4 / 128) / 2)
    assert chance["output_overlap"] == pytest.approx(4 / 128)
    assert chance["angle_deg"] is not None


def test_the_same_seed_gives_the_same_numbers(study: Study, organisms: Organisms) -> None:
    again = examined(organisms)
    for one, two in zip(study.claims, again.claims, strict=True):
        assert one == two


def test_reproduce_trains_then_writes(written: Written) -> None:
    out = written.folder
    assert [a["out"] for a in written.asked] == [out / "organisms", out / "qwen2" / "organisms"]
    assert [a["out"] for a in written.walks] == [out / "lines", out / "qwen2" / "lines"]
    assert [a["base"] for a in written.asked] == ["toy", "toy-qwen2"]
    for asked in written.asked:
        assert (asked["seed"], asked["fresh"], asked["workers"]) == (0, True, 1)
    assert all(a["fresh"] for a in written.walks)
    assert written.lines
    text = (written.folder / "summary.json").read_text()
    assert strict_json(text) == strict_json(written.result.to_json())


def test_the_folder_is_whole(written: Written) -> None:
    out = written.folder
    found = strict_json((out / "summary.json").read_text())
    assert found.keys() == {"claims", "provenance"}
    assert found["provenance"].keys() == {"toy", "toy-qwen2"}
    assert (
        len(found["provenance"]["toy"]["inputs"]) == 34
    )  # base, 18 organisms, 15 more in the bank
    assert {p.name for p in (out / "results").iterdir()} >= {
        *("pairs.parquet", "modules.parquet", "claims.parquet", "behaviour.parquet"),
        *("lines.parquet", "triangle.parquet", "bank.parquet", "qwen2"),
    }
    figures = {p.stem for p in (out / "figures").iterdir() if p.is_file()}
    assert figures == {p.stem for p in (out / "figures" / "qwen2").iterdir()}
    assert figures >= {
        "headline",
        "behaviour",
        "fig1-left",
        "fig1-right",
        "fig2-left",
        "fig2-right",
        "fig3",
        "fig3-triangle",
    }
    for name in figures:
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / "figures" / f"{name}.svg").read_text().startswith("<svg")
    report = (out / "report.html").read_text()
    for c in found["claims"]:
        assert c["verdict"] in report
    assert "not evidence about large models" in report
    assert not [p for p in out.rglob("*") if "partial" in p.name]


def test_tables_agree_with_the_document(study: Study, written: Written) -> None:
    import pandas as pd

    claims = pd.read_parquet(written.folder / "results" / "claims.parquet")
    first = claims.iloc[: len(study.claims)]
    assert list(first["id"]) == [c.id for c in study.claims]
    obtained = np.array([c.obtained for c in study.claims], dtype=float)
    np.testing.assert_allclose(first["obtained"].to_numpy(float), obtained)
    assert {name.partition("/")[0] for name in claims["id"][len(study.claims) :]} == {"qwen2"}
    behaviour = pd.read_parquet(written.folder / "results" / "behaviour.parquet")
    assert len(behaviour) == 19 * 96


def test_the_second_base_has_every_claim_but_the_first_bases_control(
    study: Study, other: Study
) -> None:
    mine = [c.id for c in study.claims if c.id != "control-no-persona"]
    named = other.named_claims()
    assert [c.id for c in named] == [f"qwen2/{name}" for name in mine]
    assert all(c.figure.endswith("Qwen2") and not c.lead for c in named)
    assert study.named_claims() == list(study.claims)


def test_the_bank_ranks_what_was_planted(study: Study) -> None:
    """A common direction in B of the bad ones: the cosine and the output side tell."""
    found = {c.id: c for c in study.claims}
    for name in ("bank-cosine", "bank-output"):
        assert found[name].verdict == "holds"
    control = [c for c in study.evidence.beside if c.measure == "cosine"]
    assert {c.kind for c in control} == {"style", "facts", "good"}
    closer = sum(c.low > c.others for c in control)
    assert f"Control: {closer} of {len(control)} harmless" in found["bank-cosine"].note
    rows = study.evidence.ranked["output_overlap"]
    assert len(rows) == 3
    for row in rows:
        assert (row.members, row.p) == (19, pytest.approx(1 / 20))
        assert row.value is not None
        assert row.high is not None
        assert row.value > row.high
        assert row.others["rotation"] is None  # it does not move the output side


def test_reproduce_refuses_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--seed must be 0 or more; found -1"):
        reproduce(tmp_path / "r", seed=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: cannot be written to"):
        reproduce(tmp_path / "file")
