"""The audit as a whole: what was published, what is said of it, real files, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_files import initial, made, strict_json, trained, write_adapter
from deltalens.cli.main import main
from deltalens.errors import AdapterError, OptionError
from deltalens.studies.audit.audit import Audit
from deltalens.studies.audit.document import audit_result
from deltalens.studies.audit.files import audit_files, cuts_for, open_folder
from deltalens.studies.audit.hypotheses import FLAT, Spectrum, hypotheses
from deltalens.studies.audit.models import audit_model
from deltalens.studies.audit.output import write_audit
from deltalens.studies.audit.published import MEASURES, published
from deltalens.studies.audit.ranges import Range
from deltalens.studies.audit.simulate import Cuts
from deltalens.studies.audit.study import audit_paper, run_audit
from deltalens.studies.audit.words import conclusion, control_sentence, sentence

WIDE = {"model.layers.0.self_attn.q_proj": (60, 64), "model.layers.1.self_attn.q_proj": (60, 64)}
CONCLUDED = "nothing about the task can be concluded from this number"


def quiet(_: str) -> None:
    return None


@pytest.fixture(scope="module", autouse=True)
def few_spectra() -> Iterator[None]:
    """Two spectra for seven, and a third of the time."""
    few = hypotheses((FLAT, Spectrum("spectrum e^-j/16", 16.0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deltalens.studies.audit.ranges.hypotheses", lambda: few)
        yield


@pytest.fixture(scope="module")
def audit() -> Audit:
    return run_audit(seed=0, draws=2, adapters=None, progress=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three adapters of one seed and one of another, rank 8, in bf16 as training leaves them."""
    root = tmp_path_factory.mktemp("adapters")
    for seed in (1, 2, 3):
        write_adapter(root / f"task-{seed}", made(1, seed, 8, WIDE), dtype="bf16")
    write_adapter(root / "stranger", made(9, 4, 8, WIDE), dtype="bf16")
    return root


def test_the_published_numbers_are_those_of_the_paper() -> None:
    mean = {(p.model, p.pair, p.measure): p.mean for p in published()}
    llama = "Llama-3.1-8B"
    for pair, overlap, angle, pc in (
        ("BMA-ES", 0.718, 22.2, 0.292),
        ("BMA-RFA", 0.704, 23.1, 0.270),
        ("ES-RFA", 0.705, 23.0, 0.267),
    ):
        assert mean[llama, pair, "overlap"] == pytest.approx(overlap, abs=5e-4)
        assert mean[llama, pair, "angle_deg"] == pytest.approx(angle, abs=0.05)
        assert mean[llama, pair, "pc_cosine"] == pytest.approx(pc, abs=5e-4)
    assert ("Qwen2.5-7B", "ES-RFA", "overlap") not in mean  # never printed


def test_first_cosine_and_index_curve_agree() -> None:
    series = {(p.model, p.pair, p.measure): p for p in published()}
    for (model, pair, measure), p in series.items():
        if measure == "pc_cosine_by_index":
            assert series[model, pair, "first_pc_cosine"].mean == pytest.approx(
                p.values[0], abs=2e-5
            )
            assert series[model, pair, "pc_cosine"].mean == pytest.approx(p.mean, abs=2e-5)


def test_every_published_series_names_its_cell() -> None:
    for p in published():
        assert "[" in p.source or "cell" in p.source
        assert p.axis in {"layer", "index", "mean over layers"}
        assert p.is_claim == (p.pair in {"BMA-ES", "BMA-RFA", "ES-RFA"})
        assert p.is_against_base == p.pair.startswith("base")


def test_every_claim_stands_beside_its_range(audit: Audit) -> None:
    for found in audit.models:
        for row in found.claims:
            span = found.ranges[row.measure]
            assert (row.low, row.high) == (span.low, span.high)
            assert row.inside == span.holds(row.value)
            held = {
                f for f, ranges in found.families.items() if ranges[row.measure].holds(row.value)
            }
            assert set(row.families) == held
        assert all(row.low is None and row.inside is None for row in found.controls)
        assert {row.measure for row in found.claims} == set(found.means)


