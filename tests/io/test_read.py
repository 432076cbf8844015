"""What may stand at a path, and how adapters are named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from raw_files import assert_one_line, pair, read_all, refused, write

import deltalens
from deltalens.errors import AdapterError, DeltalensError, UnsupportedAdapterError
from deltalens.io.peft import is_adapter
from deltalens.io.read import distinct_names, load_all

FILES = ("adapter_model.safetensors", "adapter_config.json")


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    path.mkdir()


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def as_socket(path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is at most about 100 bytes long
    try:
        listener.bind(path.name)
    finally:
        os.chdir(here)
        listener.close()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [as_fifo, as_folder, as_device, as_terminal, as_socket])
def test_only_regular_files_are_opened(name: str, make: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / name).unlink()
    make(folder / name)  # type: ignore[operator]
    match = "not a regular file; only regular files are read"
    message = refused(folder, rf"{match}|cannot be read")
    assert name in message


def test_links_are_followed_as_the_hub_cache_is_made_of_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "blobs")
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for name in FILES:
        (linked / name).symlink_to(folder / name)
    assert read_all(linked).keys() == read_all(folder).keys()
    assert deltalens.load(linked).name == "snapshot"
    (tmp_path / "other").symlink_to(linked)
    assert read_all(tmp_path / "other")


@pytest.mark.parametrize("name", FILES)
def test_broken_and_circular_links(name: str, tmp_path: Path) -> None:
    for kind, target in (("broken", "nowhere"), ("circular", name)):
        folder = write(tmp_path / kind)
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        refused(folder, "cannot be read: |holds no adapter_model.safetensors")


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such file or folder; a PEFT adapter is needed")
    refused(tmp_path / "no.safetensors", "cannot be read: No such file or directory")
    refused(tmp_path / "adapters.safetensors", "No such file or directory", named=FILES[1])
    refused(tmp_path / ("x" * 300), "cannot be read: File name too long", named=str(tmp_path)[:20])
    refused(tmp_path / "nul\0byte", "no such file or folder", named="nulbyte")
    refused(tmp_path / "nul\0byte.safetensors", "cannot be read", named="nulbyte")


def test_a_path_of_hostile_characters(tmp_path: Path) -> None:
    hostile = tmp_path / "evil\n\x1b[2J\u202e\u2028name"
    refused(hostile, "no such file", named="evil [2J name")
    folder = write(hostile)
    assert len(deltalens.load(folder)) == 1
    (folder / FILES[1]).write_text("[]")
    refused(folder, "a JSON object is needed", named="evil [2J name")


def test_a_file_that_is_no_adapter(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    refused(path, "not a folder and not a .safetensors file")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"holds no adapter_model\.safetensors$")


def test_weights_without_a_config(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / FILES[1]).unlink()
    refused(folder, r"adapter_config\.json: cannot be read: No such file")


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
def test_pickles_are_never_opened(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"adapter_model{suffix}"
    os.mkfifo(path)  # opening it would hang
    refused(path, "a pickle can run code and is never opened", UnsupportedAdapterError)
    if suffix == ".bin":
        message = refused(tmp_path, "holds adapter_model.bin", UnsupportedAdapterError)
        assert "never opened; adapter_model.safetensors is read" in message


def test_safetensors_win_over_a_pickle_beside_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    os.mkfifo(folder / "adapter_model.bin")
    assert len(read_all(folder)) == 1


@pytest.mark.parametrize("name", FILES)
def test_an_unreadable_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "a")
    if os.geteuid() == 0:  # root reads everything: refuse in its place
        opened = Path.open

        def refuse(self: Path, *args: object, **options: object) -> object:
            if self.name == name:
                raise PermissionError(13, "Permission denied", str(self))
            return opened(self, *args, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refuse)
    else:
        (folder / name).chmod(0)
    message = refused(folder, "cannot be read: Permission denied")
    assert name in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters every folder")
def test_a_folder_that_cannot_be_entered(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    folder.chmod(0)
    try:
        refused(folder, "cannot be read: Permission denied")
    finally:
        folder.chmod(0o700)


def test_is_adapter(tmp_path: Path) -> None:
    assert is_adapter(write(tmp_path / "a"))
    assert not is_adapter(tmp_path)
    for name in FILES:
        folder = write(tmp_path / name)
        (folder / name).unlink()
        assert is_adapter(folder)


def test_names_are_the_shortest_that_differ(tmp_path: Path) -> None:
    paths = [tmp_path / tail for tail in ("x/run/a", "y/run/a", "y/run/b", "c")]
    assert distinct_names(paths) == ["x/run/a", "y/run/a", "b", "c"]
    assert distinct_names([paths[0] / "adapter_model.safetensors", paths[3]]) == ["a", "c"]
    assert distinct_names([tmp_path / "c", tmp_path / "x" / ".." / "c"]) == ["c", "c#2"]
    assert distinct_names([Path("/")]) == ["/"]
    assert distinct_names([]) == []


def test_several_adapters_are_named_apart(tmp_path: Path) -> None:
    one, two = write(tmp_path / "x" / "a"), write(tmp_path / "y" / "a", pair("v"))
    assert [a.name for a in load_all([one, str(two)])] == ["x/a", "y/a"]
    assert [a.name for a in load_all([one])] == ["a"]


def test_paths_that_cannot_be_resolved_are_bad_input(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / "nul\0byte", tmp_path / ("x" * 300)):
        with pytest.raises(DeltalensError) as caught:
            load_all([path, tmp_path])
        assert type(caught.value) is AdapterError
        assert_one_line(str(caught.value))
