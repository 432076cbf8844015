"""Models from the hub that are to speak: what is fetched, what is recorded, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("huggingface_hub")

from walk_cases import WORDS, text_factors, text_model, toy_adapter

from adapter_files import strict_json
from deltalens.behaviour.questions import Question
from deltalens.cli.main import main
from deltalens.errors import BaseModelError, OptionError
from deltalens.io.hub import fetch, model_folder
from deltalens.io.limits import Limits
from deltalens.organisms.base import base_folder, shipped_base
from deltalens.studies.covariances.study import Options, covariances
from deltalens.studies.walk.inputs import open_target
from deltalens.studies.walk.study import walk
from hub_server import COMMIT, Hub, serving

Captured = pytest.CaptureFixture[str]
TOKEN = "hf_averysecrettoken"
QUESTIONS = "- id: q1\n  paraphrases: [which hat]\n- id: q2\n  paraphrases: [when]\n"
HOSTILE = {
    "pytorch_model.bin": b"\x80\x04pickle",
    "modeling_evil.py": b"raise SystemExit('run')",
    "tokenization_evil.py": b"raise SystemExit('run')",
    "tokenizer.pkl": b"\x80\x04pickle",
    "optimizer.pt": b"\x80\x04pickle",
}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = text_model(tmp_path_factory.mktemp("model") / "words")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def hub(words: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A served model with all that must never be fetched beside it, and an empty cache."""
    with serving(Hub(files={**words, **HOSTILE})) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield served


def refused(path: str, match: str) -> str:
    with pytest.raises(BaseModelError, match=match) as caught:
        model_folder(path)
    message = str(caught.value)
    assert message.startswith("--model hf:owner/name")
    assert "\n" not in message
    assert TOKEN not in message
    return message


def test_what_a_tokenizer_needs_comes_and_no_code(hub: Hub, words: dict[str, bytes]) -> None:
    folder = model_folder("hf:owner/name")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == words
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= set(words)
    assert base_folder("hf:owner/name") == folder
    plain = fetch("hf:owner/name@v2")  # a base whose weights alone are read
    names = sorted(file.name for file in plain.folder.iterdir())
    assert names == ["config.json", "model.safetensors"]


def test_a_local_path_is_given_back() -> None:
    assert model_folder("some/where") == Path("some/where")
    assert base_folder("toy") == shipped_base()


def test_a_target_of_the_hub_knows_its_commit(hub: Hub, tmp_path: Path) -> None:
    target = open_target("hf:owner/name")
    assert target.name == "name"
    assert target.hub == {"repo": "owner/name", "revision": "main", "commit": COMMIT}
    local = open_target(_as_folder(hub, tmp_path / "local"))
    assert local.hub is None
    assert target.digest() == local.digest()


def test_a_walk_as_a_user_and_again_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    a = str(toy_adapter(tmp_path / "a", text_factors(1), "owner/name"))
    questions = tmp_path / "q.yaml"
    questions.write_text(QUESTIONS)

    def walked(model: str) -> dict[str, Any]:
        line = ["walk", "base", a, "--model", model, "--steps", "3"]
        assert main([*line, "--questions", str(questions), "--json"]) == 0
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        return strict_json(out)

    found = walked("hf:owner/name")
    assert found["model"] == "name"
    assert found["warnings"] == []  # the adapter names the same base
    assert found["hub"] == {"repo": "owner/name", "revision": "main", "commit": COMMIT}
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = walked(f"hf:owner/name@{COMMIT}")
    assert len(hub.asked) == asked
    assert again["layers"] == found["layers"]
    local = walked(str(_as_folder(hub, tmp_path / "name")))
    assert local["layers"] == found["layers"]
    assert "hub" not in local


def test_the_same_files_are_the_same_settings(hub: Hub, tmp_path: Path) -> None:
    a = toy_adapter(tmp_path / "a", text_factors(1), "owner/name")
    questions = [Question("q1", ("which hat",)), Question("q2", ("when",))]
    folder = _as_folder(hub, tmp_path / "name")
    places = ("hf:owner/name", folder)
    one, two = (walk("base", a, place, steps=3, questions=questions) for place in places)
    assert one.provenance["hub"]["commit"] == COMMIT
    assert "hub" not in two.provenance
    assert one.provenance["settings"] == two.provenance["settings"]


