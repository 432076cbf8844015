"""The table of judges: a name, and where the function is that makes its panel.

A panel is made by a function of keyword options, imported when it is asked for:
`rules_panel(file, seconds=2.0) -> Panel`. A new one is one line here, or `register` from outside,
or `module:function` in place of a name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from deltalens.behaviour.fields import nearest
from deltalens.behaviour.scoring import Panel
from deltalens.core.text import shown
from deltalens.errors import OptionError

# Name -> where it lives.
_JUDGES = {
    "openai": "deltalens.behaviour.endpoint.panel:openai_panel",
    "rules": "deltalens.behaviour.rules:rules_panel",
    "local": "deltalens.studies.local_judge:local_panel",
}

JUDGES: Mapping[str, str] = MappingProxyType(_JUDGES)
"""Every judge that can be asked for by name, and where it lives."""


def register(name: str, place: str) -> None:
    """Add a judge to the table; nothing is imported.

    Args:
        name: how it is asked for.
        place: `module:function`, where the function makes a `Panel` from keyword options.

    Raises:
        OptionError: if the name stands for another place already, or the place is not of that form.
    """
    module, colon, function = place.partition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    if not (colon and dotted and function.isidentifier()):
        raise OptionError(
            f"judge {name!r}: the place is {place!r}, where 'module:function' is needed"
        )
    if ":" in name or not name:
        raise OptionError(f"judge {name!r}: a name is not empty and has no colon")
    if _JUDGES.setdefault(name, place) != place:
        raise OptionError(f"judge {name!r}: the name is taken by {_JUDGES[name]!r}, not {place!r}")


def judge_by_name(name: str, **options: Any) -> Panel:
    """The panel of a name in the table, or of `module:function`.

    Args:
        name: a name in `JUDGES`, or a place of the same form as there.
        **options: what the function that makes it takes.

    Raises:
        OptionError: if the name is unknown (the message lists those that are known), its function
            cannot be imported, or an option is missing or unknown.
        BehaviourError: what the judge says of its own files.
    """
    require_known(name)
    place = name if ":" in name else _JUDGES[name]
    make = _function(name, place)
    known = inspect.signature(make)
    try:
        known.bind(**options)
    except TypeError as problem:
        raise OptionError(f"judge {name!r}: {problem}; it takes {known}") from None
    panel = make(**options)
    if not isinstance(panel, Panel):
        raise OptionError(f"judge {name!r}: {place} gave {type(panel).__name__}, not a Panel")
    return panel


def require_known(name: str, also: Sequence[str] = ()) -> None:
    """Refuse a name that is neither in the table, nor `module:function`, nor among `also`.

    Raises:
        OptionError: with the names that are known.
    """
    known = sorted({*_JUDGES, *also})
    if ":" not in name and name not in known:
        raise OptionError(
            f"unknown judge {shown(name, 80)!r}; {nearest(name, known)}, or module:function"
        )


def _function(name: str, place: str) -> Any:
    module, _, function = place.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, ValueError, AttributeError) as problem:
        raise OptionError(
            f"judge {shown(name, 80)!r}: {shown(place, 120)} cannot be imported: {shown(problem)}"
        ) from None
    if not callable(found):
        raise OptionError(f"judge {name!r}: {place} is no function")
    return found
