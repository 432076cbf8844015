"""What a model is to a walk (how it reads belongs to it), and what a base is to geometry."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltalens.studies.walk.settings import folder_digest, weights_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "chat_template.jinja", "merges.txt", "generation_config.json"]
)
def test_how_a_model_reads_is_the_walks_alone(folder: Path, name: str) -> None:
    before = folder_digest(folder), weights_digest(folder)
    (folder / name).write_text("another")
    assert folder_digest(folder) != before[0]
    assert weights_digest(folder) == before[1]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_weights_belong_to_both(folder: Path, name: str) -> None:
    before = folder_digest(folder), weights_digest(folder)
    (folder / name).write_text("another")
    assert folder_digest(folder) != before[0]
    assert weights_digest(folder) != before[1]


def test_what_is_only_read_by_people_belongs_to_neither(folder: Path) -> None:
    before = folder_digest(folder), weights_digest(folder)
    (folder / "README.md").write_text("another")
    assert (folder_digest(folder), weights_digest(folder)) == before