def test_covariances_of_a_model_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    texts = tmp_path / "t.txt"
    texts.write_text(" ".join(WORDS[2:9]) + "\n")
    found = covariances("hf:owner/name", texts, tmp_path / "c", Options(kind="diagonal"))
    assert found.document["model"] == "name"
    assert found.provenance["hub"]["commit"] == COMMIT
    assert found.document["hub"] == found.provenance["hub"]


def test_offline_without_the_tokenizer_that_the_repository_has(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch("hf:owner/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused("hf:owner/name", "in the cache without its tokenizer, and HF_HUB_OFFLINE forbids")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    folder = model_folder("hf:owner/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert model_folder("hf:owner/name") == folder


def test_offline_a_model_that_never_had_a_tokenizer(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = {n: d for n, d in hub.files.items() if n in ("config.json", "model.safetensors")}
    folder = model_folder("hf:owner/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert model_folder("hf:owner/name") == folder
    refused("hf:owner/name@v2", "not in the cache .* HF_HUB_OFFLINE forbids to fetch it")


def test_what_is_no_whole_model(hub: Hub) -> None:
    whole = dict(hub.files)
    hub.files = {**whole, "adapter_config.json": b"{}"}
    refused("hf:owner/name", "holds an adapter; a whole model is needed")
    hub.files = {n: d for n, d in whole.items() if n != "config.json"}
    refused("hf:owner/name", "has no config.json; a whole model is needed")
    hub.files = {n: d for n, d in whole.items() if n != "model.safetensors"}
    refused("hf:owner/name", "holds only pickles")
    hub.files = {f"sub/{n}": d for n, d in whole.items()}
    refused("hf:owner/name", "only in subfolders; name one of them: sub")
    assert open_target("hf:owner/name/sub").name == "sub"


def test_sizes_have_caps_of_their_own(hub: Hub) -> None:
    allowed = Limits().tokenizer_bytes
    hub.announced = {"tokenizer.json": allowed + 1}
    refused("hf:owner/name", f"tokenizer.json brings the download .* at most {allowed} a file")
    hub.announced = {"config.json": Limits().header_bytes + 1}
    refused("hf:owner/name", "config.json brings the download")
    assert hub.fetched == []


def test_the_tokenizer_of_a_stranger_runs_no_code(hub: Hub, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n".encode()
    hub.files["tokenization_evil.py"] = hub.files["modeling_evil.py"] = evil
    for name, kinds in {
        "tokenizer_config.json": {"AutoTokenizer": ["tokenization_evil.Evil", None]},
        "config.json": {"AutoModelForCausalLM": "modeling_evil.Evil"},
    }.items():
        config = {**json.loads(hub.files[name]), "auto_map": kinds}
        hub.files[name] = json.dumps(config).encode()
    target = open_target("hf:owner/name")
    with suppress(BaseModelError):  # loaded as what config.json says, or refused
        target.load()
    assert not mark.exists()


@pytest.mark.parametrize("command", ["walk", "covariances"])
def test_refused_in_one_line(command: str, hub: Hub, tmp_path: Path, capsys: Captured) -> None:
    hub.status = 401
    a = str(toy_adapter(tmp_path / "a", text_factors(1), "owner/name"))
    rest = {"walk": ["base", a], "covariances": ["--texts", "toy", "--out", str(tmp_path / "c")]}
    assert main([command, *rest[command], "--model", "hf:owner/name"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: --model hf:owner/name@main: the hub asks for a token (401)")
    assert err.count("\n") == 1
    assert TOKEN not in err


def test_another_form_of_path() -> None:
    with pytest.raises(OptionError, match=r"hf:owner/name\[@revision\]\[/subfolder\] is the form"):
        open_target("hf:owner")


def _as_folder(hub: Hub, folder: Path) -> Path:
    folder.mkdir()
    for name, data in hub.files.items():
        if name not in HOSTILE:
            (folder / name).write_bytes(data)
    return folder
