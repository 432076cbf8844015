"""Every PEFT variant is read as PEFT merges it, or refused where only the base could tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft_cases import CASES, deviation, measured, save_base, save_variant, truth
from raw_files import assert_one_line

from deltalens import compare
from deltalens.errors import UnsupportedAdapterError
from deltalens.io.base import open_base
from deltalens.io.read import load

# Without the base there is no number to give; of other files a part can be measured.
REFUSED = ("DoRA", "PiSSA", "OLoRA", "experts", "a matrix as target parameter")


@pytest.fixture(scope="module")
def bases() -> dict[Any, Any]:
    return {}


@pytest.mark.parametrize("name", CASES)
def test_every_variant_is_what_peft_makes_of_it(
    name: str, bases: dict[Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    case = CASES[name]
    if case.base not in bases:
        model = case.base()
        bases[case.base] = model, open_base(save_base(model, tmp_path_factory.mktemp("base")))
    model, base = bases[case.base]
    folder = save_variant(case, model, tmp_path_factory.mktemp("adapter"))
    true = truth(model, folder)
    assert true
    adapter = load(folder, base=base)
    assert deviation(true, measured(adapter)) <= case.atol
    for key, update in adapter.items():
        B, A = np.empty((update.shape[0], update.rank)), np.empty((update.rank, update.shape[1]))
        scaling = adapter.read_into(key, B, A)
        np.testing.assert_allclose(scaling * B @ A, update.dense(), rtol=0, atol=1e-12)
        W = base.matrix(key, adapter.specs[key].layout) if key.path in base else None
        assert W is None or W.shape == update.shape


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.needs_base])
def test_without_the_base_nothing_is_guessed(
    name: str, bases: dict[Any, Any], tmp_path: Path
) -> None:
    case = CASES[name]
    model = bases[case.base][0] if case.base in bases else case.base()
    folder = save_variant(case, model, tmp_path / "adapter")
    true = truth(model, folder)
    if name.startswith(REFUSED):
        with pytest.raises(UnsupportedAdapterError, match="--base") as caught:
            load(folder)
        assert_one_line(str(caught.value), naming="adapter")
        return
    adapter = load(folder)
    found = measured(adapter)
    named = {path.removesuffix(".weight") for path in true}
    unmeasured = named - found.keys()
    assert unmeasured
    assert any("--base" in warning for warning in adapter.provenance.warnings)
    for path in unmeasured:
        module = path.removesuffix(".bias")
        told = module in adapter.biases or any(
            module in warning for warning in adapter.provenance.warnings
        )
        assert told, path
    for path, change in found.items():
        true_change = true[path] if path in true else true[f"{path}.weight"]
        np.testing.assert_allclose(change, true_change, rtol=0, atol=1e-9)


def test_dense_updates_tell_no_initialisation(tmp_path: Path) -> None:
    # Two identities in the place of lora_A are no shared seed.
    case = CASES["DoRA"]
    model = case.base()
    folders = [save_variant(case, model, tmp_path / name, seed) for seed, name in enumerate("ab")]
    result = compare(folders, base=save_base(model, tmp_path / "base"), top_k=2)
    (found,) = result.document["pairs"]
    assert found["n_modules"] == 4
    assert found["n_shared_init"] == 0
    assert found["init_similarity"] is None
    assert found["row_space_overlap"] is None
    assert "no null applies to the input side" in found["verdict"]
