"""Groups, designs and `--fail-if` as a user meets them: files in, one document and a status out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_files import ONE, made, strict_json, trained, write_adapter, write_base
from deltalens.cli.fail_if import findings, parse, sentence
from deltalens.cli.main import main
from deltalens.errors import OptionError

Captured = pytest.CaptureFixture[str]


def planted(init: int, task: int, harmful: bool) -> dict:
    """A of the initialisation; B of the task, and for harmful ones a common part."""
    A = {p: np.random.default_rng([1, init]).standard_normal((4, s[1])) / 7 for p, s in ONE.items()}
    own = trained(A, 100 + task, out=ONE)
    common = trained(A, 1, out=ONE)
    return {p: (B + 2.0 * harmful * common[p][0], a) for p, (B, a) in own.items()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven tasks, three of them harmful, each from two initialisations; and their table."""
    lines = ["path,task,seed,harm"]
    for task in range(7):
        for init in (0, 1):
            harmful = task < 3
            name = f"{'bad' if harmful else 'good'}-{task}-{init}"
            write_adapter(tmp_path / "runs" / name, planted(init, task, harmful))
            lines.append(f"runs/{name},t{task},{init},{'yes' if harmful else 'no'}")
    (tmp_path / "design.csv").write_text("\n".join(lines))
    (tmp_path / "runs" / "notes.txt").write_text("not an adapter")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(capsys: Captured, *arguments: Any, status: int = 0) -> tuple[Any, str]:
    assert main(["compare", *map(str, arguments), "--json"]) == status
    out, err = capsys.readouterr()
    return strict_json(out), err


