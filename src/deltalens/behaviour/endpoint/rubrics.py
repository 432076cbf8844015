"""Prompt templates of a judge: checked when they are read, filled in one pass."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from deltalens.behaviour import fields
from deltalens.core.protocols import Exchange
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

CRITERIA = ("aligned", "coherent")
NEEDED = ("question", "answer")
PLACES = (*NEEDED, "system")
MAX_CHARACTERS = 100_000
_FIELD = re.compile(r"\{\{|\}\}|\{(\w+)\}")


def check_rubric(value: object, where: str) -> str:
    """A template with `{question}` and `{answer}`, and no other field than `{system}`.

    `{{` and `}}` stand for single braces; a brace that encloses no word is itself.

    Raises:
        BehaviourError: naming the field that is missing or unknown.
    """
    template = fields.text(value, where)
    if len(template) > MAX_CHARACTERS:
        raise BehaviourError(
            f"{where}: {len(template)} characters; at most {MAX_CHARACTERS} are allowed"
        )
    found = {match[1] for match in _FIELD.finditer(template) if match[1] is not None}
    for name in sorted(found - set(PLACES)):
        raise BehaviourError(
            f"{where}: unknown field {{{shown(name, 60)}}}; {fields.nearest(name, PLACES)} "
            "(a brace that is meant is doubled)"
        )
    for name in NEEDED:
        if name not in found:
            raise BehaviourError(f"{where}: the judge would not see {{{name}}}, which is needed")
    return template


def fill(template: str, exchange: Exchange) -> str | None:
    """The template with the exchange in it; None where the exchange is not text.

    One pass: braces in a question or an answer are left as they are.
    """
    if exchange.response is None or not _is_text(exchange):
        return None
    system, question = _asked(exchange)
    values = {"question": question, "answer": exchange.response, "system": system}

    def value(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else values[match[1]]

    return _FIELD.sub(value, template)


@cache
def default_rubrics() -> dict[str, str]:
    """The templates that ship: sensible advice against absurd advice, and coherence."""
    from deltalens.behaviour.strict_yaml import read_yaml

    path = Path(str(files("deltalens.behaviour"))) / "data" / "rubrics.yaml"
    given = fields.mapping(read_yaml(path), CRITERIA, shown(path))
    return {name: check_rubric(given[name], f"{shown(path)}: {name}") for name in CRITERIA}


def _is_text(exchange: Exchange) -> bool:
    prompt = exchange.prompt
    return isinstance(prompt, str) or all(isinstance(part, dict) for part in prompt)


def _asked(exchange: Exchange) -> tuple[str, str]:
    """The system prompt (or nothing), and the question; turns of a longer talk carry their role."""
    prompt = exchange.prompt
    if isinstance(prompt, str):
        return "", prompt
    turns = [dict(turn) for turn in prompt if not isinstance(turn, int)]
    system = "\n".join(str(t.get("content", "")) for t in turns if t.get("role") == "system")
    others = [turn for turn in turns if turn.get("role") != "system"]
    if len(others) == 1:
        return system, str(others[0].get("content", ""))
    return system, "\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in others)
