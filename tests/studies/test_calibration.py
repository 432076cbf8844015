"""A small calibration: the same labels, from seconds of simulation, and the parts it is made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapter_files import ONE, initial, trained, write_adapter
from deltalens.errors import AdapterError, OptionError, OutputError
from deltalens.geometry.cosine import inner_products
from deltalens.studies.audit.hypotheses import Inputs
from deltalens.studies.calibration.__main__ import main
from deltalens.studies.calibration.coverage import coverage_rows
from deltalens.studies.calibration.drawings import levels_figure
from deltalens.studies.calibration.labels import holds_level, label_rows
from deltalens.studies.calibration.markdown import END, START, write_tables_into
from deltalens.studies.calibration.rows import CoverageRow, LevelRow
from deltalens.studies.calibration.rungs import COMBINATIONS, p_values
from deltalens.studies.calibration.simulated import binomial_error, simulated_rows
from deltalens.studies.calibration.study import Calibration, calibrate
from deltalens.studies.calibration.trained import SAME, Trained, trained_rows
from deltalens.studies.calibration.truths import TRUTHS, Sizes, Truth, draw

SMALL = Sizes(d_in=48, d_out=40, rank=6, k=3, modules=2)
STRONG = Inputs("power law", 1.5)
FEW = (
    Truth("a", "unrelated", inputs=None),
    Truth("b", "gradient", inputs=STRONG, q=1),
    Truth("d", "30 % shared", inputs=STRONG, q=1, shared=0.3),
)
N = 100


@pytest.fixture(scope="module")
def levels() -> dict[tuple[str, str, str], LevelRow]:
    rows = simulated_rows(N, seed=1, sizes=SMALL, truths=FEW)
    return {(row.world, row.rung, row.statistic): row for row in rows}


def near_level(row: LevelRow) -> bool:
    """Not above .05 by more than three binomial errors."""
    assert row.rejected is not None
    return row.rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / row.n)


@pytest.mark.parametrize("statistic", ["cosine", "overlap", "output_overlap", "pc_cosine"])
@pytest.mark.parametrize("world", ["unrelated", "gradient"])
def test_the_bank_holds_its_level(levels: dict, world: str, statistic: str) -> None:
    assert near_level(levels[world, "bank", statistic])


def test_rotations_hold_where_their_hypothesis_does(levels: dict) -> None:
    assert near_level(levels["unrelated", "rotation", "overlap"])
    assert near_level(levels["unrelated", "rotation", "cosine"])


def test_rotation_of_overlap_rejects_unrelated_gradients(levels: dict) -> None:
    assert levels["gradient", "rotation", "overlap"].rejected > 0.5
    assert levels["gradient", "rotation", "pc_cosine"].rejected > 0.3


def test_the_matched_rotation_holds_for_the_signed_cosine(levels: dict) -> None:
    assert near_level(levels["gradient", "activation", "cosine"])


def test_haar_rejects_whatever_shares_a_seed(levels: dict) -> None:
    assert levels["unrelated", "haar", "overlap"].rejected == 1.0


def test_the_signed_cosine_has_the_power(levels: dict) -> None:
    cosine, overlap = (levels["30 % shared", "bank", s].rejected for s in ("cosine", "overlap"))
    assert cosine > 0.6
    assert overlap < cosine - 0.3


def test_labels_of_the_simulation_alone(levels: dict) -> None:
    label = {(row.rung, row.statistic): row.label for row in label_rows(list(levels.values()))}
    assert label["rotation", "overlap"] == "description"
    assert label["haar", "overlap"] == "description"
    # Without trained organisms nothing earns a verdict.
    assert "verdict" not in label.values()
    assert label["bank", "cosine"] == "undecided"


def row(group: str, rejected: float | None, error: float | None = 0.01) -> LevelRow:
    return LevelRow(group, group, "bank", "cosine", 100, rejected, error)


def test_the_rule() -> None:
    def label(*rows: LevelRow) -> str:
        return next(
            x for x in label_rows(rows) if (x.rung, x.statistic) == ("bank", "cosine")
        ).label

    assert label(row("b", 0.05), row("c", 0.06)) == "verdict"
    assert label(row("b", 0.09), row("c", 0.05)) == "description"  # four errors above
    assert label(row("b", 0.05), row("c", 0.12, 0.1)) == "description"  # noisy, but above .10
    assert label(row("b", 0.05)) == "undecided"
    assert label(row("b", 0.5)) == "description"
    assert label(row("b", 0.05), row("c", None, None)) == "undecided"
    assert label(row("a", 0.5), row("b", 0.05), row("c", 0.05)) == "verdict"  # (a) decides nothing
    assert holds_level(row("c", None, None))


def test_the_label_reports_where_it_broke_and_its_power() -> None:
    rows = [row("b", 0.3), row("c", 0.05), replace(row("d", 0.9), world="30 % shared")]
    found = next(x for x in label_rows(rows) if (x.rung, x.statistic) == ("bank", "cosine"))
    assert (found.worst, found.worst_world, found.power_at_30) == (0.3, "b", 0.9)
    untried = next(x for x in label_rows(rows) if x.rung == "haar")
    assert (untried.worst, untried.worst_world) == (None, "not tried")


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda t: t.name)
def test_drawn_blocks_are_gram_matrices_of_one_seed(truth: Truth, rng: np.random.Generator) -> None:
    sample = draw(truth, SMALL, 2, rng=rng)
    batch, n = sample.batch, 2 + SMALL.bank
    assert batch.B.shape == (4, n, 6, n, 6)
    for rows in (batch.A, batch.B):
        flat = rows.reshape(4, n * 6, n * 6)
        np.testing.assert_allclose(flat, flat.swapaxes(1, 2))
        assert np.linalg.eigvalsh(flat).min() > -1e-9 * np.abs(flat).max()
    np.testing.assert_allclose(batch.A[:, 0, :, 5], sample.A0 @ sample.A0.swapaxes(1, 2))


def test_what_is_shared_is_the_correlation(rng: np.random.Generator) -> None:
    # B unrelated to A: the cosine of whole updates is the correlation of G, up to noise.
    truth = Truth("d", "shared", shared=0.5)
    inner = inner_products(draw(truth, SMALL, 60, rng=rng).batch)
    pair = inner[:, 0, 1] / np.sqrt(inner[:, 0, 0] * inner[:, 1, 1])
    stranger = inner[:, 0, 2] / np.sqrt(inner[:, 0, 0] * inner[:, 2, 2])
    assert abs(pair.mean() - 0.5) < 0.03
    assert abs(stranger.mean()) < 0.03


def test_every_p_is_a_p(rng: np.random.Generator) -> None:
    found = p_values(draw(FEW[1], SMALL, 3, rng=rng), SMALL, rng=rng)
    assert set(found) == set(COMBINATIONS)
    assert all(v.shape == (3,) and np.all((v >= 0) & (v <= 1)) for v in found.values())


def test_the_seed_settles_the_study() -> None:
    one, two, other = (simulated_rows(20, seed=s, sizes=SMALL, truths=FEW[1:2]) for s in (0, 0, 1))
    assert one == two
    assert one != other


def test_an_error_is_never_zero() -> None:
    assert binomial_error(0.0, 100) > 0
    assert binomial_error(0.5, 100) == pytest.approx(0.05)


def test_intervals_cover_and_independent_pairs_do_not() -> None:
    rows = coverage_rows(120, seed=0)
    by = {(r.interval, r.world): r for r in rows}
    for size in (3, 4, 6, 10):
        assert by["jackknife over adapters", f"additive, {size} adapters"].covered > 0.89
        naive = by["t over pairs, taken as independent", f"additive, {size} adapters"]
        assert naive.covered < (0.94 if size == 3 else 0.85)
    assert all(abs(r.covered - 0.95) < 0.05 for r in rows if r.world.startswith("Gaussian"))


@pytest.fixture(scope="module")
def organisms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unrelated updates of one seed, named as organisms; facts and style have 19 others."""
    root = tmp_path_factory.mktemp("organisms")
    A = initial(1, 4, ONE)
    kinds = [("facts", 5), ("style", 5), ("game", 15)]
    for kind, count in kinds:
        for i in range(count):
            folder = write_adapter(root / f"{kind}-{i}", trained(A, hash_of(kind) + i, out=ONE))
            spec = {"spec": {"kind": kind, "init_seed": 0}}
            (folder / "provenance.json").write_text(json.dumps(spec))
    return root