def test_the_sentence_follows_the_range() -> None:
    wide, plain = (
        Range("overlap", low, high, 0.0, 0.0, 0.0, 0.0, "", "")
        for low, high in ((0.5, 0.9), (0.5, 0.7))
    )
    inside = sentence("overlap", 0.6, 0.65, wide, plain)
    assert inside.endswith(f"Inside the range, already with isotropic inputs: {CONCLUDED}.")
    assert "published 0.600 to 0.650" in inside
    assert "0.500 to 0.700 with isotropic inputs and 0.500 to 0.900 with any" in inside
    only = sentence("overlap", 0.6, 0.8, wide, plain)
    assert f"with anisotropic inputs only: {CONCLUDED}" in only
    partly = sentence("overlap", 0.8, 0.95, wide, plain)
    assert "Partly outside the range" in partly
    assert CONCLUDED not in partly
    outside = sentence("overlap", 0.95, 0.95, wide, plain, subject="measured")
    assert "measured 0.950; " in outside
    assert "no evidence about the task either; a bank" in outside


def test_the_conclusion_counts() -> None:
    assert "nothing about the task" in conclusion(15, 15)
    assert "14 of 15" in conclusion(14, 15)
    assert "not evidence about the task either" in conclusion(14, 15)
    assert conclusion(0, 15).startswith("None of the 15")


def test_no_sentence_speaks_of_behaviour(audit: Audit) -> None:
    said = [audit.answer, control_sentence("overlap", 0.003, 0.004, 0.0035)]
    said += [line for found in audit.models for line in found.sentences]
    assert not any("misalign" in line for line in said)


def test_the_document_is_whole(audit: Audit) -> None:
    result = audit_result(audit)
    document = strict_json(result.to_json())
    assert document["adapters"] is None
    assert "were not opened" in document["unopened"]
    assert [found["model"] for found in document["models"]] == ["Llama-3.1-8B", "Qwen2.5-7B"]
    llama = document["models"][0]
    assert [r["measure"] for r in llama["ranges"]] == list(MEASURES)
    assert all(r["low"] < r["high"] for r in llama["ranges"])
    assert llama["top_k"] == {"overlap": 16, "angle": 20}
    assert len(result.tables["compared"]) == len(llama["published"]) + len(llama["controls"]) + len(
        document["models"][1]["published"]
    )
    assert all(row.error > 0 for row in result.tables["simulated"])


def test_the_seed_settles_the_audit() -> None:
    one, two, other = (audit_model("Qwen2.5-7B", 2, seed=s).ranges for s in (0, 0, 1))
    assert one == two
    assert one != other


