"""What is said of a covariance file: a row an input, and the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deltalens.geometry.weighted import spectrum
from deltalens.io.covariance_info import CovarianceInfo
from deltalens.models.moments import Input
from deltalens.models.sums import Found


@dataclass(frozen=True)
class InputRow:
    """One row a distinct input: how many directions it has, and who reads it."""

    input: str
    modules: str
    n_modules: int
    d_in: int
    mean_square: float
    effective_rank: float | None
    largest_share: float | None
    captured: float


def input_row(given: Input, found: Found) -> InputRow:
    """The row of one input; an input that was always 0 has no directions."""
    trace = found.moment.trace()
    held = spectrum(found.moment) if trace > 0 else None
    return InputRow(
        input=given.name,
        modules=" ".join(given.modules),
        n_modules=len(given.modules),
        d_in=given.d_in,
        mean_square=trace / given.d_in,
        effective_rank=held and held.effective_rank,
        largest_share=held and held.largest_share,
        captured=found.captured,
    )


def document(info: CovarianceInfo, rows: Sequence[InputRow]) -> dict[str, Any]:
    """The JSON document of `deltalens covariances`."""
    return {
        "model": info.model,
        "model_digest": info.model_digest,
        "texts": info.texts,
        "texts_digest": info.texts_digest,
        "kind": info.kind,
        "centred": info.centred,
        "rank": info.rank,
        "n_documents": info.n_documents,
        "n_tokens": info.n_tokens,
        "n_dropped": info.n_dropped,
        "drop_first": info.drop_first,
        "n_cut": info.n_cut,
        "effective_rank_is": "participation ratio (tr C)^2 / |C|_F^2",
        "inputs": [vars(row) for row in rows],
    }
