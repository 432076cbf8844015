"""The command of the contract: its spelling of --t, its table, its JSON, its errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deltalens
from adapter_files import SHAPES, made, strict_json, write_adapter
from deltalens.cli.export import spread
from deltalens.cli.main import main
from deltalens.connectivity import paths
from deltalens.errors import OptionError
from deltalens.studies.export import export


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "a", made(0, 1))


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "b", made(0, 2, r=3))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    status, out, err = run(capsys, *arguments, "--json")
    assert (status, err) == (0, "")
    return strict_json(out)


def test_the_contracts_spelling(
    a: Path, b: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = ("export", a, b, "--t", "0", "0.5", "1", "--rank", "2", "--out", out)
    found = document(capsys, *line)
    assert (found["a"], found["b"], found["path"], found["rank"]) == ("a", "b", "linear", 2)
    assert [p["t"] for p in found["points"]] == [0, 0.5, 1]
    assert [Path(p["folder"]).name for p in found["points"]] == ["t-0", "t-0.5", "t-1"]
    assert [p["ranks"] for p in found["points"]] == [[2], [2], [2]]
    truth = paths.linear(deltalens.load(a), deltalens.load(b))
    for point in found["points"]:
        written = deltalens.load(point["folder"])
        dense = {key: update.dense() for key, update in truth(point["t"]).items()}
        norms = {key: np.linalg.norm(dW) for key, dW in dense.items()}
        lost = {key: np.linalg.norm(dW - written[key].dense()) for key, dW in dense.items()}
        share = {str(key): (lost[key] / norms[key]) ** 2 for key in dense}
        assert point["modules"] == len(SHAPES)
        assert point["norm"] == pytest.approx(np.linalg.norm(list(norms.values())))
        total = np.linalg.norm(list(lost.values())) / np.linalg.norm(list(norms.values()))
        assert point["discarded_energy"] == pytest.approx(total**2, rel=1e-5)
        assert point["worst_module"] == max(share, key=share.__getitem__)
        assert point["worst_discarded"] == pytest.approx(max(share.values()), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("--t 0 0.5 1", "--t=0 --t=0.5 --t=1"),
        ("--t -0.5 1.7 --out o", "--t=-0.5 --t=1.7 --out o"),
        ("--t=0 1 a b", "--t=0 --t=1 a b"),
        ("a --t 0 --rank 3 --t 1e-2 b", "a --t=0 --rank 3 --t=1e-2 b"),
        ("--t 0 ./1 2", "--t=0 ./1 2"),
        ("--t x", "--t x"),
        ("--t", "--t"),
        ("--t 0 -- 1 2", "--t=0 -- 1 2"),
        ("a 5", "a 5"),
    ],
)
def test_t_takes_the_numbers_that_follow(given: str, made: str) -> None:
    assert spread(given.split()) == made.split()


def test_repeated_and_negative_t(
    a: Path, b: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(
        capsys, "export", a, b, "--out", tmp_path, "--t", "-0.5", "--t", "1.7", "--t", "-0.5"
    )
    assert [Path(p["folder"]).name for p in found["points"]] == ["t--0.5", "t-1.7"]
    assert deltalens.load(tmp_path / "t--0.5").specs.keys() == deltalens.load(a).specs.keys()


def test_one_adapter_starts_at_the_base(
    a: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = document(capsys, "export", a, "--out", tmp_path / "one")
    named = document(capsys, "export", "base", a, "--out", tmp_path / "two")
    for found in (alone, named):
        assert (found["a"], found["b"]) == ("base", "a")
        norms = [p["norm"] for p in found["points"]]
        np.testing.assert_allclose(norms, np.array([0, 0.5, 1]) * norms[2], rtol=1e-12)
    record = json.loads((tmp_path / "one/t-0.5/provenance.json").read_text())
    assert [i["name"] for i in record["inputs"]] == ["base", "a"]
    assert set(record["inputs"][1]["sha256"]) == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert record["point"]["weights"] == [["base", 0.5], ["a", 0.5]]
    assert str(tmp_path) not in json.dumps(record)


@pytest.mark.parametrize(("kind", "factor"), [("factor_scaling", 0.25), ("factorwise", 0.25)])
def test_other_paths(
    kind: str, factor: float, a: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("export", a, "--path", kind, "--t", "0.5", "1", "--dtype", "float64")
    found = document(capsys, *line, "--out", tmp_path / "out")
    assert found["path"] == kind
    half, whole = (p["norm"] for p in found["points"])
    assert half == pytest.approx(factor * whole)
    for key, update in deltalens.load(tmp_path / "out/t-0.5").items():
        np.testing.assert_allclose(update.dense(), factor * deltalens.load(a)[key].dense())


def test_the_table(a: Path, b: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "export", a, b, "--out", tmp_path / "out", "--rank", 1)
    assert (status, err) == (0, "")
    assert out.startswith(f"linear path, a to b\nwritten to {tmp_path / 'out'}\n")
    for heading in ("norm of dW", "ranks", "discarded energy"):
        assert heading in out
    assert len(re.findall(r"^ *(0|0\.5|1) +t-\1 ", out, re.MULTILINE)) == 3
    assert len(re.findall(r"^t = .* loses most, 0\.\d+ of its energy$", out, re.MULTILINE)) == 3
    assert run(capsys, "export", a, b, "--out", tmp_path / "out", "--rank", 1)[:2] == (0, out)


def test_every_error_is_one_line(
    a: Path, b: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = write_adapter(
        tmp_path / "wide", {"model.layers.0.self_attn.q_proj": (np.ones((4, 1)), np.ones((1, 5)))}
    )
    taken = tmp_path / "taken/t-1"
    taken.mkdir(parents=True)
    (taken / "mine").write_text("")
    out = ("--out", tmp_path / "out")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((a, b), "Missing option '--out'"),
        ((*out,), "Missing argument 'A'"),
        ((a, b, *out, "--rank", 0), "--rank must be from 1 up; found 0"),
        ((a, b, *out, "--t", "x"), "'x' is not a valid float"),
        ((a, b, *out, "--t"), "Option '--t' requires an argument"),
        ((a, b, *out, "--t", "nan"), "t must be a finite number; found nan"),
        ((a, b, *out, "--dtype", "int8"), "--dtype 'int8' is not known; known are float32,"),
        (
            (a, b, *out, "--path", "round"),
            "--path 'round' is not known; known are linear, factorwise, factor_scaling",
        ),
        ((a, b, *out, "--path", "factorwise"), "has rank 4 in a and 3 in b; the factorwise path"),
        ((a, wide, *out), "q_proj is [40, 48] in a and [4, 5] in wide; adapters of one base"),
        ((a, tmp_path / "nothing", *out), "nothing: no such file or folder"),
        (("base", *out), "the base alone is no path; an adapter is needed to walk to"),
        (("base", "base", *out), "the base alone is no path; an adapter is needed to walk to"),
        ((a, b, "--out", tmp_path / "taken"), "t-1: holds mine, which was not written here"),
        ((a, b, "--out", a / "adapter_config.json"), "something on the way to it is no folder"),
    ]
    for arguments, message in cases:
        status, printed, err = run(capsys, "export", *arguments)
        assert (status, printed) == (2, ""), arguments
        assert re.fullmatch(r"error: [^\n]*\n", err), err
        assert message in err
    assert not (tmp_path / "out").exists()
    assert [p.name for p in (tmp_path / "taken").iterdir()] == ["t-1"]


def test_export_as_a_library(a: Path, b: Path, tmp_path: Path) -> None:
    result = export(deltalens.load(a), b, out=tmp_path / "out", t=[0.25], dtype="float64")
    assert [row["t"] for row in result.records("points")] == [0.25]
    assert result.document["points"][0]["ranks"] == [7]
    assert result.provenance["inputs"][1]["name"] == "b"
    with pytest.raises(OptionError, match="the base alone"):
        export("base", out=tmp_path / "other")


def test_export_imports_nothing_heavy(a: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from deltalens.cli.main import main\n"
        "assert main(['export', *sys.argv[1:]]) == 0\n"
        "heavy = 'torch transformers peft safetensors pandas pyarrow matplotlib scipy'.split()\n"
        "assert not [m for m in heavy if m in sys.modules]\n"
    )
    line = [sys.executable, "-c", code, str(a), "--out", str(tmp_path / "out"), "--rank", "1"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_adapters_of_the_two_toys_make_no_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All shapes are equal, so only the names say that one base is needed."""
    ends = [
        write_adapter(
            tmp_path / name, made(0, 1), config={"base_model_name_or_path": f"deltalens/{name}"}
        )
        for name in ("toy", "toy-qwen2")
    ]
    status, out, err = run(capsys, "export", *ends, "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert "toy is for the base 'deltalens/toy' and toy-qwen2 for 'deltalens/toy-qwen2'" in err
    assert not (tmp_path / "out").exists()
