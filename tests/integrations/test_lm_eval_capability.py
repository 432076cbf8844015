"""Results of lm-eval against t: paired where they can be, and never compared where they cannot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_files import strict_json
from deltalens.cli.main import main
from deltalens.errors import OptionError
from deltalens.integrations.lm_eval.capability import capability

DATE = "2026-11-26T11-37-32.123456"
POINTS = {"base": 0, "t-0": 0, "t-0.5": 1, "t-1": 3}
N = 40


def scores(wrong: int, n: int = N) -> list[float]:
    """A document more wrong for each; the same documents at every point."""
    rng = np.random.default_rng(4)
    held = (rng.random(n) < 0.6).astype(float)
    held[np.flatnonzero(held)[:wrong]] = 0.0
    return held.tolist()


def write(
    root: Path, label: str, values: Sequence[float], *, samples: bool = True,
    change: Callable[[dict[str, Any]], None] = lambda held: None,
) -> Path:  # fmt: skip
    """What 0.4.13 leaves: OUTPUT/MODEL/results_DATE.json and samples_TASK_DATE.jsonl."""
    folder = root / "lm_eval" / label / f"__somewhere__{label}"
    folder.mkdir(parents=True)
    mean, n = float(np.mean(values)), len(values)
    stderr = float(np.std(values, ddof=1) / math.sqrt(n))
    held: dict[str, Any] = {
        "results": {
            "tiny": {
                "name": "tiny", "alias": "tiny", "sample_len": n,
                "acc,none": mean, "acc_stderr,none": stderr,
                "f1,none": 0.5 + mean / 10, "f1_stderr,none": "N/A",
            }
        },
        "higher_is_better": {"tiny": {"acc": True, "f1": True}},
        "n-samples": {"tiny": {"original": n, "effective": n}},
        "versions": {"tiny": 1.0}, "n-shot": {"tiny": 0},
        "config": {"model": "hf", "limit": None}, "lm_eval_version": "0.4.13",
        "chat_template_sha": None,
    }  # fmt: skip
    change(held)
    (folder / f"results_{DATE}.json").write_text(json.dumps(held))
    if samples:
        lines = [
            {"doc_id": i, "doc_hash": f"h{i}", "filter": "none", "metrics": ["acc"], "acc": v}
            for i, v in enumerate(values)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"samples_tiny_{DATE}.jsonl").write_text(text)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for label, wrong in POINTS.items():
        write(tmp_path, label, scores(wrong))
    return tmp_path


def rows(root: Path, metric: str = "acc") -> Mapping[float | None, Any]:
    found = capability(root).tables["capability"]
    return {row.t: row for row in found if row.metric == metric}


def test_each_point_and_its_paired_difference(root: Path) -> None:
    from scipy.stats import ttest_rel

    found = rows(root)
    assert list(found) == [None, 0.0, 0.5, 1.0]
    start = np.array(scores(0))
    for t, wrong in ((None, 0), (0.5, 1), (1.0, 3)):
        now, row = np.array(scores(wrong)), found[t]
        assert row.value == pytest.approx(now.mean())
        assert row.difference == pytest.approx((now - start).mean(), abs=1e-12)
        assert (row.n, row.method, row.higher_is_better) == (N, "paired over documents", True)
        if wrong:
            test = ttest_rel(now, start)
            interval = test.confidence_interval(0.95)
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
            change = now - start
            assert row.difference_stderr == pytest.approx(change.std(ddof=1) / math.sqrt(N))
        else:
            assert row.reason == f"all {N} documents change by 0: an interval needs some spread"
            assert (row.low, row.high, row.difference_stderr) == (None, None, None)
    assert found[0.0].difference is None
    assert found[0.0].reason == "t = 0 is what others differ from"


def test_pairing_says_more(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "unpaired"
    for label, wrong in POINTS.items():
        write(other, label, scores(wrong), samples=False)
    paired, apart = rows(root)[1.0], rows(other)[1.0]
    assert apart.method == "unpaired"
    assert apart.difference == pytest.approx(paired.difference)
    assert apart.difference_stderr == pytest.approx(
        math.hypot(rows(other)[1.0].stderr, rows(other)[0.0].stderr)
    )
    assert apart.difference_stderr > 1.5 * paired.difference_stderr
    assert "unpaired, hence wider than need be: tiny" in capability(other).document["warnings"][0]


def test_a_metric_that_is_no_mean_is_not_paired(root: Path) -> None:
    row = rows(root, "f1")[1.0]
    assert (row.method, row.low, row.stderr) == ("unpaired", None, None)
    assert row.reason == "lm-eval gives no standard error of this metric"
    assert row.difference is not None


def test_samples_whose_mean_is_another_are_not_used(tmp_path: Path) -> None:
    write(tmp_path, "t-0", scores(0))
    folder = write(tmp_path, "t-1", scores(3))
    file = folder / f"samples_tiny_{DATE}.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n")
    assert rows(tmp_path)[1.0].method == "unpaired"


def test_harm_beside_skill(root: Path, tmp_path: Path) -> None:
    walk = tmp_path / "walk"
    walk.mkdir()
    points = [{"t": t, "misaligned": t / 2, "coherent": None} for t in (0, 0.5, 0.75, 1)]
    (walk / "walk.json").write_text(json.dumps({"points": points}))
    result = capability(root, walk=walk)
    assert [(r.t, r.misaligned, r.coherent) for r in result.tables["harm"]] == [
        (0.0, 0.0, None), (0.5, 0.25, None), (0.75, 0.375, None), (1.0, 0.5, None),
    ]  # fmt: skip
    assert "no capability at t = 0.75, where the walk has rates" in result.document["warnings"]
    (walk / "walk.json").write_text("{}")
    with pytest.raises(OptionError, match="is no document of deltalens walk"):
        capability(root, walk=walk)
    with pytest.raises(OptionError, match="cannot be read"):
        capability(root, walk=tmp_path / "nowhere")


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "walk.json").write_text('{"points": [{"t": 1, "misaligned": 0.25}]}')
    line = ["capability", str(root), "--walk", str(tmp_path), "--out", str(tmp_path / "o")]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "misaligned" in shown
    assert "acc,none" in shown
    assert "paired over documents" in shown
    assert (tmp_path / "o/results/capability.parquet").is_file()
    assert main([*line, "--json"]) == 0
    found: Any = strict_json(capsys.readouterr().out)
    assert {"points", "harm", "warnings"} <= found.keys()
    assert [p["t"] for p in found["points"] if p["metric"] == "acc"] == [None, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("versions", lambda held: held["versions"].update(tiny=2.0)),
        ("n-shot", lambda held: held["n-shot"].update(tiny=5)),
        ("limit", lambda held: held["config"].update(limit=10)),
        ("n-samples", lambda held: held["n-samples"]["tiny"].update(effective=7)),
        ("chat template", lambda held: held.update(chat_template_sha="x")),
        ("version of lm-eval", lambda held: held.update(lm_eval_version="0.4.9")),
    ],
)
def test_runs_that_are_not_alike(tmp_path: Path, name: str, change: Any) -> None:
    write(tmp_path, "t-0", scores(0))
    write(tmp_path, "t-1", scores(3), change=change)
    with pytest.raises(OptionError, match=f"t-0 and t-1 were evaluated differently: {name} is "):
        capability(tmp_path)


def test_other_documents_are_not_paired(tmp_path: Path) -> None:
    write(tmp_path, "t-0", scores(0))
    folder = write(tmp_path, "t-1", scores(3))
    file = folder / f"samples_tiny_{DATE}.jsonl"
    file.write_text(file.read_text().replace('"h3"', '"other"'))
    with pytest.raises(OptionError, match="t-1 and t-0 were asked different documents"):
        capability(tmp_path)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / f"results_{DATE}.json").write_text("[]"), "results_"),
        (lambda f: (f / f"results_{DATE}.json").write_text('{"results": 3}'), "must be an object"),
        (lambda f: (f / f"results_{DATE}.json").write_text('{"results": {}}'), "hold no number"),
        (lambda f: (f / "results_2.json").write_text("{}"), "holds 2 results"),
        (lambda f: (f / f"samples_tiny_{DATE}.jsonl").write_text("no\n"), "line 1 is no JSON"),
    ],
)
def test_broken_files(root: Path, break_it: Callable[[Path], Any], said: str) -> None:
    from deltalens.errors import DeltalensError

    break_it(root / "lm_eval/t-1/__somewhere__t-1")
    with pytest.raises(DeltalensError) as raised:
        capability(root)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(OptionError, match="no results of lm-eval"):
            capability(folder)
    write(tmp_path, "t-1", scores(3))
    with pytest.raises(OptionError, match=r"no results for t = 0, .*; there are t-1"):
        capability(tmp_path)
