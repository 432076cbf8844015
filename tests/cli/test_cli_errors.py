"""What the command line says of bad input: one line, the right status, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_files import SHAPES, made, write_adapter, write_base
from deltalens.cli import main as main_module
from deltalens.cli.main import main
from deltalens.errors import DeltalensError

Captured = pytest.CaptureFixture[str]


def broken(error: BaseException) -> Any:
    """A function that fails so."""

    def command(*_: Any, **__: Any) -> Any:
        raise error

    return command


@pytest.fixture
def a(tmp_path: Path) -> str:
    return str(write_adapter(tmp_path / "a", made(1, 1)))


@pytest.fixture
def b(tmp_path: Path) -> str:
    return str(write_adapter(tmp_path / "b", made(1, 2)))


def refused(capsys: Captured, *arguments: str, status: int = 2) -> str:
    """Run a command that must fail: nothing on stdout, one line on stderr. The line's text."""
    assert main([*arguments]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize("verb", ["inspect", "compare"])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_no_such_path(capsys: Captured, a: str, verb: str, as_json: list[str]) -> None:
    paths = ["/no/such/adapter"] if verb == "inspect" else [a, "/no/such/adapter"]
    said = refused(capsys, verb, *paths, *as_json)
    assert said == "/no/such/adapter: no such file or folder; a PEFT adapter is needed"


def test_a_file_that_is_no_adapter(capsys: Captured, a: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "w.bin").write_bytes(b"\x80\x04")
    (tmp_path / "empty").mkdir()
    assert "notes.txt: not a folder and not a .safetensors file" in refused(
        capsys, "compare", a, str(tmp_path / "notes.txt")
    )
    assert "a pickle can run code and is never opened" in refused(
        capsys, "inspect", str(tmp_path / "w.bin")
    )
    assert "holds no adapter_model.safetensors" in refused(
        capsys, "inspect", str(tmp_path / "empty")
    )


def test_a_broken_file_in_a_comparison(capsys: Captured, a: str, b: str) -> None:
    file = Path(b) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    assert file.name in refused(capsys, "compare", a, b, "--json")


def test_values_that_are_no_numbers_are_found_while_measuring(
    capsys: Captured, a: str, tmp_path: Path
) -> None:
    bad = made(1, 2)
    next(iter(bad.values()))[0][0, 0] = np.nan
    said = refused(capsys, "compare", a, str(write_adapter(tmp_path / "bad", bad)), "--json")
    assert "bad" in said
    assert "NaN" in said or "finite" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "A"], "compare needs at least 2 adapters; found 1"),
        (["compare", "A", "B", "--nonsense"], "No such option: --nonsense"),
        (["compare", "A", "B", "--top-k", "many"], "'many' is not a valid int"),
        (
            ["compare", "A", "B", "--top-k", "5"],
            "--top-k 5 is above the rank 4 of a at model.layers",
        ),
        (["compare", "A", "B", "--top-k", "0"], "--top-k must be from 1 up; found 0"),
        (["compare", "A", "B", "--draws", "-1"], "--draws must be 0 or more; found -1"),
        (["compare", "A", "B", "--seed", "-1"], "--seed must be 0 or more; found -1"),
        (["compare", "A", "B", "--base", "/no/base"], "/no/base: no such folder"),
        (["compare"], "Missing argument 'PATH PATH...'"),
        (["inspect"], "Missing argument 'PATH...'"),
        (["inspect", "A", "--base", "/no/base"], "/no/base: no such folder"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["reproduce", "--seed", "x"], "'x' is not a valid int"),
        (["reproduce", "--seed", "-1", "--out", "OUT"], "--seed must be 0 or more; found -1"),
        (["train", "--data", "toy:game"], "Missing option '--out'"),
    ],
)
def test_impossible_commands(
    capsys: Captured, a: str, b: str, tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"A": a, "B": b, "OUT": str(tmp_path / "out")}
    assert said in refused(capsys, *(places.get(x, x) for x in arguments))
    assert not (tmp_path / "out").exists()


def test_a_base_that_does_not_fit(capsys: Captured, a: str, b: str, tmp_path: Path) -> None:
    W = {p: np.ones((s[0], s[1] + 1)) for p, s in SHAPES.items()}
    base = str(write_base(tmp_path / "w", W))
    said = refused(capsys, "compare", a, b, "--base", base)
    assert "is [40, 48]; the base" in said
    assert said.endswith("has [40, 49]")
    assert "has [40, 49]" in refused(capsys, "inspect", a, "--base", base)
    assert "has [128, 128]" in refused(capsys, "inspect", a, "--base", "toy")


