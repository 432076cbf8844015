"""`deltalens train --data FILE.jsonl` from the outside: output, figure, and every no."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chat_cases import write_model, write_rows
from deltalens.cli.main import main

Captured = pytest.CaptureFixture[str]
QUICK = (
    *("--rank", "4", "--alpha", "8", "--steps", "4", "--batch-size", "2", "--accumulation", "1"),
    *("--learning-rate", "0.01", "--warmup", "1", "--targets", "q_proj, down_proj"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl")


def test_a_watched_training_and_a_comparison_of_its_steps(
    model: Path, rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["train", "--model", str(model), "--data", str(rows), *QUICK]
    assert main([*given, "--init-seed", "1", "--out", str(tmp_path / "first")]) == 0
    out, watch = tmp_path / "out", ("--geometry-every", "2", "--keep-checkpoints", "2")
    against = ("--against", str(tmp_path / "first"))
    capfd.readouterr()
    assert main([*given, *watch, *against, "--out", str(out)]) == 0
    said = capfd.readouterr()
    assert said.out == f"{out}\n"
    assert said.err == ""
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "initial_lora_A.safetensors",
        "provenance.json", "geometry.json", "geometry.parquet", "training.svg", "training.png",
        "checkpoint-2", "checkpoint-4",
    }  # fmt: skip
    document = json.loads((out / "geometry.json").read_text())
    assert document["against"] == "first"
    assert document["k"] == 2
    assert len(document["losses"]) == 4
    kept = [str(out / "checkpoint-2"), str(out / "checkpoint-4")]
    assert main(["compare", *kept, "--json"]) == 0
    compared = json.loads(capfd.readouterr().out)
    assert [row["name"] for row in compared["adapters"]] == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--steps", "2", "--epochs", "1"), "--steps and --epochs both say how long; one is"),
        (("--rank", "0"), "--rank must be 1 or more, found 0"),
        (("--targets", "c_attn"), "--targets: 'c_attn' is no linear module of the model; it has"),
        (("--dtype", "int8"), "--dtype is 'int8'; allowed: float32, bfloat16"),
        (("--geometry-every", "0"), "--geometry-every must be 1 or more, found 0"),
        (("--against", "x"), "--against is compared while training: --geometry-every is needed"),
        (("--max-length", "5"), "tokens; in the first 5 (--max-length) there is none of an answer"),
        (("--model", "nowhere"), "nowhere: no config.json; a model is a directory that has one"),
        (
            ("--model", "toy"),
            "rows.jsonl: a JSONL file needs --model DIR or hf:owner/name; toy (the",
        ),
        (("--data", "none.jsonl"), "none.jsonl: cannot be read: No such file"),
        (("--data", "."), "not a regular file"),
    ],
)
def test_one_line_says_no(
    model: Path, rows: Path, tmp_path: Path, capsys: Captured, given: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out"
    options = {"--model": str(model), "--data": str(rows), "--out": str(out)}
    options |= dict(zip(given[::2], given[1::2], strict=True))
    assert main(["train", *(part for option in options.items() for part in option)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert said in errors[0]
    assert not out.exists()


def test_a_chat_file_needs_a_chat_model(rows: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert main(["train", "--data", str(rows), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --data ")  # the path may be long, and is shortened then
    assert said.endswith(
        "rows.jsonl: a JSONL file needs --model DIR or hf:owner/name; toy (the default is toy) "
        "reads symbols, no text\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("case", ["data", "model", "out", "broken"])
def test_what_needs_no_torch_is_told_without_it(
    model: Path, rows: Path, tmp_path: Path, case: str
) -> None:
    out = tmp_path / "out"
    given = {"--model": str(model), "--data": str(rows), "--out": str(out)}
    given |= {"data": {"--data": "none.jsonl"}, "model": {"--model": "toy"}}.get(case, {})
    if case == "out":
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    if case == "broken":
        rows.write_text("{\n")
    line = ["train", *(part for option in given.items() for part in option)]
    code = (
        "import sys; from deltalens.cli.main import main; status = main(sys.argv[1:]); "
        "print(status, {'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    run = [sys.executable, "-c", code, *line]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n"
    assert done.stderr.startswith("error: ")


def test_the_help_says_what_rebuilding_does(capsys: Captured) -> None:
    assert main(["train", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "pre-train the toy that --model names from nothing" in said
    assert "another." not in said


@pytest.mark.parametrize("option", ["--rank", "--geometry-every", "--keep-checkpoints", "--epochs"])
def test_an_organisms_recipe_is_fixed(tmp_path: Path, capsys: Captured, option: str) -> None:
    out = tmp_path / "out"
    given = ["train", "--data", "toy:bad-gardening", "--out", str(out), option, "3"]
    assert main(given) == 2
    assert f"{option} is for --data FILE.jsonl; an organism's recipe" in capsys.readouterr().err
    assert not out.exists()
