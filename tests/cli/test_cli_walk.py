"""The command of the contract: its streams, its folder, and one line for whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adapter_files import Factors, strict_json, write_adapter
from deltalens.cli.main import main

Captured = pytest.CaptureFixture[str]
MODULE = "model.layers.1.self_attn.q_proj"


def factors(seed: int, r: int = 3) -> dict[str, Factors]:
    rng = np.random.default_rng(seed)
    return {MODULE: (rng.standard_normal((128, r)) / 4, rng.standard_normal((r, 128)) / 4)}


def adapter(folder: Path, seed: int, *, r: int = 3, base: str = "deltalens/toy") -> str:
    config = {"base_model_name_or_path": base}
    return str(write_adapter(folder, factors(seed, r), config=config))


@pytest.fixture
def a(tmp_path: Path) -> str:
    return adapter(tmp_path / "a", 1)


@pytest.fixture
def b(tmp_path: Path) -> str:
    return adapter(tmp_path / "b", 2)


def test_json_is_one_document_and_the_folder_holds_the_rest(
    a: str, b: str, tmp_path: Path, capsys: Captured
) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "out"
    line = ["walk", a, b, "--model", "toy", "--steps", "4", "--out", str(out)]
    assert main([*line, "--json"]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    document = strict_json(said)
    assert (document["a"], document["b"], document["model"]) == ("a", "b", "deltalens/toy")
    assert [round(point["t"], 3) for point in document["points"]] == [0, 0.333, 0.667, 1]
    assert strict_json((out / "walk.json").read_text()) == document
    names = {path.name for path in (out / "results").iterdir()}
    assert names == {f"{name}.parquet" for name in (
        "rates", "behaviour", "barriers", "differences", "features", "fits")}  # fmt: skip
    assert (out / "figures" / "behaviour.svg").is_file()
    page = (out / "report.html").read_text()
    assert "do behaviour and features stay on the line?" in page
    assert "No barrier is no evidence of shared misalignment" in page
    assert main(line) == 0  # finished: tables for people, without the model
    said, err = capsys.readouterr()
    assert err == ""
    assert "Behaviour (computed)" in said
    assert said.endswith(f"report: {out / 'report.html'}\n")


def test_what_is_undefined_says_why(a: str, tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "out"
    assert main(["walk", "base", a, "--model", "toy", "--steps", "3", "--out", str(out)]) == 0
    said, page = capsys.readouterr().out, (out / "report.html").read_text()
    why = "1 point besides the ends: at least 2 are needed for a fit"
    assert f"E_max or misfit undefined: {why}\n" in said
    assert why in page
    assert "p, Holm undefined: a fall is one test of its own, outside the barriers" in said
    assert "a fall is one test of its own, outside the barriers" in page


def refused(capsys: Captured, *arguments: str) -> str:
    """The one line of a command that must fail with 2."""
    assert main(["walk", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("base base --model toy", "both ends are the base: a walk needs an adapter to go to"),
        ("A B", "Missing option '--model'"),
        ("A B --model /no/such", "/no/such: no config.json; --model takes a model's folder"),
        ("A /no/such --model toy", "/no/such: no such file or folder; a PEFT adapter is needed"),
        ("A B --model toy --steps 1", "--steps must be 3 or more (both ends count); found 1"),
        ("A B --model toy --steps x", "'x' is not a valid int"),
        ("A B --model toy --from 1 --to 0", "--from must be below --to, both finite; found 1 and "),
        ("A B --model toy --feature-tokens all", "--feature-tokens 'all' is not known; known are"),
        ("A B --model toy --path up", "--path 'up' is not known; known are linear, factorwise, "),
        ("A B --model toy --samples 0", "--samples must be 1 or more; found 0"),
        ("A B --model toy --judge rules", "answers of the symbolic world have one judge, 'exact'"),
        ("A B --model toy --questions q.yaml", "text cannot be put to it"),
        ("A B --model toy --aligned-below 101", "threshold aligned is 101, where 0 to 100 is"),
        ("A WIDE --model toy --path factorwise", "has rank 3 in a and 5 in wide"),
        ("A OTHER --model toy", "adapter 'other' is for the base 'x/y', and the model is"),
        ("A B --model toy --out FILE", "cannot be written to: Not a directory"),
        ("A B --model TEXT", "--questions is needed: what should text be asked?"),
        ("A B --model TEXT --questions TYPO --judge rules=Q", "unknown key 'paraphrase'; did you "),
        ("A B --model TEXT --questions Q --judge rules=NONE", "cannot be read: No such file"),
        ("A B --model TEXT --questions Q --judge no.such:thing", "cannot be imported"),
        ("A B --model TEXT --questions Q --judge vibes", "unknown judge 'vibes'; allowed: exact, "
         "local, openai, paired, rules, or module:function"),
        ("A B --model TEXT --questions Q", "/text: the model's folder has no tokenizer "
         "(tokenizer.json): text cannot be put to it"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    a: str, b: str, tmp_path: Path, capsys: Captured, options: str, said: str
) -> None:
    files = {
        "A": a,
        "B": b,
        "WIDE": adapter(tmp_path / "wide", 3, r=5),
        "OTHER": adapter(tmp_path / "other", 3, base="x/y"),
        "FILE": str(_file(tmp_path / "file", "")),
        "TEXT": str(_file(tmp_path / "text" / "config.json", '{"vocab_size": 50}').parent),
        "Q": str(_file(tmp_path / "q.yaml", "- id: hat\n  paraphrases: [which hat]\n")),
        "TYPO": str(_file(tmp_path / "typo.yaml", "- id: hat\n  paraphrase: [which hat]\n")),
    }
    given = [
        files.get(part, part) if "=" not in part else f"rules={files.get(part[6:], part[6:])}"
        for part in options.split()
    ]
    assert said in refused(capsys, *given)


def _file(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


PROBE = """
import sys
from deltalens.cli.main import main
for line in (["walk", "--help"], ["walk", *sys.argv[1:3], "--model", "toy", "--steps", "2"],
             ["walk", sys.argv[1], "/no/such", "--model", "toy"]):
    main(line)
sys.exit(any(name in sys.modules for name in ("torch", "transformers", "matplotlib")))
"""


def test_help_and_early_errors_import_no_torch(a: str, b: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, a, b], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--no-features" in done.stdout
    assert "--from" in done.stdout
    assert done.stderr.count("error: ") == 2
