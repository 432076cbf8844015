"""An index may not cost more than one file: how many it names, and how much they hold together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from raw_files import assert_one_line, header_of, packed, stored, write

from deltalens.errors import AdapterError
from deltalens.io.limits import Limits
from deltalens.io.read import load

INDEX = "adapter_model.safetensors.index.json"


def indexed(folder: Path, weight_map: Mapping[str, str]) -> Path:
    write(folder)
    (folder / "adapter_model.safetensors").unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


def refused(folder: Path, match: str, limits: Limits) -> None:
    with pytest.raises(AdapterError, match=match) as caught:
        load(folder, limits=limits)
    assert_one_line(str(caught.value), naming=INDEX)


def test_too_many_files_are_refused_before_one_is_opened(tmp_path: Path) -> None:
    count = Limits().shards + 1
    folder = indexed(tmp_path / "a", {f"t{i}": f"s{i}.safetensors" for i in range(count)})
    # None of them is there: a file that is opened would be what the message names.
    refused(folder, rf"names {count} files; at most {count - 1} \(shards\) are allowed", Limits())


def test_a_file_outside_is_refused_before_one_is_opened(tmp_path: Path) -> None:
    folder = indexed(tmp_path / "a", {"t0": "missing.safetensors", "t1": "../x.safetensors"})
    refused(folder, r"shard '../x.safetensors' of t1; only plain file names", Limits())


@pytest.mark.parametrize(("allowed", "count"), [(26, 3), (17, 2)])
def test_links_of_one_file_count_as_many(tmp_path: Path, allowed: int, count: int) -> None:
    folder = indexed(tmp_path / "a", {f"t{i}": f"s{i}.safetensors" for i in range(9)})
    ones = {f"t{i}": stored(np.ones((1, 1), "<f4")) for i in range(9)}
    (folder / "all").write_bytes(packed(*header_of(ones)))
    for i in range(count):  # the file after these is not there, and is not looked for
        (folder / f"s{i}.safetensors").symlink_to("all")
    refused(folder, rf"its files hold more than {allowed} tensors", Limits(tensors=allowed))
