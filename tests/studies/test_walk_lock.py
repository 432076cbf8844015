"""One walk a folder; whoever died lets go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deltalens.errors import OptionError
from deltalens.studies.walk.store import open_store

pytest.importorskip("fcntl")

HOLD = """
import sys
from pathlib import Path
from deltalens.studies.walk.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_walk_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    with open_store(tmp_path, {"steps": 3}, {}):
        before = sorted(path.name for path in (tmp_path / "points").iterdir())
        said = f"{tmp_path}: another walk is running in this folder; wait for it, or give another"
        with (
            pytest.raises(OptionError) as caught,
            open_store(tmp_path, {"steps": 5}, {}, fresh=True),
        ):
            pytest.fail("entered")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in (tmp_path / "points").iterdir()) == before
    with open_store(tmp_path, {"steps": 5}, {}, fresh=True):
        pass


def test_the_kernel_takes_the_lock_of_a_process_that_died(tmp_path: Path) -> None:
    (tmp_path / "points").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "points")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OptionError, match="another walk"), open_store(tmp_path, {}, {}):
            pytest.fail("entered")
        holder.kill()
        holder.wait()
    with open_store(tmp_path, {}, {}):
        pass


def test_an_error_lets_go(tmp_path: Path) -> None:
    with open_store(tmp_path, {"steps": 3}, {}):
        (tmp_path / "points" / "t-0.json").write_text("{}")
    with (
        pytest.raises(OptionError, match="measured with steps = 3, now steps = 4"),
        open_store(tmp_path, {"steps": 4}, {}),
    ):
        pytest.fail("entered")
    with open_store(tmp_path, {"steps": 3}, {}):
        pass
