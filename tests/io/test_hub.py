"""Places on the hub, against a stand-in server and the client's own cache layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_files import CONFIG, assert_one_line, header_of, packed, pair, write

import deltalens
from deltalens.cli.main import main
from deltalens.errors import AdapterError, OptionError
from deltalens.io.hub import fetch
from deltalens.io.hub_names import HubPath, parse, wanted
from deltalens.io.limits import Limits
from hub_server import COMMIT, OTHER, Hub, serving

WEIGHTS = packed(*header_of(pair()))
CONFIG_BYTES = json.dumps(CONFIG).encode()
FILES = {"adapter_config.json": CONFIG_BYTES, "adapter_model.safetensors": WEIGHTS}
TOKEN = "hf_averysecrettoken"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A served repository with a good adapter, and an empty cache."""
    with serving(Hub(files=dict(FILES))) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield served


def no_sleep(_: float) -> None:
    return None


def refused(path: str, match: str, **options: Any) -> str:
    with pytest.raises(AdapterError, match=match) as caught:
        fetch(path, **options)
    message = str(caught.value)
    assert_one_line(message, naming="hf:owner/name")
    assert "hf_a" not in message
    return message


def test_the_same_adapter_as_from_a_folder(hub: Hub, tmp_path: Path) -> None:
    hub.files |= {"pytorch_model.bin": b"x", "run.py": b"import os", "README.md": b"hello"}
    local, found = deltalens.load(write(tmp_path / "a")), deltalens.load("hf:owner/name")
    assert found.name == "name"
    assert {k: u.dense().tolist() for k, u in found.items()} == {
        k: u.dense().tolist() for k, u in local.items()
    }
    noted = found.provenance.details["hub"]
    assert noted == {"repo": "owner/name", "revision": "main", "commit": COMMIT}
    assert sorted(set(hub.fetched)) == sorted(FILES)
    folder = tmp_path / "cache" / "models--owner--name" / "snapshots" / COMMIT
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)


def test_cache_and_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch("hf:owner/name")
    n = len(hub.fetched)
    assert fetch("hf:owner/name") == first
    assert len(hub.fetched) == n
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("hf:owner/name") == first
    assert fetch(f"hf:owner/name@{COMMIT}").folder == first.folder
    refused("hf:owner/name@v2", "not in the cache .* HF_HUB_OFFLINE forbids")
    assert len(hub.asked) == asked


def test_the_clients_own_download_is_found_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    for name in FILES:
        hf_hub_download("owner/name", name, cache_dir=tmp_path / "cache", endpoint=hub.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    assert fetch("hf:owner/name").commit == COMMIT
    assert deltalens.load("hf:owner/name").provenance.details["hub"]["commit"] == COMMIT


def test_revision_and_subfolder(hub: Hub) -> None:
    hub.files = {f"runs/a/{name}": data for name, data in FILES.items()}
    found = deltalens.load("hf:owner/name@v2/runs/a")
    assert found.name == "a"
    assert found.provenance.details["hub"]["commit"] == OTHER
    refused("hf:owner/name@v2", "only in subfolders; name one of them: runs/a")
    refused("hf:owner/name@v2/runs/b", "holds no safetensors")


@pytest.mark.parametrize(
    ("status", "match"),
    [(401, "asks for a token"), (403, "refuses access"), (404, "no such"), (418, "status 418")],
)
def test_refusals_of_the_hub_repeat_nothing_that_it_said(hub: Hub, status: int, match: str) -> None:
    hub.status = status
    assert "secret" not in refused("hf:owner/name", match)


def test_an_unknown_revision(hub: Hub) -> None:
    refused("hf:owner/name@v9", "no such repository or revision")


def test_sizes_come_before_the_download(hub: Hub) -> None:
    refused("hf:owner/name", "at most 100 a file.*file_bytes", limits=Limits(file_bytes=100))
    for size in (None, -1):
        hub.announced = {"adapter_model.safetensors": size}
        refused("hf:owner/name", "does not say how large|not understood")
    hub.announced = {"adapter_model.safetensors": 2**50}
    refused("hf:owner/name", "brings the download to")
    assert hub.fetched == []


def test_another_length_than_announced(hub: Hub) -> None:
    hub.announced = {"adapter_config.json": len(CONFIG_BYTES) + 1}
    refused("hf:owner/name", "the hub announced")


@pytest.mark.parametrize("lie", ["short", "long"])
def test_a_cut_connection(hub: Hub, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    monkeypatch.setattr("time.sleep", no_sleep)
    hub.lying = lie
    refused("hf:owner/name", "did not arrive whole|no connection|cannot be fetched")


def test_no_hub_at_all(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", no_sleep)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused("hf:owner/name", "no connection to the hub .*HF_HUB_OFFLINE=1")


@pytest.mark.parametrize("sha", ["main", "../../x", 7])
def test_a_commit_that_is_none(hub: Hub, sha: Any) -> None:
    hub.sha = sha
    refused("hf:owner/name", "names no commit|not understood")


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x", "a//b", "a\\b", "adapter_\u202e.safetensors"]
)
def test_evil_file_names(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.extra = [name]
    refused("hf:owner/name", "plain names inside the repository")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "text",
    [
        *("hf:", "hf:owner", "hf:owner/", "hf:../name", "hf:o/n@", "hf:o/n@../x", "hf:o/n/../x"),
        *(
            "hf:o/n//x",
            "hf:o/n/x/",
            "hf:o/n@a b",
            "hf:-o/n",
            "hf:o/n\n",
            "hf:o/n@x/.git",
            "hf:o/n?x",
        ),
    ],
)
def test_other_forms_of_path(text: str) -> None:
    with pytest.raises(OptionError, match=r"hf:owner/name\[@revision\]\[/subfolder\]") as caught:
        parse(text)
    assert_one_line(str(caught.value))


def test_parse() -> None:
    assert parse("hf:o/n") == HubPath("o/n")
    assert parse("hf:o/n@v1.0/a/b") == HubPath("o/n", "v1.0", "a/b")
    assert parse("hf:o/n/a").name == "a"


def test_only_config_safetensors_and_index_are_wanted() -> None:
    model = ["config.json", "model-1.safetensors", "model.safetensors.index.json"]
    others = ["optimizer.pt", "modeling.py", "tokenizer.json", "consolidated.safetensors"]
    assert wanted(dict.fromkeys([*model, *others], 1), HubPath("o/n")) == model
    with pytest.raises(AdapterError, match="only pickles"):
        wanted({"pytorch_model.bin": 1}, HubPath("o/n"))
    assert wanted({"kohya.safetensors": 1, "x.py": 1}, HubPath("o/n")) == ["kohya.safetensors"]


def test_as_a_user(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "hf:owner/name", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["hub"]["commit"] == COMMIT
    assert main(["inspect", "hf:owner/name@v2"]) == 0
    out, err = capsys.readouterr()
    assert f"at commit {OTHER}" in out
    assert TOKEN not in out + err
    assert any(
        h.get("authorization", h.get("Authorization")) == f"Bearer {TOKEN}" for h in hub.headers
    )
    hub.status = 401
    assert main(["inspect", "hf:owner/name@v3"]) == 2
    assert TOKEN not in capsys.readouterr().err
