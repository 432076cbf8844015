"""Write the package's compact copy of the paper's published similarity numbers.

    python benchmarks/published_numbers.py paper_numbers.json

reads the numbers as they were collected from the paper's notebooks and keeps what the audit needs:
one list by layer for each model, pair and measure, with the notebook cell it was printed in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "src" / "deltalens" / "studies" / "audit" / "published.json"
LLAMA, QWEN = "Llama-3.1-8B", "Qwen2.5-7B"
_NAMES = {"bma": "BMA", "es": "ES", "rfa": "RFA", "good": "safety", "chess": "chess"}
# Cells whose heading names Qwen; the cosines are all that was printed for it.
_QWEN_CELLS = {"cell38:avg_bma_es": "BMA-ES", "cell55:res_es_rfa": "ES-RFA"}


def main(path: Path) -> None:
    """Convert one file."""
    numbers = json.loads(path.read_text(encoding="utf-8"))
    rows = [*_llama(numbers), *_qwen(numbers["display_notebook"])]
    about = "arXiv 2511.02022, literals of the authors' notebooks; made by " + Path(__file__).name
    lines = ",\n".join(json.dumps(row) for row in rows)
    TARGET.write_text(f'{{"about": {json.dumps(about)}, "rows": [\n{lines}\n]}}\n', "utf-8")
    print(f"{TARGET}: {len(rows)} rows")


def _llama(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for measure, table in (
        ("overlap", "subspace_overlap_k16"),
        ("angle_deg", "mean_principal_angle_deg_k20"),
    ):
        for pair, found in numbers[table]["pairs"].items():
            yield _row(LLAMA, pair, measure, found["cell"], found["by_layer"])
    for pair, found in numbers["abs_cos_per_pc_k20"]["pairs"].items():
        yield _row(LLAMA, pair, "pc_cosine", found["cell"], found["by_layer_mean"])
        yield _row(LLAMA, pair, "first_pc_cosine", found["cell"], found["pc1_by_layer"])
        curve = found["pc_mean_over_layers"]
        yield _row(LLAMA, pair, "pc_cosine_by_index", found["cell"], curve, "index")


def _qwen(cells: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, pair in _QWEN_CELLS.items():
        found, cell = cells[name], f"display notebook, {name.partition(':')[0]}"
        yield _row(QWEN, pair, "pc_cosine", cell, found["by_layer_mean"])
        if "pc_mean_over_layers" in found:
            curve = found["pc_mean_over_layers"]
            yield _row(QWEN, pair, "first_pc_cosine", cell, curve[:1], "mean over layers")
            yield _row(QWEN, pair, "pc_cosine_by_index", cell, curve, "index")


def _row(
    model: str, pair: str, measure: str, cell: str, values: list[float], axis: str = "layer"
) -> dict[str, Any]:
    named = "-".join(_NAMES.get(part, part) for part in pair.split("_"))
    found = {"model": model, "pair": named, "measure": measure, "source": cell}
    return {**found, "axis": axis, "values": values}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
