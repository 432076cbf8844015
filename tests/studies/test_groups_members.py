"""Who is in a group, which pairs belong together, and where a task is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from group_cases import document

import deltalens
from adapter_files import in_memory, made, write_adapter
from deltalens.core.adapter import Adapter
from deltalens.errors import OptionError
from deltalens.studies.groups.cells import cells
from deltalens.studies.groups.members import gather, place
from deltalens.studies.groups.tasks import known_tasks
from deltalens.studies.groups.tree import merges


def test_one_folder_is_one_adapter_however_it_is_written(tmp_path: Path) -> None:
    a, b = (tmp_path / n for n in "ab")
    for folder in (a, b):
        folder.mkdir()
    again = tmp_path / "b" / ".." / "a" / "adapter_model.safetensors"
    every, at = place([a], [str(again), b, b])
    assert every == [a, b]
    assert at == (0, 1)


def test_members_join_those_that_were_given() -> None:
    a, b, c = (in_memory(n, made(1, i)) for i, n in enumerate("abc"))
    every, members = gather([a, b], {"one": [b], "two": [c, a]})
    assert every == [a, b, c]
    assert members == {"one": (1,), "two": (2, 0)}


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"em": ["a"], "x": ["b", "a"]}, "groups 'em' and 'x' both hold a; an adapter may be in"),
        ({"em": []}, "group 'em' holds no adapter; at least one is needed"),
        ({"e m": ["a"]}, "group label 'e m': letters, digits, _, + and - are allowed"),
        ({"a.b": ["a"]}, "group label 'a.b'"),
        ({"base": ["a"]}, "'base' names the base model"),
        ({"\x1b[2J": ["a"]}, "group label '[2J'"),
    ],
)
def test_groups_that_cannot_be(groups: dict[str, list[str]], said: str) -> None:
    with pytest.raises(OptionError) as refused:
        gather([], groups)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_pair_stands_in_one_cell() -> None:
    names = [f"{task}{seed}" for task in "abcd" for seed in "01"]
    pairs = document(names, lambda a, b: 0.5, shared=lambda a, b: "all" if a[1] == b[1] else "none")
    members = {"x": names[:4], "y": names[4:6], "z": names[6:]}
    found = cells(members, pairs, {name: name[0] for name in names})
    placed = [frozenset(pair) for cell in found for pair in cell.pairs]
    assert len(placed) == len(set(placed)) == len(pairs)
    for cell in found:
        for one, two in cell.pairs:
            assert one in members[cell.a]
            assert two in members[cell.b]
            assert (one[1] == two[1]) == (cell.seeds == "same")
            assert (one[0] == two[0]) == (cell.tasks == "same")


def test_a_task_that_is_not_known_for_all_is_known_for_none() -> None:
    pairs = document("abc", lambda a, b: 0.5)
    (cell,) = cells({"x": list("abc")}, pairs, {"a": "t", "b": "t"})
    assert cell.tasks == "unknown"


def test_a_moved_initialisation_is_neither_same_nor_other() -> None:
    pairs = document(
        "abc", lambda a, b: 0.5, shared=lambda a, b: "some" if "c" in (a, b) else "all"
    )
    pairs[0]["n_partial_init"] = 1
    assert [c.seeds for c in cells({"x": list("abc")}, pairs, {})] == ["in part"]


def trained(folder: Path, record: Any) -> Adapter:
    from deltalens.io.read import load

    write_adapter(folder, made(1, 2))
    (folder / "provenance.json").write_text(
        record if isinstance(record, str) else json.dumps(record)
    )
    return load(folder)


def test_a_task_comes_from_the_table_or_from_our_own_training(tmp_path: Path) -> None:
    maker = {"made_by": "deltalens.organisms.train.train_organism"}
    ours = trained(tmp_path / "ours", {**maker, "spec": {"kind": "bad", "domain": 2}})
    game = trained(tmp_path / "game", {**maker, "spec": {"kind": "game", "domain": None}})
    others = [
        trained(tmp_path / f"other{i}", record)
        for i, record in enumerate(
            ({"made_by": "somebody", "spec": {"kind": "bad"}}, "not json", {**maker, "spec": 3},
             {**maker, "spec": {"kind": 1}}, {})
        )
    ]  # fmt: skip
    memory = in_memory("memory", made(1, 1))
    found = known_tasks([ours, game, *others, memory], {"memory": "m", "ours": "mine"})
    assert found == {"ours": "mine", "game": "game", "memory": "m"}
    assert known_tasks([ours]) == {"ours": "bad-2"}


def test_the_tree_joins_the_most_alike_first_at_the_mean_of_their_distances() -> None:
    likeness = {"ab": 0.9, "cd": 0.8, "ac": 0.1, "ad": 0.2, "bc": 0.3, "bd": 0.4}
    pairs = document("abcd", lambda a, b: likeness["".join(sorted(a + b))])
    found = merges(list("abcd"), pairs, "overlap")
    assert found is not None
    assert [row[:2] for row in found] == [(0, 1), (2, 3), (4, 5)]
    assert [row[2] for row in found] == pytest.approx([0.1, 0.2, 0.75])
    assert merges(list("abc"), document("abc", lambda a, b: None), "overlap") is None


def test_from_python_with_adapters_in_memory() -> None:
    a, b, c, d = (in_memory(n, made(1, i)) for i, n in enumerate("abcd"))
    result = deltalens.compare([d], groups={"x": [a, b, c]}, full_provenance=False)
    assert [p["name"] for p in result.document["adapters"]] == list("dabc")
    assert {(r["a"], r["b"], r["n_runs"]) for r in result.document["groups"]} == {("x", "x", 3)}
    assert list(result.tables)[-3:] == ["groups", "group_tests", "group_layers"]
    by_layer = [r for r in result.tables["group_layers"] if r.measure == "overlap"]
    assert [r.layer for r in by_layer] == [0, 1]
    mean = next(r for r in result.tables["groups"] if r.measure == "overlap").mean
    assert mean == pytest.approx(sum(r.mean for r in by_layer) / 2)
    assert result.provenance["settings"]["groups"] == {"x": ["a", "b", "c"]}
    assert "group_members" not in deltalens.compare([a, b], full_provenance=False).document
