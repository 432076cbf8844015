"""`--fail-if 'output_overlap>0.2'`: conditions under which a comparison exits with 1."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.studies.compare.rows import MEASURES

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([^<>=\s]+)\s*(>=|<=|>|<)\s*([^<>=\s]+)\s*")
_OF_PAIRS = ("init_similarity", "row_space_overlap", "n_shared_init", "n_modules", "n_missing",
             "n_refused", "n_near_tie", "residual_overlap", "activation_cosine",
             "activation_layer_cosine")  # fmt: skip
# Where a field has a reason of its own.
_REASONS = {
    "residual_overlap": "residual_overlap_reason",
    "activation_cosine": "activation_reason",
    "activation_layer_cosine": "activation_reason",
}
_SCORES, _BASE = ("p", "z", "p_holm"), "base"


@dataclass(frozen=True)
class Condition:
    """A bound that no pair may break.

    Attributes:
        text: as it was given.
        scope: `""` for a field of the pair, `p`, `z` or `p_holm` for one of those, `base` for the
            rows against the base, or a comparison of groups, `em-benign`.
        measure: the field.
        sign: `>`, `>=`, `<` or `<=`.
        bound: the number behind it.
    """

    text: str
    scope: str
    measure: str
    sign: str
    bound: float

    def meets(self, value: float) -> bool:
        """Whether a value is what the user asked to fail on."""
        return _OPERATORS[self.sign](value, self.bound)


def parse(expressions: Sequence[str], labels: Sequence[str] = ()) -> tuple[Condition, ...]:
    """Read `--fail-if` expressions before any work is done.

    Args:
        expressions: `MEASURE OP NUMBER`, the measure alone, as `p.MEASURE`, `z.MEASURE`, `p_holm`,
            `base.MEASURE`, or as `LABEL-LABEL.MEASURE` for the means of groups.
        labels: of the groups that are there.

    Raises:
        OptionError: for another form, an unknown name, or a bound that is no number.
    """
    return tuple(_parse(text, labels) for text in expressions)


def _parse(text: str, labels: Sequence[str]) -> Condition:
    form = _FORM.fullmatch(text)
    if form is None:
        raise OptionError(
            f"--fail-if {shown(text)!r}: MEASURE OP NUMBER is needed, such as "
            "'output_overlap>0.2'; operators are > >= < <="
        )
    name, sign, number = form.groups()
    scope, _, measure = name.rpartition(".")
    if name == "p_holm":
        scope, measure = "p_holm", "cosine"
    _require_known(text, scope, measure, labels)
    return Condition(text.strip(), scope, measure, sign, _number(text, number))


def _number(text: str, number: str) -> float:
    try:
        bound = float(number)
    except ValueError:
        raise OptionError(f"--fail-if {shown(text)!r}: {shown(number)!r} is no number") from None
    if bound != bound:
        raise OptionError(f"--fail-if {shown(text)!r}: nan bounds nothing; give a number")
    return bound


def _require_known(text: str, scope: str, measure: str, labels: Sequence[str]) -> None:
    scopes = [f"{a}-{b}" for a in labels for b in labels]
    if scope and scope not in (*_SCORES, _BASE, *scopes):
        more = scopes[:20] if labels else ["and, with --group, A-B"]
        allowed = [*_SCORES, _BASE, *more]
        raise OptionError(
            f"--fail-if {shown(text)!r}: unknown {shown(scope, 60)!r} before the point; known are "
            f"{', '.join(allowed)}"
        )
    known = (*MEASURES, *_OF_PAIRS) if not scope else MEASURES
    if measure not in known:
        raise OptionError(
            f"--fail-if {shown(text)!r}: unknown measure {shown(measure, 60)!r}; known are "
            f"{', '.join(known)}"
            + ("" if scope else ", p.MEASURE, z.MEASURE, p_holm, base.MEASURE")
        )


def findings(
    conditions: Sequence[Condition], document: Mapping[str, Any], *, allow_undefined: bool
) -> list[dict[str, Any]]:
    """What breaks the conditions: one object a pair (or group comparison) and condition.

    An undefined value is a finding, too, unless that is allowed: a bound that could not be checked
    was not held.
    """
    found: list[dict[str, Any]] = []
    for condition in conditions:
        checked = list(_values(condition, document))
        if not checked:
            raise OptionError(f"--fail-if {shown(condition.text)!r}: there is nothing to check")
        found += [
            {
                **where,
                "condition": condition.text,
                "measure": ".".join(filter(None, (condition.scope, condition.measure))),
                "value": value,
                "bound": condition.bound,
                "reason": reason if value is None else None,
            }
            for where, value, reason in checked
            if (not allow_undefined if value is None else condition.meets(value))
        ]
    return found


def sentence(finding: Mapping[str, Any]) -> str:
    """One line for stderr."""
    pair = f"{shown(finding['a'], 60)} - {shown(finding['b'], 60)}{_cell(finding)}"
    if finding["value"] is None:
        found = f"is undefined ({shown(finding['reason'])}; --allow-undefined lets it pass)"
    else:
        found = f"is {finding['value']:.6g}"
    return f"failed: {pair}: {finding['measure']} {found}, asked to fail if {finding['condition']}"


def _cell(finding: Mapping[str, Any]) -> str:
    if not finding.get("seeds"):
        return ""
    return f" ({finding['seeds']} seed{', same task' if finding['tasks'] == 'same' else ''})"


_Checked = tuple[dict[str, Any], float | None, str]


def _values(condition: Condition, document: Mapping[str, Any]) -> Iterator[_Checked]:
    if condition.scope not in ("", _BASE, *_SCORES):
        yield from _of_groups(condition, document)
        return
    for pair in document["base" if condition.scope == _BASE else "pairs"]:
        row = pair[condition.scope] if condition.scope in _SCORES else pair
        value = row.get(condition.measure)
        yield {"a": pair["a"], "b": pair["b"]}, value, _why(condition, pair)


def _of_groups(condition: Condition, document: Mapping[str, Any]) -> Iterator[_Checked]:
    for row in document["groups"]:
        ends = {f"{row['a']}-{row['b']}", f"{row['b']}-{row['a']}"}
        if condition.scope in ends and row["measure"] == condition.measure:
            where = {name: row[name] for name in ("a", "b", "seeds", "tasks")}
            yield where, row["mean"], row["reason"] or ""


def _why(condition: Condition, pair: Mapping[str, Any]) -> str:
    """Why a field of a pair has no value."""
    name = condition.measure
    if condition.scope in _SCORES and pair.get(name) is not None:
        if condition.scope == "p_holm":
            return f"no corrected p of {name} is given"
        used = pair["null_used"].get(name)
        return f"no null applies to {name}" if used is None else f"the {used} null has no spread"
    given = pair.get(_REASONS.get(name, ""))
    if given or name not in pair:
        return given or "not measured; it needs --covariances FILE"
    return pair["warnings"][0] if pair["warnings"] else "not defined for this pair"
