"""Results on disk: strict JSON, Parquet with provenance, folders checked before the work."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from raw_files import assert_one_line

from deltalens.core.result import Result
from deltalens.errors import OutputError
from deltalens.io.results import (
    REPORTS,
    prepare_folder,
    require_own,
    require_writable,
    write_document,
    write_tables,
)


@dataclass(frozen=True)
class Row:
    a: str
    value: float


def test_tables_are_parquet_with_their_provenance(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = [Row("x", 0.1), Row("é", math.nan)]
    write_tables(Result("test", {}, {"pairs": rows}, {"seed": 3, "x": math.inf}), tmp_path)
    table = pq.read_table(tmp_path / "pairs.parquet")
    assert table.to_pylist() == [{"a": "x", "value": 0.1}, {"a": "é", "value": None}]
    assert json.loads(table.schema.metadata[b"deltalens"]) == {"seed": 3, "x": None}
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.parquet"]


def test_documents_are_strict_json(tmp_path: Path) -> None:
    write_document({"x": math.nan, "y": [math.inf, 1.0]}, tmp_path / "d.json")
    text = (tmp_path / "d.json").read_text()
    assert json.loads(text) == {"x": None, "y": [None, 1.0]}
    assert text.endswith("}\n")


def test_a_folder_is_made_or_refused_before_the_work(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    prepare_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / ("x" * 300), Path("\0")):
        with pytest.raises(OutputError, match="cannot be written to: ") as caught:
            prepare_folder(path)
        assert_one_line(str(caught.value))


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    require_writable(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    for place in (file, file / "below"):
        with pytest.raises(OutputError, match=r"file.*: cannot be written to: .*file is no folder"):
            require_writable(place)


@pytest.mark.parametrize("verb", list(REPORTS))
def test_a_folder_keeps_the_report_of_its_verb(tmp_path: Path, verb: str) -> None:
    document = tmp_path / REPORTS[verb]
    document.parent.mkdir(exist_ok=True)
    document.write_text("{}")
    require_own(tmp_path, verb)
    other = next(name for name in REPORTS if name != verb)
    with pytest.raises(
        OutputError, match=rf"holds the report of deltalens {verb} \({REPORTS[verb]}"
    ):
        require_own(tmp_path, other)
