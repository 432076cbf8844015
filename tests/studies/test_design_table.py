"""The table of a design: what is read, and every way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltalens.errors import OptionError
from deltalens.studies.design.confounding import confounded, require_separable, separator
from deltalens.studies.design.regressors import regressors
from deltalens.studies.design.table import read_table

GOOD = """path,task,seed,harm,style,base
a,t1,0,yes,plain,llama
../b , t2,1,HARMLESS,plain,llama

/c,t2,0,0,odd,llama
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "sub" / "design.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_a_table_is_read_and_its_paths_start_at_its_folder(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "\ufeff" + GOOD))
    assert table.paths == (tmp_path / "sub" / "a", tmp_path / "sub" / "../b", Path("/c"))
    assert table.levels == {
        "seed": ("0", "1", "0"),
        "task": ("t1", "t2", "t2"),
        "harm": ("harmful", "harmless", "harmless"),
        "style": ("plain", "plain", "odd"),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "design.csv: empty; a header with path and seed, task, harm or style is needed"),
        ("path,task,colour\na,t,x\n", "unknown column 'colour'; known are path, task, seed, harm"),
        ("path,task,task\na,t,x\n", "column 'task' stands 2 times"),
        ("task,seed\nt,0\n", "no column 'path'; found are task, seed"),
        ("path,base\na,x\n", "no factor; a column of seed, task, harm or style is needed"),
        ("path,task\na,t\n", "1 adapters; a design needs at least 2"),
        ("path,task\na,t,1\n", "line 2: 3 cells, where the header has 2"),
        ("path,task\na,t\nb,\n", "line 3: task is empty; give it, or leave the column out"),
        ("path,task\na,t\n./a,u\n", "a stands in line 2, too"),
        ("path,harm\na,yes\nb,maybe\n", "line 3: harm is 'maybe'; allowed are yes, true, 1,"),
        (
            "path,seed,base\na,0,llama\nb,0,qwen\n",
            "line 3: base is qwen, and llama in line 2: updates of different bases are not",
        ),
        ('path,task\na,"t\n', "not a CSV table"),
        ("path,task\na,\udcff\n", "not UTF-8 text"),
        ("path,task\n" + "a,t\n" * 2001, "2002 lines; at most 2000 are allowed"),
        ("path,task\n" + "a" * 1_000_001, "bytes; at most 1000000 are allowed"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(OptionError) as refused:
        read_table(write(tmp_path, text))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(OptionError, match="not a regular file"):
        read_table(tmp_path)


CONFOUNDED = [
    # One seed a task: a further run of a task that is there, with another seed.
    (
        {"seed": ("0", "0", "1", "1"), "task": ("a", "a", "b", "b")},
        ("seed", "task"),
        "seed and task are confounded: an adapter with seed 1, task a would separate them",
    ),
    # Every harmful task in one style: only a new task can be harmful in the other.
    (
        {
            "task": ("a", "b", "c", "d"),
            "harm": ("harmful", "harmful", "harmless", "harmless"),
            "style": ("x", "x", "y", "y"),
        },
        ("harm", "style"),
        "with another task, harm harmful, style y would separate them",
    ),
]


@pytest.mark.parametrize(("levels", "factors", "said"), CONFOUNDED)
def test_confounded_factors_are_named_with_the_adapter_that_separates_them(
    levels: dict[str, tuple[str, ...]], factors: tuple[str, str], said: str
) -> None:
    assert confounded(regressors(levels)) == factors
    with pytest.raises(OptionError) as refused:
        require_separable(levels, "t.csv")
    assert said in str(refused.value)
    adapter = separator(levels, *factors)
    assert adapter is not None
    longer = {factor: (*each, adapter[factor]) for factor, each in levels.items()}
    assert require_separable(longer, "t.csv").rank() == regressors(longer).X.shape[1]


def test_where_no_one_adapter_helps_it_says_so() -> None:
    levels = {"seed": ("0", "1"), "task": ("a", "b"), "harm": ("harmful", "harmless")}
    with pytest.raises(OptionError, match="nothing varies between pairs"):
        require_separable(levels, "t.csv")
    levels = {"harm": ("harmful", "harmful", "harmless"), "style": ("x", "x", "y")}
    with pytest.raises(OptionError, match="harm and style are confounded: "):
        require_separable(levels, "t.csv")


def test_what_never_varies_is_left_out_with_the_reason() -> None:
    found = regressors({"seed": ("0", "0", "0"), "task": ("a", "b", "c"), "style": ("x", "x", "y")})
    assert found.terms == ("both style x",)
    assert dict(found.constant) == {
        "same seed": "every pair is same seed: an effect needs pairs that are not",
        "same task": "no pair is same task: an effect needs at least one such pair",
        "both style y": "no pair is both style y: an effect needs at least one such pair",
    }


def test_indicators_are_those_of_the_formula() -> None:
    found = regressors({"seed": ("0", "0", "1"), "harm": ("harmful", "harmless", "harmless")})
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    assert found.terms == ("same seed", "both harmless")
    assert found.X.tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 1]]


def test_a_style_of_three_levels_has_one_indicator() -> None:
    found = regressors({"style": ("x", "y", "z", "x")})
    assert found.terms == ("same style",)
    assert found.X[:, 1].tolist() == [0, 0, 1, 0, 0, 0]
    assert regressors({"style": ("x", "y", "x", "y")}).terms == ("both style x", "both style y")


def test_a_dependence_of_more_than_two_factors_names_two_of_them() -> None:
    # same seed + same task + same style = 1 in every pair; no two of them alone are dependent.
    levels = {"seed": ("0", "0", "1"), "task": ("a", "b", "a"), "style": ("x", "y", "y")}
    found = regressors(levels)
    assert found.rank() < found.X.shape[1]
    assert confounded(found) == ("seed", "style")
    with pytest.raises(OptionError, match="seed and style are confounded: ") as refused:
        require_separable(levels, "t.csv")
    assert "an adapter with seed 1, task a, style x would separate them" in str(refused.value)
    longer = regressors(
        {"seed": ("0", "0", "1", "1"), "task": tuple("abaa"), "style": tuple("xyyx")}
    )
    assert longer.rank() == longer.X.shape[1]
