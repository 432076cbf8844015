"""Spellings of tensor names, pairs of factors, and their shapes and types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import CONFIG, Q, Stored, bf16, pair, read_all, refused, stored, write

import deltalens
from conftest import MakePeft
from deltalens.io.limits import Limits
from deltalens.io.peft_names import strip_prefixes

MODULE = "model.layers.0.self_attn.q_proj"

SPELLINGS = {
    "peft": lambda key: key,
    "no prefix": lambda key: key.removeprefix("base_model.model."),
    "data parallel": lambda key: f"module.{key}",
    "compiled": lambda key: f"_orig_mod.{key}",
    "both": lambda key: f"_orig_mod.module.{key}",
    "compiled inside": lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
    "compiled layers": lambda key: key.replace(".self_attn.", "._orig_mod.self_attn."),
    "adapter name": lambda key: key.replace(".weight", ".default.weight"),
    "another adapter name": lambda key: key.replace(".weight", ".my-adapter_2.weight"),
    "everything": lambda key: f"module._orig_mod.{key.replace('.weight', '.default.weight')}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same_adapter(
    spelling: str, make_peft: MakePeft, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = make_peft()
    tensors = load_file(folder / "adapter_model.safetensors")
    assert all(key.startswith("base_model.model.model.layers.") for key in tensors)
    respelled = write(tmp_path / "a", config=(folder / "adapter_config.json").read_bytes())
    rename = SPELLINGS[spelling]
    save_file({rename(k): v for k, v in tensors.items()}, respelled / "adapter_model.safetensors")
    expected, found = read_all(folder), read_all(respelled)
    assert found.keys() == expected.keys()
    for path, dW in expected.items():
        np.testing.assert_array_equal(found[path], dW)


@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("base_model.model.x", "x"),
        ("base_model.model.model.x", "model.x"),
        ("module._orig_mod.module.base_model.model.x", "x"),
        ("a._orig_mod._orig_mod.b", "a.b"),
        ("model.module_list.x", "model.module_list.x"),
        ("my_orig_mod.x", "my_orig_mod.x"),
    ],
)
def test_prefixes(name: str, stripped: str) -> None:
    assert strip_prefixes(name) == stripped


def renamed(tensors: dict[str, Stored], old: str, new: str) -> dict[str, Stored]:
    return {key.replace(old, new): value for key, value in tensors.items()}


def test_two_adapters_in_one_file_are_refused(tmp_path: Path) -> None:
    two = renamed(pair(), ".weight", ".one.weight") | renamed(pair(), ".weight", ".two.weight")
    refused(write(tmp_path / "a", two), r"holds 2 adapters \(one, two\); one is allowed")
    apart = renamed(pair(), ".weight", ".one.weight") | pair(Q.replace("q_", "v_"))
    refused(write(tmp_path / "a", apart), r"holds 2 adapters \(\(unnamed\), one\)")


@pytest.mark.parametrize("spelling", ["no prefix", "data parallel", "compiled layers"])
def test_names_that_collide_are_refused(spelling: str, tmp_path: Path) -> None:
    twice = pair() | {SPELLINGS[spelling](k): v for k, v in pair().items()}
    message = refused(write(tmp_path / "a", twice), f"are both lora_[AB] of {MODULE}")
    assert f"{Q}.lora_A.weight" in message


@pytest.mark.parametrize(("kept", "lacking"), [("A", "B"), ("B", "A")])
def test_a_missing_factor_is_refused(kept: str, lacking: str, tmp_path: Path) -> None:
    half = {key: value for key, value in pair().items() if f"lora_{kept}" in key}
    message = refused(
        write(tmp_path / "a", half | pair("model.v")), f"has {Q}.lora_{kept}.weight but no lora_"
    )
    assert message.endswith(f"no lora_{lacking}")


def with_factor(factor: str, value: Stored) -> dict[str, Stored]:
    return pair() | {f"{Q}.lora_{factor}.weight": value}


def test_inner_ranks_must_agree(tmp_path: Path) -> None:
    wrong = with_factor("B", stored(np.ones((3, 3), "<f4")))
    message = refused(write(tmp_path / "a", wrong), "the inner ranks must agree")
    assert f"{MODULE}: lora_A is [2, 4] and lora_B [3, 3]" in message


@pytest.mark.parametrize(
    "fields", [{"r": 3}, {"rank_pattern": {"q_proj": 5}}, {"r": 10**20}, {"r": 8}]
)
def test_the_rank_must_be_the_configs(fields: dict[str, Any], tmp_path: Path) -> None:
    expected = fields.get("r", 5)
    refused(
        write(tmp_path / "a", config={**CONFIG, **fields}),
        f"{MODULE} has rank 2 in the tensors and {expected} in the config",
    )


def test_the_rank_is_capped_by_an_option(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", pair(rank=5), {**CONFIG, "r": 5})
    message = refused(folder, "has rank 5; at most 4", limits=Limits(rank=4))
    assert "(rank)" in message
    assert len(deltalens.load(folder, limits=Limits(rank=5))) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("factor", ["A", "B"])
@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2", "bf16"])
def test_a_tensor_that_is_not_finite_is_named(
    value: float, factor: str, dtype: str, tmp_path: Path
) -> None:
    shape = {"A": (2, 4), "B": (3, 2)}[factor]
    values = np.ones(shape, "<f4")
    values[1, 1] = value
    made = bf16(values) if dtype == "bf16" else stored(values.astype(dtype))
    folder = write(tmp_path / "a", with_factor(factor, made))
    assert len(deltalens.load(folder)) == 1  # opening does not read
    refused(folder, f"tensor {Q}.lora_{factor}.weight holds NaN or infinity")


@pytest.mark.parametrize(("dtype", "bits"), [("<f4", 0x7F800001), ("<f2", 0x7C01)])
def test_signalling_nan_is_named_and_warns_of_nothing(
    dtype: str, bits: int, tmp_path: Path
) -> None:
    values = np.full((2, 4), bits, dtype.replace("f", "u")).view(dtype)
    folder = write(tmp_path / "a", with_factor("A", stored(values)))
    refused(folder, f"tensor {Q}.lora_A.weight holds NaN or infinity")
    adapter = deltalens.load(folder)
    A = np.empty((2, 4))
    adapter.read_into(next(iter(adapter)), np.empty((3, 2)), A)
    assert np.isnan(A).all()


def test_infinities_that_cancel_are_found(tmp_path: Path) -> None:
    values = np.array([[np.inf, -np.inf], [1, 1], [1, 1]], "<f4")
    refused(write(tmp_path / "a", with_factor("B", stored(values))), "holds NaN or infinity")


def test_finite_tensors_whose_sum_overflows_are_read(tmp_path: Path) -> None:
    A = np.full((2, 4), 1e308, "<f8")
    config = {**CONFIG, "lora_alpha": 2}
    folder = write(tmp_path / "a", with_factor("A", stored(A)), config)
    update = next(iter(deltalens.load(folder).values()))
    np.testing.assert_array_equal(update.A, A)


def test_a_scaling_beyond_the_range_is_refused(tmp_path: Path) -> None:
    B = np.full((3, 2), 1e300, "<f8")
    folder = write(tmp_path / "a", with_factor("B", stored(B)), {**CONFIG, "lora_alpha": 1e300})
    refused(folder, "times its scaling 5e.299 exceeds the range of float64")


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_empty_tensors_are_refused(shape: tuple[int, int], tmp_path: Path) -> None:
    folder = write(tmp_path / "a", with_factor("A", stored(np.ones(shape, "<f4"))))
    message = refused(folder, r"is empty \[.*ZeRO-3")
    assert f"{Q}.lora_A.weight" in message


@pytest.mark.parametrize(
    ("dtype", "size"), [("I32", 4), ("I64", 8), ("I8", 1), ("U8", 1), ("BOOL", 1),
                        ("F8_E4M3", 1), ("F8_E5M2", 1), ("U16", 2)]
)  # fmt: skip
def test_integers_and_fp8_are_refused(dtype: str, size: int, tmp_path: Path) -> None:
    tensors = with_factor("A", (dtype, [2, 4], bytes(8 * size)))
    refused(write(tmp_path / "a", tensors), f"is {dtype}; F64, F32, F16 and BF16 are read")


@pytest.mark.parametrize("shape", [[8], [2, 2, 2], [2, 4, 1, 1], []])
def test_factors_of_other_dimensions_are_refused(shape: list[int], tmp_path: Path) -> None:
    tensors = with_factor("A", ("F32", shape, bytes(4 * int(np.prod(shape)))))
    refused(write(tmp_path / "a", tensors), "factors are matrices|the inner ranks must agree")


def test_a_file_without_lora_tensors_is_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "a", {}), "holds no LoRA tensors; lora_A and lora_B are needed")


def test_all_zero_B_loads(tmp_path: Path) -> None:
    zero = with_factor("B", stored(np.zeros((3, 2), "<f4")))
    (dW,) = read_all(write(tmp_path / "a", zero)).values()
    assert not dW.any()


def test_bf16_is_read_bit_by_bit(tmp_path: Path) -> None:
    import torch

    every = np.arange(2**16, dtype="<u2")
    truth = torch.from_numpy(every.view(np.int16)).view(torch.bfloat16).double().numpy()
    finite = every[np.isfinite(truth)].reshape(2, -1)
    expected = truth[np.isfinite(truth)].reshape(2, -1)
    made = with_factor("A", ("BF16", list(finite.shape), finite.tobytes()))
    (update,) = deltalens.load(write(tmp_path / "a", made)).values()
    np.testing.assert_array_equal(update.A, expected)


def test_names_that_python_takes_for_digits_are_sorted(tmp_path: Path) -> None:
    tensors = pair("layers.²") | pair("layers.2.x") | pair("layers.٣.y")
    assert len(read_all(write(tmp_path / "a", tensors))) == 3


def test_a_hostile_name_is_shown_harmlessly(tmp_path: Path) -> None:
    name = "\x1b[2J\u202eevil\u2028" + "x" * 3000
    message = refused(write(tmp_path / "a", pair() | {name: stored(np.ones(1, "<f4"))}), "evil")
    assert len(message) < 700


def test_an_endless_name_is_refused_at_once(tmp_path: Path) -> None:
    names = ("module." * 300_000 + "x", "lora_A" * 300_000)
    for name in names:
        tensors = pair() | {name: stored(np.ones(1, "<f4"))}
        refused(write(tmp_path / "a", tensors), r"a name of \d+ characters; at most 4096")
