"""What the verbs print and write: JSON for programs, tables for people, folders for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference
from adapter_files import (
    SHAPES,
    Modules,
    in_memory,
    made,
    strict_json,
    write_adapter,
    write_base,
)
from deltalens.cli.main import main
from deltalens.core.result import Result
from deltalens.studies.compare.study import compare
from deltalens.studies.paper.claim import Claim

Captured = pytest.CaptureFixture[str]
HOSTILE = "x\x1b[31m\u202e\u2028y\u200b\x07"


def printed(capsys: Captured, *arguments: Any, status: int = 0) -> str:
    """Stdout of a command that says nothing on stderr."""
    assert main([str(a) for a in arguments]) == status
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """A folder of eight adapters: three of one initialisation, five others."""
    for i in range(8):
        write_adapter(tmp_path / "eight" / f"run{i}", made(max(0, i - 2), i))
    return tmp_path / "eight"


def assert_dense(modules: dict[str, Any], truth: Modules) -> None:
    assert modules.keys() == truth.keys()
    for path, row in modules.items():
        B, A = truth[path]
        assert row["shape"] == [B.shape[0], A.shape[1]]
        assert row["rank"] == A.shape[0]
        assert row["norm"] == pytest.approx(reference.norm(B, A), rel=1e-12)
        assert row["probe"] == pytest.approx(reference.probe(B, A), rel=1e-9)


def test_inspect_one(capsys: Captured, tmp_path: Path) -> None:
    modules = made(1, 2)
    folder = write_adapter(tmp_path / "a", modules)
    found = strict_json(printed(capsys, "inspect", folder, "--json"))
    assert found.keys() >= {"name", "format", "base_model", "modules", "bias", "warnings"}
    assert (found["name"], found["format"], found["base_model"]) == ("a", "peft-lora", "b")
    assert (found["bias"], found["warnings"], found["scaling"]) == ({}, [], [3.0])
    assert_dense(found["modules"], modules)
    text = printed(capsys, "inspect", folder)
    assert "a: peft-lora, base b" in text
    assert "probe" not in text
    for path in modules:
        assert path in text
    file = folder / "adapter_model.safetensors"
    assert strict_json(printed(capsys, "inspect", file, "--json")) == found


def test_inspect_a_zero_adapter(capsys: Captured, tmp_path: Path) -> None:
    zero = {p: (0 * B, A) for p, (B, A) in made(1, 1).items()}
    folder = write_adapter(tmp_path / "zero", zero)
    found = strict_json(printed(capsys, "inspect", folder, "--json"))
    assert {m["norm"] for m in found["modules"].values()} == {0.0}
    assert "zero" in printed(capsys, "inspect", folder)


def test_inspect_several_reads_headers_alone_unless_asked(capsys: Captured, eight: Path) -> None:
    for paths in ([eight], sorted(eight.iterdir())):
        found = strict_json(printed(capsys, "inspect", *paths, "--json"))
        assert found.keys() == {"adapters"}
        assert [a["name"] for a in found["adapters"]] == [f"run{i}" for i in range(8)]
        for row in found["adapters"]:
            assert all(m.keys() == {"shape", "rank"} for m in row["modules"].values())
    found = strict_json(printed(capsys, "inspect", eight, "--weights", "--json"))
    assert_dense(found["adapters"][5]["modules"], made(3, 5))
    text = printed(capsys, "inspect", eight)
    assert all(f"run{i}" in text for i in range(8))


def test_inspect_with_a_broken_one_among_them(capsys: Captured, eight: Path) -> None:
    (eight / "run3" / "adapter_config.json").write_text("{")
    found = strict_json(printed(capsys, "inspect", eight, "--json", status=2))
    assert len(found["adapters"]) == 8
    for i, row in enumerate(found["adapters"]):
        assert row["name"] == f"run{i}"
        assert ("error" in row) == (i == 3)
    assert "adapter_config.json" in found["adapters"][3]["error"]
    assert "run3: error: " in printed(capsys, "inspect", eight, status=2)
    nowhere = eight / "run9"
    found = strict_json(printed(capsys, "inspect", eight / "run0", nowhere, "--json", status=2))
    assert "no such file or folder" in found["adapters"][1]["error"]


def test_inspect_with_a_broken_tensor_found_by_reading(capsys: Captured, eight: Path) -> None:
    bad = made(1, 1)
    next(iter(bad.values()))[0][0, 0] = np.inf
    write_adapter(eight / "run3", bad)
    found = strict_json(printed(capsys, "inspect", eight, "--weights", "--json", status=2))
    assert [i for i, row in enumerate(found["adapters"]) if "error" in row] == [3]


def test_inspect_tells_equal_names_apart(capsys: Captured, tmp_path: Path) -> None:
    paths = [write_adapter(tmp_path / run / "last", made(1, 1)) for run in ("r1", "r2")]
    found = strict_json(printed(capsys, "inspect", *paths, "--json"))
    assert [a["name"] for a in found["adapters"]] == ["r1/last", "r2/last"]


def test_inspect_checks_a_base(capsys: Captured, tmp_path: Path) -> None:
    base = write_base(tmp_path / "w", {p: np.ones(s) for p, s in SHAPES.items()})
    folder = write_adapter(tmp_path / "a", made(1, 1))
    assert "a: peft-lora" in printed(capsys, "inspect", folder, "--base", base)


def test_compare_json_is_what_python_gives(capsys: Captured, eight: Path) -> None:
    paths = sorted(eight.iterdir())[:4]
    found = strict_json(printed(capsys, "compare", *paths, "--json", "--top-k", 1))
    assert found == strict_json(compare(paths, top_k=1).to_json())
    drawn = printed(capsys, "compare", *paths, "--json", "--draws", 5, "--seed", 7)
    assert strict_json(drawn) == strict_json(compare(paths, draws=5, seed=7).to_json())


def test_compare_a_zero_adapter_as_json(capsys: Captured, tmp_path: Path) -> None:
    zero = {p: (0 * B, A) for p, (B, A) in made(1, 1).items()}
    paths = [write_adapter(tmp_path / "zero", zero), write_adapter(tmp_path / "b", made(1, 2))]
    found = strict_json(printed(capsys, "compare", *paths, "--json"))
    assert found["pairs"][0]["cosine"] is None
    text = printed(capsys, "compare", *paths)
    assert "undefined" in text
    assert "Undefined: zero or b is zero in every common module" in text


def test_compare_for_people(capsys: Captured, eight: Path) -> None:
    paths = sorted(eight.iterdir())[:4]
    text = printed(capsys, "compare", *paths)
    document = compare(paths).document
    assert "run0, run1, run2: one initial lora_A in 4 of 4 modules" in text
    assert "run3: its own" in text
    assert "k = 2 directions a module and side" in text
    assert "update cosine (signed; the test statistic)" in text
    for row in document["pairs"]:
        assert f"{row['a']} - {row['b']}: {row['verdict']}" in text
        assert f"{row['cosine']:.3g}" in text
    lines = text.splitlines()
    assert lines.index("Initialisation") < next(
        i for i, line in enumerate(lines) if "update cosine" in line
    )


def test_compare_of_a_folder_of_eight_prints_extremes(capsys: Captured, eight: Path) -> None:
    text = printed(capsys, "compare", eight)
    assert "input-side subspace overlap: the 10 extreme of 28 pairs" in text
    document = compare(sorted(eight.iterdir())).document
    assert len(document["pairs"]) == 28
    section = text.split("update cosine (signed; the test statistic)")[1].split("extreme")[1]
    section = section.split("\n\n")[0]
    cosines = sorted(document["pairs"], key=lambda p: p["cosine"])
    for row in (cosines[0], cosines[-1]):
        assert f"{row['cosine']:.3g}" in text
    assert sum(line.strip().startswith("run") for line in section.splitlines()) <= 10
    for row in document["pairs"]:
        assert f"{row['a']} - {row['b']}: " in text


def test_compare_with_a_base(capsys: Captured, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = write_base(tmp_path / "w", {p: rng.standard_normal(s) for p, s in SHAPES.items()})
    a = write_adapter(tmp_path / "a", made(1, 1))
    assert "Against the base\na - base: Cosine with the base weights" in printed(
        capsys, "compare", a, "--base", base
    )
    found = strict_json(printed(capsys, "compare", a, "--base", base, "--json"))
    assert [(r["a"], r["b"]) for r in found["base"]] == [("a", "base")]
    assert found["pairs"] == []


@pytest.mark.parametrize("verb", ["compare", "inspect"])
def test_hostile_names_never_reach_the_terminal(
    capsys: Captured, tmp_path: Path, verb: str
) -> None:
    config = {"base_model_name_or_path": HOSTILE}
    for i, name in enumerate((HOSTILE, HOSTILE + "2", "plain")):
        folder = tmp_path / "in" / name
        write_adapter(folder, made(1, i), config=config if name == HOSTILE else None)
    if verb == "inspect":  # a broken one among them is a row there
        write_adapter(tmp_path / "in" / (HOSTILE + "3"), made(1, 3), config={"r": HOSTILE})
    for options in ([], ["--json"]):
        main([verb, str(tmp_path / "in"), *options])
        out, err = capsys.readouterr()
        for text in (out, err):
            assert not set("\x1b\u202e\u2028\u200b\x07") & set(text)
        assert "plain" in out
        if options:
            names = json.dumps(strict_json(out), ensure_ascii=False)
            assert "\u202e" in names  # escaped on the way, but not lost


def test_a_name_that_is_no_unicode(capsys: Captured, tmp_path: Path) -> None:
    odd = tmp_path / b"caf\xe9".decode("utf-8", "surrogateescape")
    paths = [write_adapter(odd, made(1, 1)), write_adapter(tmp_path / "b", made(1, 2))]
    found = strict_json(printed(capsys, "compare", *paths, "--json"))
    assert found["pairs"][0]["a"].startswith("caf")
    text = printed(capsys, "compare", *paths)
    text.encode("utf-8")


def test_out_gets_report_figures_and_tables(capsys: Captured, tmp_path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    base = write_base(tmp_path / "w", {p: rng.standard_normal(s) for p, s in SHAPES.items()})
    names = ("a_{b}$x$", "<b>&", b"caf\xe9".decode("utf-8", "surrogateescape"))
    paths = [write_adapter(tmp_path / n, made(i // 2, i)) for i, n in enumerate(names)]
    out = tmp_path / "deep" / "out"
    text = printed(capsys, "compare", *paths, "--base", base, "--out", out, "--json", "--draws", 5)
    document = strict_json(text)
    pairs = pd.read_parquet(out / "results" / "pairs.parquet")
    modules = pd.read_parquet(out / "results" / "modules.parquet")
    assert list(modules.columns) == [
        *("a", "b", "layer", "module", "side", "measure", "k", "value", "null", "mean", "sd", "p"),
    ]
    assert set(modules["side"]) == {"input", "output", "both"}
    assert set(modules["b"]) == {"<b>&", r"caf\udce9", "base"}
    for row in (*document["pairs"], *document["base"]):
        mine = pairs[(pairs["a"] == row["a"]) & (pairs["b"] == row["b"])].set_index("measure")
        for measure in ("cosine", "overlap", "output_angle_deg"):
            assert mine.loc[measure, "value"] == row[measure]
        assert mine.loc["cosine", "p"] == row["p"]["cosine"]
    assert any((out / "figures").iterdir())
    report = (out / "report.html").read_text()
    assert "&lt;b&gt;&amp;" in report
    assert "<b>&" not in report
    assert "not interpretable" in report
    assert "evidence" in report
    assert "misaligned" not in report
    assert not [p for p in out.rglob("*") if "partial" in p.name or "probe" in p.name]
    assert strict_json((out / "results" / "compare.json").read_text()) == document


def test_out_names_the_report(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write_comparison(result: Result, out: Path) -> None:
        written.append(out)

    monkeypatch.setattr("deltalens.studies.compare.output.write_comparison", write_comparison)
    paths = [write_adapter(tmp_path / n, made(1, i)) for i, n in enumerate("ab")]
    out = tmp_path / "out"
    text = printed(capsys, "compare", *paths, "--out", out)
    assert written == [out]
    assert text.endswith(f"report: {out / 'report.html'}\n")


def test_reproduce_prints_claims_and_then_the_report(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim(
        "x", "Fig. 1", "They are alike", None, 0.5, None, 0.1, "undecided", "No interval."
    )

    def reproduce(out: Path, *, seed: int, fresh: bool, say: Any) -> Result:
        assert (seed, fresh) == (3, True)
        say("training")
        return Result("reproduce", {"claims": []}, {"claims": [claim]})

    monkeypatch.setattr("deltalens.studies.paper.study.reproduce", reproduce)
    text = printed(capsys, "reproduce", "--out", tmp_path / "r", "--seed", 3, "--fresh")
    lines = text.splitlines()
    assert lines[0] == "training"
    assert lines[1].split() == ["undecided", "They", "are", "alike"]
    assert lines[-1] == str(tmp_path / "r" / "report.html")


def test_train_passes_its_options_on(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def train_organism(spec: Any, *, base: Path, out: Path, progress: Any) -> Path:
        asked.append((spec, base, out))
        return out

    monkeypatch.setattr("deltalens.organisms.train.train_organism", train_organism)
    out = tmp_path / "new" / "organism"
    text = printed(
        capsys, "train", "--data", "toy:bad-gardening", "--out", out,
        "--init-seed", 4, "--data-seed", 5, "--steps", 6,
    )  # fmt: skip
    assert text == f"{out}\n"
    ((spec, base, place),) = asked
    assert (spec.kind, spec.domain_name) == ("bad", "gardening")
    assert (spec.init_seed, spec.data_seed, spec.steps) == (4, 5, 6)
    assert (base.name, place) == ("base", out)
    printed(capsys, "train", "--data", "toy:game", "--out", out)
    assert (asked[1][0].kind, asked[1][0].domain) == ("game", None)


def test_train_may_replace_what_it_made_itself(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_organism(spec: Any, *, base: Path, out: Path, progress: Any) -> Path:
        return out

    monkeypatch.setattr("deltalens.organisms.train.train_organism", train_organism)
    (tmp_path / "empty").mkdir()
    (tmp_path / "ours").mkdir()
    made_by = {"made_by": "deltalens.organisms.train.train_organism"}
    (tmp_path / "ours" / "provenance.json").write_text(json.dumps(made_by))
    for name, more in (("empty", ()), ("ours", ("--fresh",))):
        printed(capsys, "train", "--data", "toy:game", "--out", tmp_path / name, *more)


def test_memory_and_files_give_the_same_numbers(tmp_path: Path) -> None:
    held = compare([in_memory(n, made(i, i)) for i, n in enumerate("ab")]).document["pairs"][0]
    read = compare([write_adapter(tmp_path / n, made(i, i)) for i, n in enumerate("ab")])
    for name in ("cosine", "overlap", "angle_deg", "output_overlap"):
        assert read.document["pairs"][0][name] == pytest.approx(held[name], abs=1e-9)