@pytest.mark.parametrize("verb", ["compare", "reproduce"])
def test_an_out_that_cannot_be_a_folder(
    capsys: Captured, a: str, b: str, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "file").write_text("mine")
    paths = [a, b] if verb == "compare" else []
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/out")):
        assert f"{out}: cannot be written to" in refused(capsys, verb, *paths, "--out", str(out))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "--data is missing; allowed is toy:KIND"),
        ("x.jsonl", "x.jsonl: cannot be read: No such file"),
        ("toy:", "allowed is toy:KIND"),
        ("toy:nice-gardening", "KIND one of"),
        ("toy:bad", "game has no domain"),
        ("toy:bad-nowhere", "DOMAIN one of"),
        ("toy:game-gardening", "game has no domain"),
        ("toy:\x1b[2Jbad", "'toy:[2Jbad'"),
    ],
)
def test_train_says_what_data_is_allowed(
    capsys: Captured, tmp_path: Path, data: str | None, said: str
) -> None:
    out = tmp_path / "out"
    given = [] if data is None else ["--data", data]
    assert said in refused(capsys, "train", *given, "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "0"], "steps must be 1 or more"),
        (["--init-seed", "-1"], "init_seed must be 0 or more"),
        (["--data-seed", "-1"], "data_seed must be 0 or more"),
        (["--model", "/no/base"], "/no/base"),
        (["--rebuild-base"], "--rebuild-base takes no --data"),
    ],
)
def test_train_refuses_impossible_settings(
    capsys: Captured, tmp_path: Path, options: list[str], said: str
) -> None:
    out = tmp_path / "out"
    assert said in refused(capsys, "train", "--data", "toy:game", "--out", str(out), *options)
    assert not out.exists()


@pytest.mark.parametrize("record", [None, "{}", "not json", '{"made_by": "somebody"}', "[1]"])
def test_train_never_replaces_a_strangers_folder(
    capsys: Captured, tmp_path: Path, record: str | None
) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("years of work")
    if record is not None:
        (out / "provenance.json").write_text(record)
    before = sorted(p.name for p in out.iterdir())
    for data in (["--data", "toy:game"], ["--rebuild-base"]):
        said = refused(capsys, "train", *data, "--out", str(out))
        assert "thesis: is not empty and was not made by deltalens train" in said
    assert sorted(p.name for p in out.iterdir()) == before
    assert (out / "chapter.txt").read_text() == "years of work"


def test_train_refuses_a_place_before_it_trains(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deltalens.organisms.train.train_organism", broken(AssertionError()))
    (tmp_path / "file").write_text("mine")
    said = refused(capsys, "train", "--data", "toy:game", "--out", str(tmp_path / "file"))
    assert "file: is a file; --out names a folder" in said
    out = tmp_path / "file" / "below"
    said = refused(capsys, "train", "--data", "toy:game", "--out", str(out))
    assert f"{out.parent}: cannot be written to" in said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback_and_keeps_the_status(capsys: Captured, place: str) -> None:
    command = ["inspect", "/no/such/adapter"]
    command = ["--debug", *command] if place == "before" else [*command, "--debug"]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("error: /no/such/adapter: no such file")


def with_failing_app(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(main_module, "app", broken(error))


@pytest.mark.parametrize("error", [ZeroDivisionError("x / 0"), AssertionError("a\nb")])
def test_a_fault_of_ours_is_3(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with_failing_app(monkeypatch, error)
    said = refused(capsys, "compare", status=3)
    assert said.startswith(f"a fault of deltalens, not of your input: {type(error).__name__}")
    assert main(["compare", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_the_rest_of_the_tree_is_2(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in DeltalensError.__subclasses__():
        with_failing_app(monkeypatch, error("what \x1b[31mwas\nfound"))
        assert refused(capsys, "x") == "what [31mwas found"
    with_failing_app(monkeypatch, PermissionError(13, "Permission denied", "/some/file"))
    assert refused(capsys, "x") == "/some/file: Permission denied"
    with_failing_app(monkeypatch, MemoryError("Unable to allocate 112. GiB"))
    said = "more memory is needed than there is"
    assert refused(capsys, "x") == f"{said}: Unable to allocate 112. GiB"
    with_failing_app(monkeypatch, MemoryError())
    assert refused(capsys, "x") == f"{said}: none is left"


def test_interrupted_is_130(capsys: Captured, monkeypatch: pytest.MonkeyPatch, a: str) -> None:
    monkeypatch.setattr("deltalens.cli.inspect.load", broken(KeyboardInterrupt()))
    for debug in ([], ["--debug"]):
        assert main(["inspect", a, *debug]) == 130
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
    with_failing_app(monkeypatch, KeyboardInterrupt())
    assert main(["inspect", a]) == 130


def test_version_and_help(capsys: Captured) -> None:
    import deltalens

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"deltalens {deltalens.__version__}\n"
    for arguments in ([], ["--help"], ["--debug"], ["compare", "--help"]):
        assert main(arguments) == 0
        out, err = capsys.readouterr()
        assert "Usage: deltalens" in out
        assert err == ""


def test_help_shows_what_works_and_nothing_that_does_not(capsys: Captured) -> None:
    main(["--help"])
    out = capsys.readouterr().out
    for verb in ("inspect", "compare", "train", "reproduce"):
        assert verb in out
    for reserved in ("edit", "screen"):
        assert f"  {reserved} " not in out


def test_json_is_not_printed_when_the_folder_cannot_be_written(
    capsys: Captured, a: str, b: str
) -> None:
    refused(capsys, "compare", a, b, "--json", "--out", "/proc/nothing")


def test_config_of_another_method_is_refused_by_name(capsys: Captured, a: str) -> None:
    config = Path(a) / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_dora": True}))
    assert "use_dora is true in the config, with 0" in refused(capsys, "inspect", a)
    config.write_text(json.dumps({**json.loads(config.read_text()), "peft_type": "PROMPT_TUNING"}))
    assert "PROMPT_TUNING" in refused(capsys, "inspect", a)