def hash_of(kind: str) -> int:
    return sum(kind.encode()) * 1000


def test_trained_organisms(organisms: Path) -> None:
    rows = {
        (r.world, r.rung, r.statistic): r for r in trained_rows(organisms, None, seed=0, draws=2)
    }
    bank = rows[SAME, "bank", "cosine"]
    assert bank.n == 5 * 5  # game has ten others
    # Exchangeable by construction; the error knows that the pairs share organisms.
    assert bank.rejected <= 0.05 + 3 * bank.error
    assert rows[SAME, "haar", "overlap"].rejected == 1.0
    assert rows[SAME, "activation", "overlap"].rejected is None
    assert "none of 175 pairs" in rows[SAME, "activation", "overlap"].reason
    assert rows["trained, unrelated tasks, two seeds", "haar", "cosine"].n == 0


def test_who_is_unrelated_to_whom() -> None:
    facts, good, bad = (Trained(k, k, 0) for k in ("facts", "good", "bad"))
    assert facts.is_unrelated(good)
    assert not good.is_unrelated(bad)
    assert not facts.is_unrelated(Trained("other", "facts", 1))


def test_organisms_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="found 0 adapters; at least 2 are needed"):
        trained_rows(tmp_path, None, seed=0)
    for name in ("a", "b"):
        write_adapter(tmp_path / name, trained(initial(1), 1))
    with pytest.raises(AdapterError, match=r"a: provenance\.json does not say what was trained"):
        trained_rows(tmp_path, None, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"pairs": 19}, "--pairs must be 20 or more; found 19"), ({"seed": -1}, "--seed must be 0")],
)
def test_impossible_options(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        calibrate(**options)


def study(levels: dict) -> Calibration:
    rows = tuple(levels.values())
    coverage = (CoverageRow("t over runs", "Gaussian", 100, 3, 0.951, 0.004),)
    return Calibration(rows, tuple(label_rows(rows)), coverage, {"pairs": N, "seed": 1})


def test_the_tables_replace_only_themselves(levels: dict, tmp_path: Path) -> None:
    page = tmp_path / "calibration.md"
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_tables_into(page, study(levels))
    text = page.read_text()
    assert text.startswith(f"before\n{START}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| rotation | input overlap | description |" in text
    assert "| t over runs | Gaussian | 0.951 ± 0.004 |" in text
    once = text
    write_tables_into(page, study(levels))
    assert page.read_text() == once


def test_a_page_without_marks_is_refused(levels: dict, tmp_path: Path) -> None:
    (tmp_path / "c.md").write_text("prose\n")
    with pytest.raises(OutputError, match="lacks the line"):
        write_tables_into(tmp_path / "c.md", study(levels))


def test_the_figure_marks_what_may_speak(levels: dict) -> None:
    figure = levels_figure(study(levels))
    assert len(figure.axes[0].get_yticklabels()) == len(FEW)
    assert len(figure.axes[0].get_xticklabels()) == len(COMBINATIONS)


def test_the_command_refuses_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--pairs", "3", "--docs", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: --pairs must be 20 or more; found 3\n"


def test_documented_labels_are_those_of_the_stored_results() -> None:
    stored = json.loads((Path(__file__).parents[2] / "docs" / "calibration.json").read_text())
    rows = [LevelRow(**r) for r in stored["levels"]]
    again = {(r.rung, r.statistic): r.label for r in label_rows(rows)}
    assert again == {(r["rung"], r["statistic"]): r["label"] for r in stored["labels"]}