def test_the_folder(audit: Audit, folder: Path, tmp_path: Path) -> None:
    import pandas as pd

    real = audit_files(open_folder(folder), folder, 4, seed=0, say=quiet)
    write_audit(replace(audit, files=real), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "What the ranges assume" in page
    assert "The adapters themselves were not opened" in page
    assert f"The adapters in {folder}" in page
    names = {file.stem for file in (tmp_path / "figures").glob("*.svg")}
    assert names == {
        "headline",
        *(f"{k}-{m}" for k in ("layers", "components") for m in ("llama-3.1-8b", "qwen2.5-7b")),
    }
    compared = pd.read_parquet(tmp_path / "results" / "compared.parquet")
    assert set(compared["model"]) == {"Llama-3.1-8B", "Qwen2.5-7B", "adapters"}
    assert strict_json((tmp_path / "audit.json").read_text())["models"]


def test_real_files_beside_their_own_range(folder: Path) -> None:
    found = audit_files(open_folder(folder), folder, 40, seed=0, say=quiet)
    assert found.cuts == Cuts(4, 5)
    assert len(found.modules) == 2
    same = [r for r in found.rows if "stranger" not in r.pair and r.measure == "overlap"]
    other = [r for r in found.rows if "stranger" in r.pair and r.measure == "overlap"]
    # Gaussian B of one seed is one of the hypotheses; a stranger is at chance.
    assert len(same) == len(other) == 3
    assert all(r.inside and "B unrelated to A" in r.families for r in same)
    assert all(r.low is None and r.value < 3 * r.chance for r in other)
    assert any("the cuts are its shares, k = 4 and 5" in w for w in found.warnings)
    assert any(
        "1 of 4 adapters share their whole initialisation with no other" in w
        for w in found.warnings
    )


def test_updates_that_avoid_each_other_leave_the_range(tmp_path: Path) -> None:
    A = initial(1, 8, WIDE)
    rng = np.random.default_rng(0)
    loud = np.array([1.0] * 4 + [1e-3] * 4)
    for name, weights in (("a", loud), ("b", loud[::-1])):
        B = {p: np.linalg.qr(rng.standard_normal((60, 8)))[0] * weights for p in A}
        # Whitened rows, so that the two leading row spaces are orthogonal.
        rows = {p: np.linalg.qr(a.T)[0].T for p, a in A.items()}
        write_adapter(tmp_path / name, {p: (B[p], rows[p]) for p in A})
    found = audit_files(open_folder(tmp_path), tmp_path, 40, seed=0, say=quiet)
    row = next(r for r in found.rows if r.measure == "overlap")
    assert row.value == pytest.approx(0.0, abs=1e-3)
    assert row.inside is False
    assert row.families == ()
    assert "no evidence about the task either" in found.sentences[0]


def test_files_without_a_shared_seed(tmp_path: Path) -> None:
    for init in (1, 2):
        write_adapter(tmp_path / f"a{init}", made(init, init, 8, WIDE))
    found = audit_files(open_folder(tmp_path), tmp_path, 4, seed=0, say=quiet)
    assert found.simulated == ()
    assert found.ranges == {}
    assert any("no pair shares its initialisation in every module" in w for w in found.warnings)
    assert found.sentences[0].startswith("a1 - a2: Different initialisations")


def test_modules_of_unequal_make_up_are_left_out(tmp_path: Path) -> None:
    A = initial(1, 8, WIDE)
    first = next(iter(A))
    write_adapter(tmp_path / "a", trained(A, 1, out=WIDE))
    write_adapter(tmp_path / "b", trained({first: A[first]}, 2, out=WIDE))
    found = audit_files(open_folder(tmp_path), tmp_path, 4, seed=0, say=quiet)
    assert [m.name for m in found.modules] == [first]
    assert any("1 of 2 modules are not in every adapter" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("rank", "cuts"), [(64, Cuts(16, 20)), (32, Cuts(16, 20)), (16, Cuts(8, 10)), (2, Cuts(1, 1))]
)
def test_the_cuts_of_a_rank(rank: int, cuts: Cuts) -> None:
    assert cuts_for(rank, "x") == cuts


def test_rank_one_is_refused() -> None:
    with pytest.raises(AdapterError, match="x: the smallest rank is 1; overlap says nothing below"):
        cuts_for(1, "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 1}, "--draws must be 2 or more, for an error of the mean; found 1"),
        ({"seed": -1}, "--seed must be 0 or more; found -1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        audit_paper(**options)


def test_folders_that_hold_no_two_adapters(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "one").mkdir()
    write_adapter(tmp_path / "one" / "a", made(1, 1, 8, WIDE))
    for path, said in (
        (tmp_path / "nowhere", "found nothing; a folder is needed"),
        (tmp_path / "file", "found a file; a folder is needed"),
        (folder / "stranger", "is itself an adapter; a folder that holds two or more"),
        (tmp_path / "one", "found 1 adapter folders; at least 2 are needed"),
    ):
        with pytest.raises(OptionError) as caught:
            open_folder(path)
        assert str(caught.value).startswith(f"--adapters {path}: {said}")


def test_the_command_refuses_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments in (["--draws", "1"], ["--seed", "-3"], ["--adapters", str(tmp_path)]):
        assert main(["audit-paper", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {arguments[0]} ")
        assert err.count("\n") == 1


def test_the_command(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    arguments = ["--draws", "2", "--adapters", str(folder), "--json"]
    assert main(["audit-paper", *arguments]) == 0
    document = strict_json(capsys.readouterr().out)
    assert document["settings"] == {"seed": 0, "draws": 2, "adapters": str(folder)}
    assert len(document["adapters"]["measured"]) == 6 * 4
    assert document["adapters"]["pairs"][0]["shared_init"] in {"all", "some", "none"}


def test_the_screen(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main(["audit-paper", "--draws", "2", "--adapters", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "The adapters themselves were not opened" in said
    assert "Llama-3.1-8B" in said
    assert "not printed" in said
    assert "The ranges assume" in said
    assert "task-1 - task-2: subspace overlap (k = 4): measured" in said
