"""The judges that are compared, told apart before any of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltalens.behaviour.scoring import Panel
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.studies.walk.judged import open_panel


@dataclass(frozen=True, eq=False)
class Rater:
    """One judge.

    Attributes:
        label: how tables call it, unlike any other's.
        name: how it calls itself.
        identity: what its scores depend on beside its name, or None.
        panel: who scores.
    """

    label: str
    name: str
    identity: str | None
    panel: Panel


def open_raters(judges: Sequence[str | Panel]) -> tuple[Rater, ...]:
    """The judges, each with a label of its own.

    Raises:
        OptionError: if there are fewer than two, or two are the same judge.
        BehaviourError: if a judge's file cannot be used.
    """
    if len(judges) < 2:
        raise OptionError(f"--judge is needed twice or more: agreement of {len(judges)} judge(s)")
    opened = [(_said(judge), *open_panel(judge)) for judge in judges]
    names = [panel.name for _, panel, _ in opened]
    first: dict[tuple[str, str | None], str] = {}
    for said, panel, identity in opened:
        key = panel.name, identity
        if key in first:
            raise OptionError(
                f"--judge {shown(first[key], 80)} and --judge {shown(said, 80)} cannot be told "
                f"apart: both are {shown(panel.name, 80)!r}, and depend on the same file or on none"
            )
        first[key] = said
    return tuple(
        Rater(panel.name if names.count(panel.name) == 1 else said, panel.name, identity, panel)
        for said, panel, identity in opened
    )


def _said(judge: str | Panel) -> str:
    return judge.name if isinstance(judge, Panel) else judge
