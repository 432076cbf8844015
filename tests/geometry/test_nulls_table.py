"""The ladder's table: every rung is there, says what it must, and lives where it says."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module

import pytest

from deltalens.geometry.nulls import TABLE, NullDescription


def test_the_rungs_in_order() -> None:
    assert list(TABLE) == ["haar", "rotation", "activation", "bank", "ceiling", "labels"]


@pytest.mark.parametrize("name", TABLE)
def test_a_rung_says_everything_that_a_reader_needs(name: str) -> None:
    null = TABLE[name]
    assert null.name == name
    said = {f.name: getattr(null, f.name) for f in fields(NullDescription)}
    if name == "haar":
        assert not said.pop("supply")  # the adapters suffice
    assert all(said.values())
    assert import_module(null.module).__doc__


def test_only_the_bank_supports_claims() -> None:
    assert [n for n, null in TABLE.items() if null.supports.startswith("claims")] == ["bank"]
