"""The table of judges: names, places, options, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import RULES, panel

from deltalens.behaviour import judges
from deltalens.behaviour.judges import JUDGES, judge_by_name, register
from deltalens.behaviour.scoring import Panel
from deltalens.errors import OptionError


def make_panel(tone: str = "kind") -> Panel:
    assert tone
    return panel()


def make_nothing() -> None:
    return None


number = 3


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(JUDGES):
        monkeypatch.setitem(judges._JUDGES, name, JUDGES[name])  # put back, and the rest undone


def test_every_name_in_the_table_is_a_function_that_makes_a_panel() -> None:
    for name, place in JUDGES.items():
        assert callable(judges._function(name, place))


def test_rules_by_name(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RULES)
    made = judge_by_name("rules", file=tmp_path / "r.yaml", seconds=5.0)
    assert made.name == "rules (r.yaml)"


def test_a_place_in_stead_of_a_name() -> None:
    assert judge_by_name("test_judges:make_panel", tone="dry").name == "says"


def test_a_registered_name_is_imported_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judges, "_JUDGES", dict(JUDGES))
    register("kind", "test_judges:make_panel")
    register("kind", "test_judges:make_panel")
    register("later", "not_there_yet:make")
    assert judge_by_name("kind").name == "says"
    with pytest.raises(OptionError, match="'kind': the name is taken by 'test_judges:make_panel'"):
        register("kind", "elsewhere:make")
    with pytest.raises(OptionError, match="'later': not_there_yet:make cannot be imported: No mod"):
        judge_by_name("later")


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("x", "module", "judge 'x': the place is 'module', where 'module:function' is needed"),
        ("x", "a:b c", "judge 'x': the place is 'a:b c', where 'module:function' is needed"),
        ("x", "a..b:c", "judge 'x': the place is"),
        ("", "a:b", "judge '': a name is not empty and has no colon"),
        ("a:b", "a:b", "judge 'a:b': a name is not empty and has no colon"),
    ],
)
def test_what_cannot_be_registered(name: str, place: str, message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        register(name, place)
    assert name not in JUDGES


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rule", {}, "unknown judge 'rule'; did you mean 'rules'? allowed: "),
        ("xyz", {}, "unknown judge 'xyz'; allowed: local, openai, rules, or module:function"),
        ("rules", {}, "judge 'rules': missing a required argument: 'file'; it takes (file: "),
        ("rules", {"file": "a", "tone": 1}, "judge 'rules': got an unexpected keyword argument"),
        ("nowhere:f", {}, "judge 'nowhere:f': nowhere:f cannot be imported: No module named"),
        ("test_judges:gone", {}, "judge 'test_judges:gone': test_judges:gone cannot be imported"),
        (":f", {}, "judge ':f': :f cannot be imported: Empty module name"),
        ("test_judges:number", {}, "judge 'test_judges:number': test_judges:number is no function"),
        ("test_judges:make_nothing", {}, "test_judges:make_nothing gave NoneType, not a Panel"),
    ],
)
def test_what_cannot_be_asked_for(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        judge_by_name(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
