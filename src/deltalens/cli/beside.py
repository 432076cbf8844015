"""What covariances and initial factors add to a printed comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deltalens.cli.screen import number, table
from deltalens.core.text import shown

_FEW = 15


def print_beside(document: Mapping[str, Any]) -> None:
    """Activation-weighted cosines and overlaps outside the initial rows, where there are any."""
    pairs: Sequence[Mapping[str, Any]] = document["pairs"]
    weighed = [p for p in pairs if p.get("activation_cosine") is not None]
    if weighed:
        _print_weighed(weighed, document["covariances"])
    left = [p for p in pairs if p.get("residual_overlap") is not None]
    if left:
        _print_residual(left)


def _print_weighed(pairs: Sequence[Mapping[str, Any]], held: Mapping[str, Any]) -> None:
    rows = [
        (_pair(p), number(p["cosine"]), number(p["activation_cosine"]), _ratio(p))
        for p in pairs[:_FEW]
    ]
    heads = ("pair", "cosine", "weighed by inputs", "norm ratio q = 1, 2")
    about = "covariance" if held["centred"] else "raw second moment"
    table(
        heads, rows, title=f"Weighed by inputs: {held['kind']} {about} of {held['n_tokens']} tokens"
    )
    rank, share = held["effective_rank"], held["largest_share"]
    print(
        f"Inputs have {number(rank['smallest'])} to {number(rank['largest'])} directions "
        f"(participation ratio); the largest holds up to {number(share['largest'], 2)} of their\n"
        "energy. Norm ratio: 1 where the activation-matched rotation's assumption holds; far\n"
        "above 1 its p is an upper bound."
    )


def _ratio(p: Mapping[str, Any]) -> str:
    ratio = p["activation_norm_ratio"]
    return f"{number(ratio['q1'], 2)}, {number(ratio['q2'], 2)}"


def _print_residual(pairs: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            _pair(p),
            number(p["residual_overlap"]),
            number(p["residual_overlap_null"]["mean"]),
            number(p["residual_overlap_null"]["sd"], 2),
        )
        for p in pairs[:_FEW]
    ]
    heads = ("pair", "overlap", "chance (Haar)", "sd")
    table(heads, rows, title="Input-side overlap outside the true initial rows")
    print(
        "It does not know the seed, but it describes: unrelated tasks exceed chance too,\n"
        "since their gradients share inputs."
    )


def _pair(p: Mapping[str, Any]) -> str:
    return f"{shown(p['a'], 40)} - {shown(p['b'], 40)}"
