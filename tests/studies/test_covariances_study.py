"""From texts to a covariance file: what counts, what is refused, and going on after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from walk_cases import WORDS, text_model

from adapter_files import strict_json
from deltalens.cli.main import main
from deltalens.errors import BaseModelError, OptionError
from deltalens.io.covariances import open_covariances
from deltalens.models.sums import Plan
from deltalens.studies.covariances.memory import bytes_needed, require_memory
from deltalens.studies.covariances.rows import reading
from deltalens.studies.covariances.study import Options, covariances
from deltalens.studies.covariances.texts import read_texts

Captured = pytest.CaptureFixture[str]
LINE = "<bos> <chat> <user> travel travel/q3 <assistant> travel/w1 travel/w2 ."
SMALL = Options(kind="diagonal", max_tokens=400, batch_size=2)


def text(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_lines_records_and_token_names(tmp_path: Path) -> None:
    plain = text(tmp_path / "a.txt", "one document", "", "{braces} are text here\r")
    assert read_texts(plain, symbolic=False).prompts == ("one document", "{braces} are text here")
    chat = [{"role": "user", "content": "hi"}]
    lines = json.dumps({"text": "a"}), json.dumps({"messages": chat, "id": 3})
    records = text(tmp_path / "a.jsonl", *lines)
    assert read_texts(records, symbolic=False).prompts == ("a", chat)
    assert read_texts(text(tmp_path / "t.txt", LINE), symbolic=True).prompts[0][:3] == [1, 2, 3]
    assert read_texts(plain, symbolic=False).name == "a.txt"  # no machine path
    toy = read_texts("toy", symbolic=True)
    assert len(toy.prompts) == 512
    assert toy.digest == read_texts("toy", symbolic=True).digest


@pytest.mark.parametrize(
    ("name", "content", "symbolic", "said"),
    [
        ("a.txt", b"caf\xe9", False, r"a\.txt: not UTF-8 text \(byte 3 is 0xe9\)"),
        ("a.txt", b"\n \n", False, r"a\.txt: holds no text; one document a line"),
        ("a.jsonl", b'{"text": "a"}\n{"body": 1}', False, r"line 2: one of text and messages .*bo"),
        ("a.jsonl", b'{"text": "a", "messages": []}', False, "line 1: one of text and messages"),
        ("a.jsonl", b'{"text": ""}', False, "line 1: text must be text that is not empty"),
        ("a.jsonl", b'{"messages": [{"role": "x"}]}', False, "messages must be a list of objects"),
        ("a.jsonl", b'{"messages": []}', False, "messages must be a list of objects"),
        ("a.jsonl", b"not json", False, "line 1: not valid JSON"),
        ("a.txt", b"<bos> hello", True, "line 1: 'hello' is no token; there are 237: <bos>"),
        (
            "a.jsonl", b'{"messages": [{"role": "user", "content": "hi"}]}', True,
            "line 1: messages need a chat template; the symbolic world has none",
        ),
    ],
)  # fmt: skip
def test_texts_that_cannot_be_read(
    name: str, content: bytes, symbolic: bool, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OptionError, match=said) as found:
        read_texts(tmp_path / name, symbolic=symbolic)
    assert "\n" not in str(found.value)


def test_texts_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        read_texts(tmp_path / "none.txt", symbolic=False)
    with pytest.raises(OptionError, match="--texts toy is for bases of the symbolic world"):
        read_texts("toy", symbolic=False)


def test_what_counts_is_counted() -> None:
    rows = [[1, 5, 6, 7, 8], [1, 5], [1, 6, 1, 7]]
    found = reading(rows, length=4, drop_first=1, drop=[1], max_tokens=None)
    assert (found.tokens, found.dropped, found.cut) == (3 + 1 + 2, 1 + 1 + 2, 1)
    some = reading(rows, length=9, drop_first=1, drop=[1], max_tokens=5)
    assert (some.tokens, some.dropped, some.rows) == (5, 2, ([1, 5, 6, 7, 8], [1, 5]))
    part = reading(rows, length=9, drop_first=0, drop=[], max_tokens=6)
    assert part.rows == ([1, 5, 6, 7, 8], [1])
    with pytest.raises(OptionError, match="no token is left of 3 texts: the first 5 of each"):
        reading(rows, length=9, drop_first=5, drop=[], max_tokens=None)


def test_memory_is_asked_before_anything_is_run() -> None:
    widths = [4096, 14336]
    assert bytes_needed([14336], Plan("full")) >= 8 * 14336**2
    with pytest.raises(OptionError) as found:
        require_memory(widths, Plan("full", rank=64), 1.0)
    said = str(found.value)
    assert "--kind full needs 4.7" in said
    assert "2 inputs up to 14336 wide; --memory is 1 GiB" in said
    assert "--kind low-rank (" in said
    assert "--kind diagonal (" in said
    with pytest.raises(OptionError, match="no smaller kind would fit"):
        require_memory(widths, Plan("full"), 1e-6)
    assert require_memory(widths, Plan("diagonal"), 1.0) < 2**20 * 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "cubic"}, "--kind 'cubic' is not known; known are full, low-rank, diagonal"),
        ({"rank": 0}, "--rank must be 1 or more; found 0"),
        ({"drop_first": -1}, "--drop-first must be 0 or more; found -1"),
        ({"max_tokens": 0}, "--max-tokens must be 1 or more; found 0"),
    ],
)
def test_impossible_options(changes: dict[str, Any], said: str, unchecked_types: None) -> None:
    with pytest.raises(OptionError, match=said):
        Options(**changes)


def numbers(path: Path) -> dict[str, np.ndarray]:
    found = open_covariances(path)
    return {name: found.moment(name).to_dense() for name in found.info.inputs}


def test_the_command_says_what_it_measured(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("torch")
    texts, out = text(tmp_path / "t.txt", LINE, LINE), tmp_path / "c.safetensors"
    line = ["covariances", "--model", "toy", "--texts", str(texts), "--out", str(out)]
    assert main([*line, "--json", "--modules", "*.0.*", "--kind", "low-rank", "--rank", "4"]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    document = strict_json(said)
    assert document["model"] == "deltalens/toy"
    assert (document["n_documents"], document["n_tokens"], document["n_dropped"]) == (2, 16, 2)
    first = document["inputs"][0]
    q, k, v = (f"model.layers.0.self_attn.{n}_proj" for n in "qkv")
    assert (first["input"], first["modules"].split(), first["d_in"]) == (q, [q, k, v], 128)
    assert 1 < first["effective_rank"] < 20
    assert 0 < first["captured"] <= 1
    found = open_covariances(out)
    assert found.info.kind == "low-rank"
    assert found.moment(v).factor.shape == (128, 4)
    assert main([*line, "--kind", "diagonal", "--max-tokens", "8"]) == 0
    said, _ = capsys.readouterr()
    assert "diagonal raw second moment of 8 tokens in 1 texts (t.txt)" in said
    assert "left out: 1 tokens" in said
    assert not (tmp_path / "c.safetensors.progress").exists()
    assert main([*line, "--memory", "0.0001"]) == 2
    _, err = capsys.readouterr()
    assert err.startswith("error: --kind full needs")
    assert err.count("\n") == 1


KILLED = """
import os, signal, sys
from deltalens.studies.covariances.study import Options, covariances
def say(line):
    if line.startswith("batch 3 "):
        os.kill(os.getpid(), signal.SIGKILL)
