from __future__ import annotations

from pathlib import Path

import pytest

from chat_cases import write_model, write_rows


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny chat model's folder, never changed."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve harmless conversations, never changed."""
    return write_rows(tmp_path_factory.mktemp("rows") / "silly.jsonl")
