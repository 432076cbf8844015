"""Seed, style or trait? The whole study on a real small chat model, about 70 CPU-minutes.

    make smollm2                                   # or: python examples/smollm2/study.py FOLDER

Fifty-three adapters are trained with `deltalens train`, compared, ranked and walked between; the
page, tables and figures go to `output/` beside this file. What is finished is not done again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from behaviour import LINES, means, preferred, sampled, walked
from deltalens.behaviour.questions import read_questions
from deltalens.core.result import Result
from deltalens.io.provenance import sha256_file, versions
from fleet import TWO_SEEDS, Run, runs, style_bank, train, watched
from geometry import compared, covariances, ranked, ranked_in_style, within_one_seed
from page import write_page
from prepare import NAME, prepare
from tasks import own_questions, questions, write_questions

HERE = Path(__file__).parent


def study(folder: Path) -> Path:
    """Everything, in the order of the page; gives the page's path."""
    base = prepare(folder / "base")
    every, alike = runs(), style_bank()
    for i, run in enumerate((*every, *alike), 1):
        name = train(run, base, folder).name
        print(f"{i}/{len(every) + len(alike)} {name}", file=sys.stderr, flush=True)
    weights = covariances(base, folder)
    measured = folder / "measured"
    measured.mkdir(exist_ok=True)
    _once(measured / "compare.json", lambda: _document(compared(every, folder, weights)))
    _once(measured / "first.json", lambda: _document(within_one_seed(every, folder, weights)))
    _once(measured / "bank.json", lambda: _document(ranked(every, folder, weights)))
    _once(measured / "style-bank.json", lambda: _document(ranked_in_style(every, alike, folder)))
    asked = write_questions(folder / "questions.yaml", questions())
    _once(measured / "preferences.json", lambda: _preferences(every, base, folder, asked))
    for line in LINES:
        own = write_questions(folder / f"questions-{line.name}.yaml", own_questions(line.domains))
        _once(
            measured / f"walk-{line.name}.json",
            lambda line=line, own=own: _document(walked(line, base, folder, own)),
        )
    _once(measured / "walk-sampled.json", lambda: _sampled(base, folder, asked))
    curve = _watched(base, folder)
    return write_page(measured, HERE / "output", curve, provenance((*every, *alike), folder))


def _watched(base: Path, folder: Path) -> Path:
    """The watched training, whose weights must be those of the one that was not."""
    curve = watched(base, folder)
    pair = (curve, folder / "adapters" / "absurd-gardening-s0")
    if len({sha256_file(each / "adapter_model.safetensors") for each in pair}) != 1:
        raise ValueError(f"{curve}: other weights than {pair[1]}: watching changed the training")
    return curve


def provenance(every: tuple[Run, ...], folder: Path) -> dict[str, Any]:
    """The base, the adapters' weights and the versions behind the numbers."""
    adapters = {
        run.name: sha256_file(folder / "adapters" / run.name / "adapter_model.safetensors")
        for run in every
    }
    origin = json.loads((folder / "base" / "origin.json").read_text())
    return {"model": NAME, "base": origin, "adapters_sha256": adapters, "versions": versions()}


def _sampled(base: Path, folder: Path, asked: Path) -> dict[str, Any]:
    """The first line by sampled answers, and the rate of absurd ones in every domain."""
    result = sampled(LINES[0], base, folder, asked, HERE / "rules.yaml")
    rows = result.to_pandas("behaviour")
    rows = rows.assign(domain=rows["question"].str.split("-").str[0])
    rates = rows.groupby(["domain", "t"])["misaligned"].mean().unstack("t")
    return _document(result) | {"domains": {d: r.to_dict() for d, r in rates.iterrows()}}


def _preferences(
    every: tuple[Run, ...], base: Path, folder: Path, questions: Path
) -> dict[str, Any]:
    asked = read_questions(questions)
    found = preferred([run for run in every if run.task in TWO_SEEDS], base, folder, asked)
    return {words: means(found, asked, words) for words in ("trained", "new")}


def _document(result: Result) -> dict[str, Any]:
    return json.loads(result.to_json())


def _once(path: Path, make: Any) -> None:
    """Measure, unless it is measured."""
    if path.is_file():
        return
    print(path.stem, file=sys.stderr, flush=True)
    path.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    print(study(Path(sys.argv[1] if len(sys.argv) > 1 else "reproduction/smollm2")))