def refused(capsys: Captured, *arguments: Any) -> str:
    assert main(["compare", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


GROUPS = ("--group", "em=runs/bad-*", "--group", "benign=runs/g*d-*")


def test_groups_and_a_design_in_one_call(
    capsys: Captured, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, err = ran(capsys, *GROUPS, "--design", "design.csv")
    assert err == ""
    assert len(found["pairs"]) == 14 * 13 // 2
    rows = {(r["a"], r["b"], r["seeds"], r["tasks"], r["measure"]): r for r in found["groups"]}
    em = rows["em", "em", "same", "different", "output_overlap"]
    across = rows["em", "benign", "same", "different", "output_overlap"]
    low, high = em["interval"]
    assert low < em["mean"] < high
    assert (em["n_runs"], em["n_tasks"], em["n_pairs"]) == (6, 3, 6)
    assert em["mean"] > across["mean"] + 0.2
    values = [
        p["output_overlap"]
        for p in found["pairs"]
        if p["a"].startswith("bad") and p["b"].startswith("bad") and p["shared_init"] == "all"
    ]
    assert em["mean"] == pytest.approx(np.mean(values))
    assert {m["label"]: len(m["adapters"]) for m in found["group_members"]} == {
        "em": 6, "benign": 8
    }  # fmt: skip
    test = next(
        t for t in found["group_tests"]
        if (t["measure"], t["seeds"], t["variant"]) == ("output_overlap", "same", "tasks")
    )  # fmt: skip
    assert (test["compared"], test["p"]) == ("within em against em - benign", 1 / 35)
    effects = {(e["measure"], e["term"]): e for e in found["design"]["effects"]}
    assert effects["overlap", "same seed"]["interval"][0] > 0.3
    low, high = effects["output_overlap", "same seed"]["interval"]
    assert low < 0.03
    assert abs(high) < 0.06
    assert effects["output_overlap", "both harmful"]["interval"][0] > 0.1
    assert effects["output_overlap", "same task"]["interval"][0] > 0.1
    assert (found["design"]["unit"], found["design"]["n_units"]) == ("task", 7)
    assert found["warnings"] == []


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes the time: one measure of the groups, and none of the comparison's own."""
    monkeypatch.setattr("deltalens.studies.compare.output.figures", lambda _: {})
    monkeypatch.setattr("deltalens.studies.compare.output.save", lambda *_, **__: ())
    monkeypatch.setattr("deltalens.studies.groups.drawings.TITLES", {"overlap": "input overlap"})


def test_for_people_and_the_folder(capsys: Captured, world: Path, few_figures: None) -> None:
    out, lines = world / "out", (world / "design.csv").read_text().splitlines()
    (world / "small.csv").write_text("\n".join([*lines[:5], *lines[7:11]]))
    groups = ("--group", "em=runs/bad-[01]-*", "--group", "benign=runs/good-[34]-*")
    assert main(["compare", *groups, "--design", "small.csv", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "em - em (same seed; 4 runs)" in text
    assert "within em against em - benign, same seed" in text
    assert "2 and 2 tasks reach p 0.17 at the least: 5 of benign are needed for 0.05" in text
    assert "Design: effects over 4 tasks" in text
    assert "Layers are not independent" in text
    tables = {path.stem for path in (out / "results").glob("*.parquet")}
    assert {"groups", "group_tests", "group_layers", "design", "pairs", "modules"} <= tables
    pictures = {path.stem for path in (out / "figures").glob("*.svg")}
    assert pictures == {"groups-boxes-overlap", "groups-layers-overlap", "groups-matrix-overlap",
                        "groups-tree-overlap", "design-effects"}  # fmt: skip
    html = (out / "report.html").read_text()
    for said in (
        "Seed, task, harm, style",
        "Tests of differences between groups",
        "Kruskal-Wallis",
    ):
        assert said in html


def test_paths_and_groups_meet(capsys: Captured, world: Path) -> None:
    found, _ = ran(capsys, "runs/bad-0-0", "runs/good-6-1", "--group", "em=runs/bad-*-0")
    assert len(found["adapters"]) == 4
    assert found["group_members"][0]["adapters"] == ["bad-0-0", "bad-1-0", "bad-2-0"]
    assert "design" not in found
    assert "failed" not in found
    nested, _ = ran(capsys, "--group", "all=ru*")
    assert len(nested["adapters"]) == 14


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'PATH PATH...' (or --group, or --design)"),
        (["--group", "em"], "--group 'em': LABEL=GLOB is needed"),
        (["--group", "=runs/*"], "--group '=runs/*': LABEL=GLOB is needed"),
        (["--group", "em="], "--group 'em=': LABEL=GLOB is needed"),
        (["--group", "em=no-*"], "--group em no-*: matches nothing"),
        (["--group", "em=nowhere"], "--group em nowhere: matches nothing"),
        (["--group", "em=runs/*.txt"], "--group em runs/*.txt: matches 1 paths, none of them an"),
        (["--group", "em=runs/b*", "--group", "em=runs/g*"], "--group em: this label stands twice"),
        (
            ["--group", "em=runs/b*", "--group", "x=runs/bad-1-?"],
            "groups 'em' and 'x' both hold runs/bad-1-0; an adapter may be in one group",
        ),
        (["--group", "e.m=runs/*"], "group label 'e.m': letters, digits, _, + and - are allowed"),
        (["--group", "one=runs/bad-0-0"], "compare needs at least 2 adapters; found 1"),
        (["runs", "--bank", "no-*"], "--bank no-*: matches nothing"),
        (["runs", "--design", "none.csv"], "none.csv: cannot be read: No such file"),
        (["runs", "--fail-if", "overlap"], "'overlap': MEASURE OP NUMBER is needed, such as"),
        (["runs", "--fail-if", "overlap==1"], "operators are > >= < <="),
        (["runs", "--fail-if", "overlap>x"], "'x' is no number"),
        (["runs", "--fail-if", "overlap>nan"], "nan bounds nothing; give a number"),
        (["runs", "--fail-if", "overlpa>1"], "unknown measure 'overlpa'; known are cosine,"),
        (["runs", "--fail-if", "p.norm>1"], "unknown measure 'norm'; known are cosine,"),
        (
            ["runs", "--fail-if", "q.overlap>1"],
            "unknown 'q' before the point; known are p, z, p_holm, base",
        ),
        (
            [*GROUPS, "--fail-if", "em-chess.overlap>1"],
            "unknown 'em-chess' before the point; known are p, z, p_holm, base, em-em",
        ),
    ],
)
def test_one_line_for_what_cannot_be(
    capsys: Captured, world: Path, arguments: list[str], said: str
) -> None:
    assert said in refused(capsys, *arguments)


def test_a_confounded_design_is_refused_before_any_work(
    capsys: Captured, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deltalens.studies.compare.study.survey", None)
    lines = (world / "design.csv").read_text().splitlines()
    (world / "design.csv").write_text("\n".join([lines[i] for i in (0, 1, 3, 8, 10)]))
    said = refused(capsys, "--design", "design.csv")
    assert said == (
        "design.csv: seed and harm are confounded: an adapter with seed 1, task t0, harm harmful "
        "would separate them"
    )


def test_a_seed_that_is_not_the_measured_one_is_a_warning(capsys: Captured, world: Path) -> None:
    text = (world / "design.csv").read_text().replace("bad-0-1,t0,1", "bad-0-1,t0,0")
    (world / "design.csv").write_text(text)
    found, _ = ran(capsys, "--design", "design.csv")
    assert (
        "the design's seeds are not the measured initialisations in 13 of 91 pairs"
        in (found["warnings"][0])
    )


def test_adapters_of_two_bases_make_no_design(capsys: Captured, world: Path) -> None:
    write_adapter(world / "runs" / "bad-0-0", planted(0, 0, True),
                  config={"base_model_name_or_path": "qwen"})  # fmt: skip
    said = refused(capsys, "--design", "design.csv")
    assert "design.csv: the adapters name different base models, " in said
    assert "qwen (bad-0-0)" in said
    header, *lines = (world / "design.csv").read_text().splitlines()
    both = [f"{header},base", *(f"{line},one" for line in lines)]
    (world / "design.csv").write_text("\n".join(both))
    found, _ = ran(capsys, "--design", "design.csv")
    assert found["design"]["n_units"] == 7


def test_fail_if_names_pair_measure_value_and_bound(capsys: Captured, world: Path) -> None:
    ends = ("runs/bad-0-0", "runs/bad-1-0", "runs/good-5-0")
    found, err = ran(capsys, *ends, "--fail-if", "output_overlap>0.3", status=1)
    (failed,) = found["failed"]
    assert (failed["a"], failed["b"], failed["measure"]) == ("bad-0-0", "bad-1-0", "output_overlap")
    value = found["pairs"][0]["output_overlap"]
    assert (failed["value"], failed["bound"]) == (value, 0.3)
    assert err == (
        f"failed: bad-0-0 - bad-1-0: output_overlap is {value:.6g}, "
        "asked to fail if output_overlap>0.3\n"
    )
    found, err = ran(capsys, *ends, "--fail-if", "output_overlap>0.99", "--fail-if", "cosine < -2")
    assert (found["failed"], err) == ([], "")


def test_rows_against_the_base_and_nothing_to_check(capsys: Captured, world: Path) -> None:
    write_base(world / "w", {p: np.eye(*shape) for p, shape in ONE.items()})
    one = ("runs/bad-0-0", "--base", "w", "--fail-if")
    found, _ = ran(capsys, *one, "base.cosine>-2", status=1)
    assert [(f["a"], f["b"], f["measure"]) for f in found["failed"]] == [
        ("bad-0-0", "base", "base.cosine")
    ]
    assert found["fail_if"] == ["base.cosine>-2"]
    assert refused(capsys, *one, "cosine>2") == "--fail-if 'cosine>2': there is nothing to check"
    said = refused(capsys, "runs/bad-0-0", "runs/bad-1-0", "--fail-if", "base.cosine>0")
    assert said == "--fail-if 'base.cosine>0': there is nothing to check"


def test_everything_is_written_before_it_fails(
    capsys: Captured, world: Path, few_figures: None
) -> None:
    out = world / "out"
    assert main(["compare", "runs/bad-0-0", "runs/bad-1-0", "--fail-if", "cosine>-1",
                 "--out", str(out)]) == 1  # fmt: skip
    assert (out / "report.html").exists()
    written = strict_json((out / "results" / "compare.json").read_text())
    assert len(written["failed"]) == 1
    assert "Update cosine" in capsys.readouterr().out


def test_groups_can_be_addressed(capsys: Captured, world: Path) -> None:
    found, err = ran(capsys, *GROUPS, "--fail-if", "benign-em.output_overlap<2",
                     "--fail-if", "em-em.cosine>2", status=1)  # fmt: skip
    assert {(f["a"], f["b"]) for f in found["failed"]} == {("em", "benign")}
    assert "failed: em - benign (same seed): benign-em.output_overlap is 0." in err


def test_an_undefined_value_fails_unless_it_may(capsys: Captured, world: Path) -> None:
    zero = {p: (0 * B, A) for p, (B, A) in made(1, 1, shapes=ONE).items()}
    write_adapter(world / "zero", zero)
    ends = ("zero", "runs/bad-0-0", "--fail-if", "cosine>0.9")
    found, err = ran(capsys, *ends, status=1)
    assert found["failed"][0]["value"] is None
    assert "cosine is undefined (" in err
    assert "zero is zero (untrained) in 1 of 1 modules" in err or "k = " in err
    found, err = ran(capsys, *ends, "--allow-undefined")
    assert (found["failed"], err) == ([], "")
    _, err = ran(capsys, "runs/bad-0-0", "runs/bad-1-0", "--fail-if", "p.overlap<0.1", status=1)
    assert "p.overlap is undefined (no null applies to overlap; --allow-undefined" in err
    _, err = ran(capsys, "runs/bad-0-0", "runs/bad-1-0", "--fail-if", "activation_cosine>1",
                 status=1)  # fmt: skip
    assert "activation_cosine is undefined (" in err
    assert "--covariances" in err


def test_p_holm_and_z(capsys: Captured, world: Path) -> None:
    ends = ("runs/bad-0-0", "runs/bad-1-0")
    bounds = ("--fail-if", "p_holm<=1", "--fail-if", "z.cosine>-99")
    found, _ = ran(capsys, *ends, *bounds, status=1)
    assert [f["measure"] for f in found["failed"]] == ["p_holm.cosine", "z.cosine"]
    assert found["failed"][0]["value"] == found["pairs"][0]["p_holm"]["cosine"]


@pytest.mark.parametrize(
    ("sign", "hits"), [(">", [0.3]), (">=", [0.2, 0.3]), ("<", [0.1]), ("<=", [0.1, 0.2])]
)
def test_the_operators(sign: str, hits: list[float]) -> None:
    pairs = [{"a": "x", "b": "y", "cosine": v, "warnings": []} for v in (0.1, 0.2, 0.3)]
    found = findings(parse([f" cosine {sign} .2 "]), {"pairs": pairs}, allow_undefined=False)
    assert [f["value"] for f in found] == hits
    assert all(f"cosine {sign} .2" in sentence(f) for f in found)


def test_hostile_names_are_made_safe() -> None:
    pairs = [{"a": "x\x1b[31m", "b": "y\n", "cosine": None, "warnings": ["w\x07"]}]
    (found,) = findings(parse(["cosine>0"]), {"pairs": pairs}, allow_undefined=False)
    text = sentence(found)
    assert "\x1b" not in text
    assert "\n" not in text
    with pytest.raises(OptionError, match="MEASURE OP NUMBER is needed"):
        parse(["\x1b[31m"])


def test_fail_if_imports_nothing_heavy(world: Path) -> None:
    from test_cli_process import held

    names, out = held("compare", "runs/bad-0-0", "runs/bad-1-0", "--json", "--fail-if", "cosine>2")
    assert names == set()
    assert strict_json(out)["failed"] == []
    assert os.getcwd() == str(world)  # noqa: PTH109
