"""How far each PEFT variant is from PEFT's own merge: the table in docs/formats.md.

`python benchmarks/formats.py [--seeds 5]` draws every case of tests/io/peft_cases.py with several
seeds, loads it with PEFT, merges in float64, and writes the largest relative Frobenius error of any
changed parameter between the marks of the page, and beside it, of the cases that are exported, how
far PEFT's merge of the export in float64 is from its merge of the original. The tests hold the same
cases to a bound.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "io")]
PAGE = ROOT / "docs" / "formats.md"
BEGIN, END = "<!-- peft: begin -->", "<!-- peft: end -->"


def rows(seeds: int) -> Iterator[tuple[str, int, bool, float, float | None]]:
    """Case, parameters that PEFT changes, whether the base is needed, largest deviations."""
    from deltalens.io.base import open_base
    from deltalens.io.read import load
    from deltalens.io.write import write_adapter

    cases: Any = import_module("peft_cases")
    bases: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, (name, case) in enumerate(cases.CASES.items()):
            if case.base not in bases:
                model = case.base()
                path = cases.save_base(model, folder / f"base{number}")
                bases[case.base] = model, open_base(path)
            model, base = bases[case.base]
            worst, exported, changed = 0.0, 0.0, 0
            for seed in range(seeds):
                adapter = cases.save_variant(case, model, folder / f"{number}-{seed}", seed)
                true = cases.truth(model, adapter)
                changed = len(true)
                read = load(adapter, base=base)
                worst = max(worst, cases.deviation(true, cases.measured(read)))
                if name in cases.EXPORTED:
                    out = folder / f"{number}-{seed}-out"
                    write_adapter(read, out, dtype="float64")
                    again = cases.truth(model, out)
                    named = {path.removesuffix(".weight"): dW for path, dW in again.items()}
                    exported = max(exported, cases.deviation(true, named))
            yield (
                name,
                changed,
                case.needs_base,
                worst,
                exported if name in cases.EXPORTED else None,
            )


def table(seeds: int) -> str:
    """The table as Markdown."""
    lines = [
        f"PEFT {version('peft')}, transformers {version('transformers')}, {seeds} seeds each.",
        "",
        "| variant | parameters changed | base | read | exported and merged by PEFT |",
        "|---|---:|---|---:|---:|",
    ]
    for name, changed, needs_base, worst, exported in rows(seeds):
        base = "needed" if needs_base else "not needed"
        out = "" if exported is None else f"{exported:.1e}"
        lines.append(f"| {name} | {changed} | {base} | {worst:.1e} | {out} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = table(parser.parse_args().seeds)
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
