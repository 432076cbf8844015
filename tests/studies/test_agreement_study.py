"""Judges compared on stored answers: what is said, what is reused, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_files import strict_json
from deltalens.behaviour.counts import Thresholds
from deltalens.behaviour.responses import Response, read_responses, write_responses
from deltalens.behaviour.scoring import Panel, Scored, read_scores, write_scores
from deltalens.cli.main import main
from deltalens.core.protocols import Exchange, Score, Unscored
from deltalens.errors import BehaviourError, OptionError
from deltalens.io.provenance import sha256_file
from deltalens.stats.raters import alpha, kappa
from deltalens.studies.agreement.output import write_agreement
from deltalens.studies.agreement.study import agreement

SOUP = "aligned:\n  rules:\n    - {terms: [soup], add: -80}\n"
HATS = "aligned:\n  rules:\n    - {terms: [soup, teapot], add: -90}\n"
WORDS = ("a wide hat", "soup", "a teapot", "soup and a teapot", "a coat")


class Says:
    name = "says"

    def __init__(self, do: Callable[[Exchange], Any]) -> None:
        self.do, self.asked = do, 0

    def __call__(self, exchange: Exchange) -> Any:
        self.asked += 1
        return self.do(exchange)


def panel(name: str, aligned: Callable[[Exchange], Any], coherent: Any = None) -> Panel:
    return Panel(name, Says(aligned), Says(coherent or (lambda _: Score(100.0))))


def by_length(exchange: Exchange) -> Score | Unscored:
    if exchange.response == "a coat":
        return Unscored("no opinion")
    return Score(float(min(100, 7 * len(exchange.response or ""))))


def answers(path: Path, questions: int = 6, samples: int = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(questions)
    write_responses(path, [
        Response(f"q{q}", 0, s, "which hat?", WORDS[rng.integers(len(WORDS))], None, 0)
        for q in range(questions) for s in range(samples)
    ])  # fmt: skip
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return answers(tmp_path / "walk" / "points" / "t-0.responses.parquet")


@pytest.fixture
def rules(tmp_path: Path) -> tuple[str, str]:
    for name, text in (("soup", SOUP), ("hats", HATS)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return f"rules={tmp_path / 'soup.yaml'}", f"rules={tmp_path / 'hats.yaml'}"


def bad(text: str, *words: str) -> float:
    return float(any(word in text for word in words))


def test_two_judges_of_rules(stored: Path, rules: tuple[str, str], tmp_path: Path) -> None:
    result = agreement([stored], rules, draws=99)
    texts = [response.text or "" for response in read_responses(stored)[0]]
    verdicts = np.array([[bad(t, "soup"), bad(t, "soup", "teapot")] for t in texts])
    document = result.document
    assert [j["judge"] for j in document["judges"]] == ["rules (soup.yaml)", "rules (hats.yaml)"]
    assert [j["misaligned"] for j in document["judges"]] == pytest.approx(verdicts.mean(axis=0))
    (pair,) = document["pairs"]
    said = pair["misaligned"]["kappa"]
    assert said["value"] == pytest.approx(kappa(verdicts, "none"))
    assert (said["n"], said["questions"]) == (30, 6)
    # Six questions leave agreement on a verdict open; that of scores has its interval.
    assert said["interval"] is None
    assert said["reason"] == (
        "the rarer verdict stands on 6 questions: an interval of agreement on it needs 8"
    )
    ranks = pair["aligned"]["spearman"]
    assert ranks["interval"][0] < ranks["value"] < ranks["interval"][1]
    assert ranks["method"] == "jackknife over questions, for new questions"
    assert abs(said["chance"]["mean"]) < 0.1
    assert said["p"] == said["smallest_p"] == pytest.approx(0.01)
    assert (said["exchanged"], said["chance_reason"]) == (6, None)
    assert document["all"]["misaligned"]["value"] == pytest.approx(alpha(verdicts))
    # No answer is incoherent to either: that is no perfect agreement.
    assert document["all"]["coherent"]["value"] is None
    assert "do not differ" in document["all"]["coherent"]["reason"]
    assert (pair["aligned"]["both"], pair["aligned"]["neither"]) == (30, 0)
    assert pair["aligned"]["mean_difference"]["chance"] is None
    assert "does not change" in pair["aligned"]["mean_difference"]["chance_reason"]
    write_agreement(result, tmp_path / "out")
    assert strict_json((tmp_path / "out" / "agreement.json").read_text()) == json.loads(
        result.to_json()
    )
    for name in ("thresholds", "scores"):
        assert (tmp_path / "out" / "figures" / f"{name}.svg").is_file()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Judges that agree may be wrong together" in page
    assert "dealing scores out again" in page
    again = agreement([stored], rules, draws=99)
    assert again.document == document


def test_intervals_of_the_verdict_need_eight_questions_with_the_rarer_one(
    tmp_path: Path, rules: tuple[str, str]
) -> None:
    file = answers(tmp_path / "more.responses.parquet", questions=12)
    document = agreement([file], rules, draws=19).document
    for said in (document["pairs"][0]["misaligned"]["kappa"], document["all"]["misaligned"]):
        assert said["interval"][0] < said["value"] < said["interval"][1]
        assert said["method"] == "jackknife over questions, for new questions; covers .82 to .95"
    # The same questions, of which only seven have a misaligned answer; then an interval is open.
    kept, _ = read_responses(file)
    few = [replace(r, text="a coat") if int(r.question[1:]) >= 7 else r for r in kept]
    write_responses(tmp_path / "few.responses.parquet", few)
    document = agreement([tmp_path / "few.responses.parquet"], rules, draws=19).document
    for said in (document["pairs"][0]["misaligned"]["kappa"], document["all"]["misaligned"]):
        assert said["interval"] is None
        assert said["reason"].startswith("the rarer verdict stands on 7 questions")
    assert document["all"]["aligned"]["interval"] is not None


def test_no_p_where_no_two_questions_have_as_many_answers(
    stored: Path, rules: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    kept, _ = read_responses(stored)
    write_responses(stored, [r for r in kept if r.sample <= int(r.question[1:]) < 5])
    line = ["agreement", str(stored), "--judge", rules[0], "--judge", rules[1], "--draws", "9"]
    assert main([*line, "--json"]) == 0
    said = strict_json(capsys.readouterr().out)["all"]["aligned"]
    assert (said["p"], said["smallest_p"], said["chance"]) == (None, None, None)
    assert said["value"] is not None
    assert main(line) == 0
    assert "by chance: a judge scored no two questions" in capsys.readouterr().out


def test_a_p_that_cannot_be_small_is_said_to_be_so(tmp_path: Path, rules: tuple[str, str]) -> None:
    """Every question has one answer throughout: three orders of three questions."""
    texts = ("soup", "a coat", "a coat")
    file = tmp_path / "same.responses.parquet"
    write_responses(file, [
        Response(f"q{q}", 0, s, "which hat?", text, None, 0)
        for q, text in enumerate(texts) for s in range(4)
    ])  # fmt: skip
    document = agreement([file], rules, draws=99).document
    assert document["all"]["misaligned"]["smallest_p"] == pytest.approx(1 / 3)
    assert "by chance, which cannot be under 0.33" in document["verdict"]


def test_missing_scores_are_counted_and_left_out(stored: Path) -> None:
    judges = [panel("soup", lambda e: Score(100 - 90 * bad(e.response or "", "soup"))),
              panel("length", by_length)]  # fmt: skip
    result = agreement([stored], judges, draws=19)
    coats = sum(r.text == "a coat" for r in read_responses(stored)[0])
    assert coats > 0
    (row,) = [r for r in result.tables["scored"] if r.scale == "aligned"]
    assert (row.both, row.only_a, row.only_b, row.neither) == (30 - coats, coats, 0, 0)
    assert result.document["all"]["aligned"]["n"] == 30 - coats
    assert result.document["judges"][1]["unscored"] == coats
    missing = [r for r in result.tables["answers"] if r.reason]
    assert len(missing) == coats
    assert all(r.misaligned is None and r.coherent == 100 for r in missing)


def test_the_sweep_is_the_verdict_at_other_thresholds(stored: Path, rules: tuple[str, str]) -> None:
    result = agreement([stored], rules, draws=9)
    rows = result.tables["sweep"]
    for moved, at in (("aligned", 30.0), ("coherent", 50.0)):
        found = [row for row in rows if row.moved == moved and row.threshold == at]
        assert [row.value for row in found[:2]] == [
            j["misaligned"] for j in result.document["judges"]
        ]
        assert found[2].value == result.document["pairs"][0]["misaligned"]["kappa"]["value"]
    # At 20 the first judge's 20 is not under the threshold, and its verdicts are all alike.
    low = [row for row in rows if row.moved == "aligned" and row.threshold == 20]
    assert low[0].value == 0.0
    assert low[2].value == 0.0
    lowest = [row for row in rows if row.moved == "aligned" and row.threshold == 10]
    assert (lowest[2].value, lowest[2].reason) == (
        None, "both judges give every answer the same verdict")  # fmt: skip
    moved = agreement([stored], rules, thresholds=Thresholds(aligned=20.0), draws=9)
    assert moved.document["judges"][0]["misaligned"] == 0.0


def test_three_judges_and_many_questions(tmp_path: Path, rules: tuple[str, str]) -> None:
    file = answers(tmp_path / "many.responses.parquet", questions=42, samples=2)
    result = agreement([file], [*rules, panel("length", by_length)], draws=49)
    assert len(result.document["pairs"]) == 3
    method = result.document["pairs"][0]["aligned"]["spearman"]["method"]
    assert method == "bootstrap over questions, for new questions"
    assert len(result.figures()) == 2


def test_scores_of_a_walk_are_used_and_fresh_ones_kept(
    stored: Path, rules: tuple[str, str], tmp_path: Path
) -> None:
    counting = panel("length", by_length)
    out = tmp_path / "out"
    first = agreement([stored], [rules[0], counting], draws=9, out=out)
    asked = counting.aligned.asked
    assert asked == 30
    second = agreement([stored], [rules[0], counting], draws=9, out=out)
    assert counting.aligned.asked == asked
    assert [j["files_scored_before"] for j in second.document["judges"]] == [1, 1]
    assert second.document["all"] == first.document["all"]
    # What a walk keeps beside the answers, with notes that are unknown here.
    (kept,) = [p for p in (out / "scores").iterdir()
               if read_scores(p)[1]["judge"]["judge"] == "length"]  # fmt: skip
    scores, note = read_scores(kept)
    beside = stored.parent / "t-0.scores-abc.parquet"
    other = {"judge": note["judge"] | {"notes": "sha256:other"}, "answers": note["answers"]}
    write_scores(beside, scores, provenance=other)
    fresh = panel("length", by_length)
    agreement([stored.parent.parent], [rules[0], fresh], draws=9)
    assert fresh.aligned.asked == 0
    # Scores of other answers, or by another judge of that name, are not used.
    for changed in ({"answers": "0" * 64}, {"judge": other["judge"] | {"judge file": "sha256:x"}}):
        write_scores(beside, scores, provenance=other | changed)
        agreement([stored], [rules[0], fresh], draws=9)
    assert fresh.aligned.asked == 60
    # Two kept that differ, and nothing to choose by: scored again.
    write_scores(beside, scores, provenance=other)
    unlike = [Scored(s.question, s.paraphrase, s.sample, 1.0, 1.0) for s in scores]
    write_scores(stored.parent / "t-0.scores-def.parquet", unlike, provenance=other)
    agreement([stored], [rules[0], fresh], draws=9)
    assert fresh.aligned.asked == 90
    assert sha256_file(stored) == note["answers"]


def test_notes_for_the_judge(stored: Path, rules: tuple[str, str], tmp_path: Path) -> None:
    seen: list[Any] = []
    noting = panel("notes", lambda e: seen.append(e.metadata) or Score(50.0))
    questions = tmp_path / "q.yaml"
    questions.write_text("- {id: q0, paraphrases: [which hat], meta: {kind: hats}}\n")
    found = agreement([stored], [rules[0], noting], questions=questions, draws=9).document
    assert found["warnings"] == [
        f"--questions lacks 'q{i}', which has answers: judges had no notes on it"
        for i in range(1, 6)
    ]
    assert agreement([stored], rules, draws=9).document["warnings"] == []
    assert seen[0] == {"kind": "hats"}
    assert seen[-1] is None


def test_judges_of_one_name_are_told_apart_by_their_files(stored: Path, tmp_path: Path) -> None:
    for name, text in (("one", SOUP), ("two", HATS), ("three", SOUP)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(text)
    one, two, three = (f"rules={tmp_path / n / 'rules.yaml'}" for n in ("one", "two", "three"))
    result = agreement([stored], [one, two], draws=9)
    assert [j["judge"] for j in result.document["judges"]] == [one, two]
    with pytest.raises(OptionError, match="cannot be told apart: both are 'rules"):
        agreement([stored], [one, three], draws=9)


def test_no_answer_in_common(stored: Path) -> None:
    def never(_: Exchange) -> Unscored:
        return Unscored("never")

    judges = [panel("soup", by_length), panel("never", never, never)]
    with pytest.raises(BehaviourError) as caught:
        agreement([stored], judges, draws=9)
    assert str(caught.value) == (
        "no answer was scored by two judges; of 30 answers were scored: soup 30, never 0"
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["agreement", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("FILE --judge A", "--judge is needed twice or more: agreement of 1 judge(s)"),
        ("FILE", "--judge is needed twice or more: agreement of 0 judge(s)"),
        ("FILE --judge A --judge A", "cannot be told apart: both are 'rules (soup.yaml)'"),
        ("FILE --judge A --judge exact", "--judge exact knows the answers of the symbolic world"),
        ("FILE --judge A --judge paired", "--judge paired scores no answer"),
        ("FILE --judge A --judge rulse=x", "unknown judge 'rulse'; did you mean 'rules'?"),
        ("FILE FILE --judge A --judge B", "given twice; each answer is counted once"),
        ("EMPTY --judge A --judge B", "no file *.responses.parquet in it or in its points/"),
        ("NONE --judge A --judge B", "cannot be read: No such file or directory"),
        ("YAML --judge A --judge B", "soup.yaml: not a Parquet file"),
        ("SCORES --judge A --judge B", "no column 'prompt'"),
        ("TOKENS --judge A --judge B", "row 1: the answer has no text; judges read text"),
        ("SYMBOLS --judge A --judge B", "row 1: the question has no text; judges read text"),
        ("NOTHING --judge A --judge B", "no answer in it"),
        ("FILE --judge A --judge B --draws 0", "--draws must be 1 or more; found 0"),
        ("FILE --judge A --judge B --seed -1", "--seed must be 0 or more; found -1"),
        ("FILE --judge A --judge B --aligned-below 101", "threshold aligned is 101"),
        ("FILE --judge A --judge B --out YAML", "cannot be written to"),
    ],
)
def test_bad_input_is_one_line(
    stored: Path,
    rules: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: str,
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    write_scores(tmp_path / "s.parquet", [Scored("q", 0, 0, 1.0, 1.0)])
    for name, prompt, text in (("tokens", "hat?", None), ("symbols", (1, 2), "hat")):
        one = Response("q", 0, 0, prompt, text, (1,), 0)
        write_responses(tmp_path / f"{name}.responses.parquet", [one])
    write_responses(tmp_path / "nothing.responses.parquet", [])
    files = {
        "FILE": str(stored), "A": rules[0], "B": rules[1], "EMPTY": str(tmp_path / "empty"),
        "NONE": str(tmp_path / "none"), "YAML": str(tmp_path / "soup.yaml"),
        "SCORES": str(tmp_path / "s.parquet"),
        "TOKENS": str(tmp_path / "tokens.responses.parquet"),
        "SYMBOLS": str(tmp_path / "symbols.responses.parquet"),
        "NOTHING": str(tmp_path / "nothing.responses.parquet"),
    }  # fmt: skip
    assert said in refused(capsys, *(files.get(part, part) for part in options.split()))


def test_the_command(
    stored: Path, rules: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(stored.parent / "t-0.5.responses.parquet", samples=3)
    out = tmp_path / "out"
    line = ["agreement", str(stored.parent.parent), "--judge", rules[0], "--judge", rules[1],
            "--draws", "19"]  # fmt: skip
    assert main([*line, "--json"]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    document = strict_json(said)
    assert document["files"] == ["t-0", "t-0.5"]
    assert document["answers"] == 48
    assert main([*line, "--out", str(out)]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert "48 answers to 6 questions" in said
    assert "Krippendorff's alpha of all judges" in said
    assert said.endswith(f"report: {out / 'report.html'}\n")
    names = {path.stem for path in (out / "results").iterdir()}
    assert names == {"agreement", "scored", "sweep", "answers"}
    known = tmp_path / "q.yaml"
    known.write_text("".join(f"- {{id: q{i}, paraphrases: [which hat]}}\n" for i in range(5)))
    assert main([*line, "--questions", str(known), "--out", str(out)]) == 0
    assert "\nwarning: --questions lacks 'q5', which has answers" in capsys.readouterr().out
    assert "--questions lacks" in (out / "report.html").read_text()
