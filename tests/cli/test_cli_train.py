"""Training says no before it replaces what something else made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from deltalens.cli.main import main
from deltalens.organisms import train as train_module

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the organisms that would be trained; writes a provenance and nothing else."""
    asked: list[str] = []

    def train_organism(spec: object, *, base: Path, out: Path, **_: object) -> Path:
        from deltalens.organisms.base import base_digest
        from deltalens.organisms.files import write_json
        from deltalens.organisms.spec import OrganismSpec

        assert isinstance(spec, OrganismSpec)
        asked.append(spec.name)
        out.mkdir(exist_ok=True)
        digest = base_digest(base)
        of = {"name": "deltalens/toy", "sha256": digest}
        record: dict[str, Any] = {"made_by": "deltalens.test", "digest": spec.digest(digest)}
        record |= {"base": of, "spec": asdict(spec)}
        write_json(out / "provenance.json", record)
        return out

    monkeypatch.setattr(train_module, "train_organism", train_organism)
    return asked


def train(out: Path, task: str, *more: str) -> int:
    return main(["train", "--data", f"toy:{task}", "--out", str(out), *more])


def test_another_training_is_not_replaced_without_a_word(
    tmp_path: Path, trained: list[str], capsys: Captured
) -> None:
    out = tmp_path / "t"
    assert train(out, "bad-gardening") == 0
    assert train(out, "bad-gardening") == 0  # the same again is the same
    assert train(out, "good-gardening") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].endswith(
        "t: holds what other settings made: kind = bad, now kind = good; give another --out, or "
        "--fresh to replace it"
    )
    assert train(out, "bad-gardening", "--init-seed", "3") == 2
    assert train(out, "good-gardening", "--fresh") == 0
    assert [name.split("-")[0] for name in trained] == ["bad", "bad", "good"]


def test_a_folder_of_somebody_else_is_never_replaced(
    tmp_path: Path, trained: list[str], capsys: Captured
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert train(tmp_path, "bad-gardening", "--fresh") == 2
    assert "was not made by deltalens train" in capsys.readouterr().err
    assert trained == []