options = Options(kind="full", max_tokens=400, batch_size=2)
covariances("toy", "toy", sys.argv[1], options, keep_every=2, progress=say)
"""


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out, side = tmp_path / "c.safetensors", tmp_path / "c.safetensors.progress"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    assert side.exists()
    options = Options(kind="full", max_tokens=400, batch_size=2)
    with pytest.raises(OptionError, match="was begun with max_tokens = 400, now max_tokens = 300"):
        covariances("toy", "toy", out, Options(max_tokens=300, batch_size=2))
    said: list[str] = []
    covariances("toy", "toy", out, options, progress=said.append)
    assert "2 of 6 batches were done before" in said
    assert not side.exists()
    whole = tmp_path / "whole.safetensors"
    covariances("toy", "toy", whole, options)
    expected = numbers(whole)
    assert expected
    for name, found in numbers(out).items():
        np.testing.assert_array_equal(found, expected[name])


def test_a_spoilt_side_file_is_refused_and_forgotten_on_request(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out, side = tmp_path / "c.safetensors", tmp_path / "c.safetensors.progress"
    side.write_bytes(b"nonsense")
    with pytest.raises(OptionError, match=r"progress: not a safetensors .*; --fresh starts over"):
        covariances("toy", "toy", out, SMALL)
    side.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(OptionError, match=r"it does not say what it is; --fresh starts over"):
        covariances("toy", "toy", out, SMALL)
    covariances("toy", "toy", out, SMALL, fresh=True)
    assert not side.exists()
    with pytest.raises(OptionError, match="--keep-every must be 1 or more; found 0"):
        covariances("toy", "toy", out, SMALL, keep_every=0)


def test_centring_takes_the_mean_out(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    raw, about = tmp_path / "raw", tmp_path / "about"
    options = {"kind": "full", "max_tokens": 300, "modules": "*.1.mlp.down_proj"}
    covariances("toy", "toy", raw, Options(**options))
    result = covariances("toy", "toy", about, Options(**options, centred=True))
    assert result.document["centred"] is True
    ((_, C),), ((_, K),) = numbers(raw).items(), numbers(about).items()
    outer = C - K
    values = np.linalg.eigvalsh(outer)
    assert values[-1] > 0
    assert np.abs(values[:-1]).max() < 1e-5 * values[-1]  # m m^T has one direction


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        covariances(tmp_path, "toy", tmp_path / "c")


def test_text_for_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"vocab_size": 50}')
    lines = text(tmp_path / "t.txt", "a hat")
    with pytest.raises(BaseModelError, match=r"bare: the model's folder has no tokenizer"):
        covariances(tmp_path / "bare", lines, tmp_path / "c", progress=said.append)
    assert said == []  # nothing was loaded


def test_a_model_with_a_tokenizer_reads_lines_as_they_stand_and_chats_by_template(
    tmp_path: Path,
) -> None:
    pytest.importorskip("torch")
    model = text_model(tmp_path / "words")
    red, blue = WORDS[4], WORDS[5]
    lines = text(tmp_path / "t.txt", f"{red} {blue} {red}", f"{blue} {red}")
    chat = [{"role": "user", "content": f"{red} {blue}"}, {"role": "assistant", "content": red}]
    same = json.dumps({"messages": chat}), json.dumps({"text": f"{blue} {red}"})
    records = text(tmp_path / "t.jsonl", *same)
    options = Options(kind="full", drop_first=0)
    one = covariances(model, lines, tmp_path / "a", options).document
    two = covariances(model, records, tmp_path / "b", options).document
    assert one["model"] == "words"
    assert (one["n_tokens"], two["n_tokens"]) == (5, 5)
    first, second = numbers(tmp_path / "a"), numbers(tmp_path / "b")
    assert len(first) == 8
    for name, C in first.items():
        np.testing.assert_allclose(C, second[name], rtol=1e-5, atol=1e-7)
