"""What covariances and initial factors add to a comparison: a null, a cosine, an overlap.

Everything here stands beside the survey. Without `covariances` nothing but the headers of initial
factors is looked for, and every field that stays empty says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.geometry.survey import Survey
from deltalens.io.initial import InitialFactors, open_initial
from deltalens.studies.compare.rows import Moments

Ends = tuple[int, int]
Start = InitialFactors | str
"""The initial factors of an adapter, or why they are not known."""

NO_START = "the training folder's initial_lora_A.safetensors is not beside the adapter"
_NOT_GIVEN: Mapping[str, Any] = {
    "activation_cosine": None,
    "activation_layer_cosine": None,
    "activation_norm_ratio": None,
    "activation_start": None,
    "activation_reason": "needs --covariances FILE, from deltalens covariances",
}
NO_RESIDUAL: Mapping[str, Any] = {
    "residual_overlap": None,
    "residual_overlap_null": None,
    "residual_overlap_modules": 0,
}


@dataclass(frozen=True)
class Beside:
    """What is added to the pairs of a survey.

    Attributes:
        nulls: per pair the activation-matched rotation's moments, or why there are none.
        fields: per pair what its document gains.
        document: what the whole document gains.
        warnings: lines for the document's warnings.
    """

    nulls: Mapping[Ends, Mapping[str, Moments] | str]
    fields: Mapping[Ends, Mapping[str, Any]]
    document: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def extend(self, pairs: Sequence[dict[str, Any]], ends: Sequence[Ends]) -> list[dict[str, Any]]:
        """The pairs' documents with their fields, in the order of `ends`."""
        return [{**p, **self.fields.get(e, {})} for p, e in zip(pairs, ends, strict=True)]


def beside(
    adapters: Sequence[Adapter],
    s: Survey,
    ends: Sequence[Ends],
    *,
    covariances: str | Path | None,
    base: Path | None,
    say: Callable[[str], None],
) -> Beside:
    """Measure what the given files allow.

    Args:
        adapters: the adapters of the survey, in its order.
        s: the survey.
        ends: the pairs.
        covariances: a covariance file, or None.
        base: folder of the base model, where it is given: it must be the covariances' own.
        say: called with a line about what is being done.

    Raises:
        BaseModelError: if the covariances cannot be read, or are of another base.
    """
    starts = [_start(adapter) for adapter in adapters]
    known = [not isinstance(start, str) for start in starts]
    usable = [(i, j) for i, j in ends if known[i] and known[j]]
    fields = {pair: _lacking(adapters, starts, pair) for pair in ends}
    if usable:
        from deltalens.studies.compare.residual import residual_fields

        say("input overlap without the initial rows")
        fields |= residual_fields(adapters, starts, s, usable)
    if covariances is None:
        return Beside({}, {pair: {**fields[pair], **_NOT_GIVEN} for pair in ends}, {})
    from deltalens.studies.compare.weighted import weigh

    found = weigh(adapters, starts, s, ends, Path(covariances), base, say)
    both = {pair: {**fields[pair], **found.fields[pair]} for pair in ends}
    return Beside(found.nulls, both, found.document, found.warnings)


def _start(adapter: Adapter) -> Start:
    """A broken file beside a sound adapter is a reason, no failure of the comparison."""
    try:
        found = open_initial(adapter)
    except AdapterError as problem:
        return str(problem)
    return found or NO_START


def _lacking(adapters: Sequence[Adapter], starts: Sequence[Start], pair: Ends) -> dict[str, Any]:
    """The fields of a pair of which not both starts are known."""
    reasons = [(adapters[i].name, starts[i]) for i in pair if isinstance(starts[i], str)]
    why = f"{shown(reasons[0][0])}: {reasons[0][1]}" if reasons else None
    return {**NO_RESIDUAL, "residual_overlap_reason": why}
