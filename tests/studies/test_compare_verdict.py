"""The sentences: every rule occurs, and none of them says more than its null supports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_files import (
    SHAPES,
    Factors,
    Modules,
    document,
    in_memory,
    initial,
    made,
    pair,
    write_adapter,
    write_base,
)


def zero(modules: Modules) -> dict[str, Factors]:
    return {p: (np.zeros_like(B), A) for p, (B, A) in modules.items()}


def half_moved(modules: Modules) -> dict[str, Factors]:
    other = initial(77)
    return {p: (B, 0.45 * A + 0.9 * other[p]) for p, (B, A) in modules.items()}


def partly_shared(one: Modules, two: Modules) -> dict[str, Factors]:
    path = next(iter(one))
    return {**two, path: (two[path][0], one[path][1])}


def rewritten(modules: Modules) -> dict[str, Factors]:
    found = {}
    for path, (B, A) in modules.items():
        U, S, Vt = np.linalg.svd(B @ A, full_matrices=False)
        found[path] = (U[:, :4] * S[:4], Vt[:4])
    return found


ONE, SAME, OTHER = made(1, 1), made(1, 2), made(2, 3)
RULES: dict[str, tuple[Modules, Modules, int, str]] = {
    "undefined": (ONE, zero(SAME), 0, r"^Undefined: a or b is zero in every common module"),
    "all": (
        ONE,
        SAME,
        0,
        r"^Shared initialisation \(4 of 4 modules\): input-side overlap 0\.\d\d is not "
        r"interpretable \(the seed alone gives about 0\.50 and up, shared inputs more\)\.",
    ),
    "all, with draws": (
        ONE,
        SAME,
        19,
        r"^Shared initialisation .* is not interpretable \(the seed alone gives 0\.\d\d "
        r"\(sd 0\.\d+\) with B turned at random, shared inputs more\)\.",
    ),
    "some": (
        ONE,
        partly_shared(ONE, OTHER),
        0,
        r"^Initialisation shared in 1 of 4 modules: input-side overlap by initialisation is "
        r"shared 0\.\d+, different 0\.\d+; the shared part is not interpretable\.",
    ),
    "partial": (
        ONE,
        half_moved(SAME),
        0,
        r"^Initialisation moved or shared in part in 4 of 4 modules: no null applies",
    ),
    "different": (
        ONE,
        OTHER,
        0,
        r"^Different initialisations: input-side overlap 0\.\d+ against 0\.\d+ \(sd 0\.\d+\) for "
        r"random subspaces, z -?\d\.\d\. Different seeds hide update cosine",
    ),
    "no null": (
        ONE,
        rewritten(SAME),
        0,
        r"Update cosine -?0\.\d+, without a null: lora_A is not in the training gauge",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_occurs(rule: str) -> None:
    one, two, draws, sentence = RULES[rule]
    verdict = pair(in_memory("a", one), in_memory("b", two), draws=draws)["verdict"]
    assert re.search(sentence, verdict), verdict
    if rule != "undefined":
        assert verdict.endswith(
            "No evidence about the task without a benign bank of the same initialisation. "
            "Missing: --bank GLOB, --covariances FILE (a stricter screen)."
        )


@pytest.mark.parametrize("both", [True, False])
def test_a_dense_update_has_no_initialisation_to_compare(tmp_path: Path, both: bool) -> None:
    rng = np.random.default_rng(5)
    W = {p: rng.standard_normal(shape) for p, shape in SHAPES.items()}
    base = write_base(tmp_path / "base", W)
    tuned = [
        write_base(tmp_path / x, {p: w + rng.standard_normal(w.shape) / 9 for p, w in W.items()})
        for x in "ab"
    ]
    other = tuned[1] if both else write_adapter(tmp_path / "lora", made(1, 1))
    found = document(tuned[0], other, base=base)["pairs"][0]
    assert (found["n_no_init"], found["n_partial_init"], found["shared_init"]) == (4, 0, "none")
    assert found["verdict"].startswith(
        "No initialisation to compare in 4 of 4 modules, where an update is dense (as of a full "
        "checkpoint, DoRA or IA3): no null applies to the input side. Update cosine "
    )
    assert "moved or shared in part" not in found["verdict"]
    assert "overlap" not in found["null_used"]
    assert any("has no initialisation to compare" in warning for warning in found["warnings"])


def related(seed: int, init: int = 1) -> dict[str, Factors]:
    """B drawn towards one direction that all related adapters get."""
    common = made(init, 99)
    return {p: (B + 1.5 * common[p][0], A) for p, (B, A) in made(init, seed).items()}


def flat(modules: Modules) -> dict[str, Factors]:
    """B of rank 1: no subspace of two dimensions is defined."""
    return {p: (B[:, :1] @ np.ones((1, 4)), A) for p, (B, A) in modules.items()}


def unrelated(count: int, *inits: int) -> list[Any]:
    return [
        in_memory(f"c{init}-{i}", made(init, 100 * init + i))
        for init in inits
        for i in range(count)
    ]


RANKED: dict[str, tuple[list[Modules], list[Any], str]] = {
    "more alike": (
        [related(1), related(2)],
        unrelated(19, 1),
        r"^Shared initialisation \(4 of 4 modules\)\. Update cosine 0\.\d+ against -0\.\d+ to "
        r"0\.\d+ for 19 unrelated adapters of this initialisation \(mean -?0\.\d+, sd 0\.\d+, "
        r"z \d+\.\d, rank p 0\.05\): more alike than unrelated tasks of this initialisation\. "
        r"Input-side overlap .*Output-side overlap 0\.\d+ against 0\.\d+ to 0\.\d+ "
        r"\(mean 0\.\d+, sd 0\.\d+, z \d+\.\d, rank p 0\.05\): more alike\.$",
    ),
    "not after correction": (
        [related(1), related(2), related(3)],
        unrelated(19, 1),
        r"rank p 0\.05\): more alike than unrelated tasks of this initialisation, this pair "
        r"alone\. .* Not after Holm's correction over 3 pairs: p 0\.15, smallest possible 0\.15\.$",
    ),
    "after correction": (
        [related(1), related(2), related(3)],
        unrelated(59, 1),
        r": more alike than unrelated tasks of this initialisation, p 0\.05 after correction\. ",
    ),
    "too few": (
        [related(1), related(2)],
        unrelated(3, 1),
        r"for 3 unrelated adapters of this initialisation \(.*rank p 0\.25\): no verdict, since so "
        r"few cannot give a p under 0\.25\.",
    ),
    "one member": (
        [related(1), related(2)],
        unrelated(1, 1),
        r"for 1 unrelated adapter of this initialisation \(mean -?0\.\d+, sd 0\.\d+, z",
    ),
    "not shown": (
        [ONE, SAME],
        unrelated(19, 1),
        r"^Shared .* Update cosine -?0\.\d+ against .*: not shown to be more alike than unrelated "
        r"tasks of this initialisation\. Input-side overlap .*: not shown to be more alike\. "
        r"Output-side overlap .*: not shown to be more alike\.$",
    ),
    "undefined": (
        [flat(ONE), flat(SAME)],
        unrelated(19, 1),
        r"Input-side overlap: undefined, no verdict\. "
        r"Output-side overlap: undefined, no verdict\.$",
    ),
    "different": (
        [related(1), related(2, 2)],
        unrelated(3, 1, 2),
        r"^Different initialisations\. Update cosine .* unrelated adapters of these init",
    ),
    "nobody": (
        [ONE, SAME],
        unrelated(3, 2),
        r"a screen, not a claim\. No evidence about the task: no member of the bank can stand for "
        r"b beside a \(3: another seed relation to the other adapter than the pair's\)\. Missing: "
        r"--covariances FILE \(a stricter screen\)\.$",
    ),
}


@pytest.mark.parametrize("rule", RANKED)
def test_every_rule_of_a_bank_occurs(rule: str) -> None:
    modules, bank, sentence = RANKED[rule]
    adapters = [in_memory(n, m) for n, m in zip("abc", modules, strict=False)]
    verdict = pair(*adapters, bank=bank, top_k=2)["verdict"]
    assert re.search(sentence, verdict), verdict
    assert len(verdict) <= 600  # what a report's cell shows in full


def test_other_members_for_a_measure_are_counted_again() -> None:
    """A flat member has a cosine with everything, and no subspace of two dimensions."""
    bank = [*unrelated(2, 1), in_memory("flat", flat(made(1, 50)))]
    verdict = pair(in_memory("a", ONE), in_memory("b", SAME), bank=bank, top_k=2)["verdict"]
    assert "for 3 unrelated adapters of this initialisation" in verdict.split("Input-side")[0]
    assert verdict.count("for 2 unrelated adapters of this initialisation") == 2


def test_a_pair_that_shares_some_modules_is_ranked_among_its_likes() -> None:
    """Members that stand to a as b does, module by module, and the other way round."""
    a, b = made(1, 1), partly_shared(made(1, 1), made(2, 2))
    like_b = [in_memory(f"b{i}", partly_shared(a, made(2, 50 + i))) for i in range(2)]
    like_a = [in_memory(f"a{i}", made(1, 60 + i)) for i in range(2)]
    row = pair(in_memory("a", a), in_memory("b", b), bank=[*like_a, *like_b], top_k=2)
    assert (row["bank"]["members_a"], row["bank"]["members_b"]) == (["b0", "b1"], ["a0", "a1"])
    assert row["verdict"].startswith(
        "Initialisation shared in part (1 of 4 modules). Update cosine "
    )


def every_verdict(tmp_path: Path) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    base = write_base(tmp_path, {p: rng.standard_normal(s) for p, s in SHAPES.items()})
    rows: list[dict[str, Any]] = []
    for one, two, draws, _ in RULES.values():
        found = document(in_memory("a", one), in_memory("b", two), draws=draws, base=base)
        rows += [*found["pairs"], *found["base"]]
    for modules, bank, _ in RANKED.values():
        adapters = [in_memory(n, m) for n, m in zip("abc", modules, strict=False)]
        rows += document(*adapters, bank=bank, top_k=2)["pairs"]
    return rows


def test_geometry_never_names_a_behaviour(tmp_path: Path) -> None:
    for row in every_verdict(tmp_path):
        text = row["verdict"].lower()
        assert not re.search(r"misalign|harm|malicious|dangerous|unsafe|evil", text)
        # The only thing said of evidence is that there is none.
        assert text.count("evidence") == text.count("no evidence about the task")
        assert not re.search(r"\bnan\b|\binf\b|none\b", text)


def test_input_overlap_under_a_shared_initialisation_is_never_evidence(tmp_path: Path) -> None:
    checked = 0
    for row in every_verdict(tmp_path):
        if row["shared_init"] == "none" or row["cosine"] is None or row["nulls"]["bank"]:
            continue
        checked += 1
        overlap, _, cosine = row["verdict"].partition("Update cosine")
        assert "not interpretable" in overlap
        assert not re.search(r"\bz -?\d|\bp \d", overlap)  # no score beside the overlap
        assert cosine
        assert "haar" not in {row["null_used"].get(m) for m in ("overlap", "pc_cosine")}
    assert checked == 5


def test_the_cosine_is_given_with_its_null(tmp_path: Path) -> None:
    row = pair(in_memory("a", ONE), in_memory("b", SAME))
    moments = row["nulls"]["rotation"]["cosine"]
    assert (
        f"Update cosine {row['cosine']:.3g} (0, sd {moments['sd']:.2g} under rotation, "
        f"z {row['z']['cosine']:.1f}, p {row['p']['cosine']:.2g}): a screen, not a claim."
    ) in row["verdict"]


def test_names_from_strangers_are_made_safe_in_sentences(tmp_path: Path) -> None:
    evil = "a\x1b[31m\u202eb\nc"
    row = pair(write_adapter(tmp_path / evil, zero(ONE)), write_adapter(tmp_path / "plain", SAME))
    assert row["a"] == evil  # the document keeps the name; escaped as JSON it is harmless
    assert "\x1b" not in row["verdict"]
    assert "\u202e" not in row["verdict"]
    assert "\n" not in row["verdict"]
