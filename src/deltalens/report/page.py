"""What a report consists of, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Missing:
    """A value that does not exist, and why; shown as "undefined" with the reason below."""

    reason: str


# None, NaN and infinities are shown as undefined too, with the table's own reason.
Cell = str | int | float | Missing | None


def or_missing(value: Cell, reason: str | None) -> Cell:
    """The value, or why there is none."""
    return Missing(reason or "undefined") if value is None else value


@dataclass(frozen=True)
class Claim:
    """One row of the claims table; the fields are those of `summary.json`, and a wording.

    Attributes:
        id: a short name, unique on the page.
        figure: the paper's figure, or ours.
        claimed: the published number; None where the paper is silent.
        obtained: ours; None if undefined, with the reason in `note`.
        interval: of `obtained`; None with the reason in `note`.
        null: what the null gives; None with the reason in `note`.
        verdict: one of the contract's four.
        note: caveats and reasons, shown with the claims in full.
        text: the claim in a few plain words, for the first screen.
        unit: put behind each number, for example `"°"` or `" %"`.
        lead: whether it stands on the first screen; all stand in the table below it.
    """

    id: str
    figure: str
    claimed: float | None
    obtained: float | None
    interval: tuple[float, float] | None
    null: float | None
    verdict: str
    note: str = ""
    text: str = ""
    unit: str = ""
    lead: bool = True


@dataclass(frozen=True)
class FigureBlock:
    """A picture: SVG text, or PNG bytes where there is no SVG.

    Attributes:
        title: a heading, or empty where the figure carries its own.
        caption: under the picture.
        svg: one `<svg>` element, as from `deltalens.figures.to_svg`.
        png: used where `svg` is empty.
        alt: what the picture shows, for those who cannot see it.
    """

    title: str = ""
    caption: str = ""
    svg: str = ""
    png: bytes = b""
    alt: str = ""


@dataclass(frozen=True)
class TableBlock:
    """A table; `reason` explains missing cells that carry no reason of their own."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    reason: str = "no reason recorded"


Block = FigureBlock | TableBlock


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, then figures and tables in order."""

    title: str
    paragraphs: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: of the window and the top line.
        question: what was asked; the headline.
        answer: two sentences with their numbers.
        headline_figure: the figure of the first screen, at most 620 pixels wide.
        claims: the table of the first screen; empty for a report without claims.
        disclaimer: what this is not evidence for; may be empty.
        lead: stands where the claims would, for a report without claims.
        sections: everything else, in order.
        provenance: settings, hashes, seeds, versions; nested mappings and lists; comes last.
    """

    title: str
    question: str
    answer: str
    headline_figure: FigureBlock | None = None
    claims: tuple[Claim, ...] = ()
    disclaimer: str = ""
    lead: tuple[Section, ...] = ()
    sections: tuple[Section, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
