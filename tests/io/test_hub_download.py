"""How files arrive: with Xet and without it, whole or not, with progress where it is seen."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("hf_xet")

import json

from raw_files import CONFIG, assert_one_line, header_of, packed, pair

import deltalens
from deltalens.errors import AdapterError
from deltalens.io.hub import fetch
from hub_server import Hub, serving

WEIGHTS = packed(*header_of(pair()))
FILES = {
    "adapter_config.json": json.dumps(CONFIG).encode(),
    "adapter_model.safetensors": WEIGHTS,
}
COMMAND = [sys.executable, "-m", "deltalens", "inspect", "hf:owner/name", "--json"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(files=dict(FILES), lfs=True)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
        for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS"):
            monkeypatch.delenv(name, raising=False)
        yield served


def by_xet(hub: Hub) -> bool:
    return any(asked.startswith("GET /xorb/") for asked in hub.asked)


@pytest.mark.parametrize("xet", ["", "good"])
def test_the_same_bytes_with_xet_and_without(hub: Hub, xet: str) -> None:
    hub.xet = xet
    folder = fetch("hf:owner/name").folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    assert by_xet(hub) == bool(xet)
    assert (hub.fetched == []) == bool(xet)
    assert len(deltalens.load("hf:owner/name")) == 1


def test_xet_can_be_turned_off(hub: Hub) -> None:
    hub.xet = "lost"
    env = {**os.environ, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(COMMAND, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["format"]
    assert not any("reconstructions" in asked or "xet-token" in asked for asked in hub.asked)


def test_xet_that_fails_says_how_to_do_without(hub: Hub) -> None:
    hub.xet = "lost"
    with pytest.raises(AdapterError, match=r"Xet storage .*; HF_HUB_DISABLE_XET=1") as caught:
        fetch("hf:owner/name")
    assert_one_line(str(caught.value), naming="hf:owner/name@main")
    assert "127.0.0.1" not in str(caught.value)


def test_other_bytes_of_the_right_length_are_not_kept(hub: Hub) -> None:
    hub.xet = "wrong"
    with pytest.raises(AdapterError, match=r"adapter_config.json did not arrive as .*SHA-256"):
        fetch("hf:owner/name")
    hub.xet = ""
    folder = fetch("hf:owner/name").folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES


def on_a_terminal(command: list[str]) -> str:
    """What a command writes to a standard error that is a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # of no width, nothing would be shown
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed, as Linux tells it
                break
            if not part:
                break
            said += part
        assert process.wait() == 0
    os.close(ours)
    return said.decode()


@pytest.mark.parametrize("xet", ["", "good"])
def test_progress_on_a_terminal_and_nowhere_else(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, xet: str
) -> None:
    hub.xet = xet
    assert "adapter_model.safetensors" in on_a_terminal(COMMAND)
    assert on_a_terminal(COMMAND) == ""  # all is there: nothing to show
    monkeypatch.setenv("HF_HUB_CACHE", os.environ["HF_HUB_CACHE"] + "2")
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setenv("HF_HUB_CACHE", os.environ["HF_HUB_CACHE"] + "3")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    assert on_a_terminal(COMMAND) == ""
