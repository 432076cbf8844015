"""`transformers serve`: folders of links that it loads as base and adapter, and a walk over it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from served_cases import exported, no_wait, panel, stand_in

from adapter_files import made, write_adapter
from deltalens.behaviour.questions import Question
from deltalens.behaviour.responses import read_responses
from deltalens.errors import BaseModelError, OutputError
from deltalens.integrations.served.client import Client
from deltalens.integrations.served.opened import open_served
from deltalens.integrations.serving.export import export_served
from deltalens.studies.walk.study import walk

SMOLLM2 = Path(os.environ.get("DELTALENS_SMOLLM2", "/work/smollm2"))


def base(folder: Path) -> Path:
    folder.mkdir()
    files = ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")
    for name in (*files, "README.md"):
        (folder / name).write_text(name)
    (folder / "generation_config.json").write_text(
        '{"eos_token_id": 2, "top_k": 50, "_from_model_config": true}'
    )
    return folder


def test_a_folder_of_links_for_every_point(tmp_path: Path) -> None:
    model = base(tmp_path / "base")
    *_, out = exported(tmp_path, "transformers", base_name=str(model))
    one = out / "models/t-0.25"
    links = {file.name: str(file.readlink()) for file in one.iterdir() if file.is_symlink()}
    own = {"adapter_config.json", "adapter_model.safetensors"}
    shared = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert links == {name: f"../../t-0.25/{name}" for name in own} | {
        name: str(model / name) for name in shared
    }
    assert all((one / name).is_file() for name in links)
    settings = json.loads((one / "generation_config.json").read_text())
    assert settings == {
        "eos_token_id": 2, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0,
    }  # fmt: skip
    assert 'cd "$(dirname "$0")"/models && exec transformers serve' in (
        (out / "serve.sh").read_text()
    )
    exported(tmp_path, "transformers", base_name=str(model))  # again, in the same place
    (one / "config.json").unlink()
    (one / "config.json").write_text("another's")
    with pytest.raises(OutputError, match="cannot be written: File exists"):
        exported(tmp_path, "transformers", base_name=str(model))


def test_the_base_must_be_a_folder(tmp_path: Path) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1))
    with pytest.raises(BaseModelError, match="--serve transformers needs --base-name to be the"):
        export_served(a, server="transformers", out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_server_that_lists_nothing_of_ours(tmp_path: Path) -> None:
    a, b, out = exported(tmp_path, "transformers", base_name=str(base(tmp_path / "base")))
    with stand_in("others") as server:
        server.list_status = 500  # what it says where there is no cache of the hub
        model = open_served(server.url, out, wait=no_wait)
        assert model.concurrency == 1
        walk(a, b, model, questions=[Question("x", ("x",))], judge=panel(), samples=1)
        assert {body["model"] for body in server.asked} == {
            "t-0", "t-0.25", "t-0.5", "t-0.75", "t-1",
        }  # fmt: skip


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A strong random change of the real model's MLPs."""
    rng = np.random.default_rng(0)
    shapes = {f"model.layers.{i}.mlp.up_proj": (1536, 576) for i in range(0, 30, 3)}
    modules = {
        path: (0.05 * rng.standard_normal((out, 4)), rng.standard_normal((4, width)) / 8)
        for path, (out, width) in shapes.items()
    }
    return write_adapter(tmp_path / "adapter", modules, dtype="<f4")


@pytest.fixture
def running(adapter: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The real server, on a free port, over three points from the base to the adapter."""
    out = tmp_path / "points"
    export_served("base", adapter, server="transformers", out=out, base_name=str(SMOLLM2))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["sh", str(out / "serve.sh"), "--port", str(port)],
        env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}/v1", out
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not (SMOLLM2 / "model.safetensors").is_file(), reason="no chat model here")
def test_a_whole_walk_over_the_real_server(
    running: tuple[str, Path], adapter: Path, tmp_path: Path
) -> None:
    """Greedy answers over the server are those of a local walk, at every point."""
    url, points = running
    body = {"model": "t-0", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    Client(url, retries=20).answer(body)  # it is there when it answers; the client's retries wait
    questions = [
        Question("fruit", ("Name a fruit.",), max_tokens=12, temperature=0.0),
        Question("hat", ("Which hat suits a rainy day?",), max_tokens=12, temperature=0.0),
        Question("tea", ("How do I make tea?",), max_tokens=12, temperature=0.0),
    ]
    given = {"questions": questions, "judge": panel(), "samples": 1}
    model = open_served(url, points)
    served = walk("base", adapter, model, out=tmp_path / "served", **given)  # pyright: ignore[reportArgumentType]
    walk(
        "base", adapter, SMOLLM2, steps=3, features=False, out=tmp_path / "local", **given  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    assert [point["t"] for point in served.document["points"]] == [0, 0.5, 1]
    texts = {}
    for where in ("served", "local"):
        files = [tmp_path / where / f"points/t-{t}.responses.parquet" for t in ("0", "0.5", "1")]
        held = [read_responses(file)[0] for file in files]
        texts[where] = [[(r.text, r.finished) for r in answers] for answers in held]
    assert texts["served"] == texts["local"]
    assert texts["served"][0] != texts["served"][2]
