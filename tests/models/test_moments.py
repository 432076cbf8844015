"""Sums over a real model's inputs, against inputs that are taken and kept one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_cases import RAGGED, make_gpt2, make_llama, n_hooks

from deltalens.errors import BaseModelError, OptionError
from deltalens.models.moments import Input, Streamer, find_inputs
from deltalens.models.sums import Plan, sketch_matrix
from deltalens.models.tokens import batches

GATE = "model.layers.1.mlp.gate_proj"


def kept_inputs(model: Any, name: str, rows: list[list[int]]) -> list[np.ndarray]:
    """The inputs of one module, row by row, without padding or batches."""
    import torch

    found: list[np.ndarray] = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda _, args: found.append(args[0][0].detach().double().numpy().copy())
    )
    with torch.inference_mode():
        for row in rows:
            model(input_ids=torch.tensor([row]), use_cache=False)
    handle.remove()
    return found


def streamed(model: Any, plan: Plan, size: int, **options: Any) -> tuple[Streamer, Input]:
    inputs = find_inputs(model, RAGGED[2], "*gate_proj")
    held = Streamer(model, inputs, plan, **({"drop_first": 0, "drop": ()} | options))
    for batch in batches(RAGGED, size, side="right"):
        held.add(batch)
    return held, next(i for i in inputs if i.name == GATE)


def test_modules_that_read_one_tensor_share_one_input(torch_model: Any) -> None:
    inputs = find_inputs(torch_model, RAGGED[0])
    found = {i.name: (i.modules, i.d_in) for i in inputs}
    attention, mlp = "model.layers.0.self_attn.", "model.layers.0.mlp."
    qkv = tuple(f"{attention}{n}_proj" for n in "qkv")
    assert found[qkv[0]] == (qkv, 16)
    assert found[f"{mlp}gate_proj"] == ((f"{mlp}gate_proj", f"{mlp}up_proj"), 16)
    assert found[f"{mlp}down_proj"] == ((f"{mlp}down_proj",), 22)
    assert len(inputs) == 8  # four an attention and MLP block; the head is no part of the decoder
    assert n_hooks(torch_model) == 0


@pytest.mark.parametrize("size", [1, 2, 5])
def test_sums_are_those_of_the_inputs_without_padding(torch_model: Any, size: int) -> None:
    X = np.concatenate(kept_inputs(torch_model, GATE, RAGGED))
    held, gate = streamed(torch_model, Plan("full"), size)
    sums = held.sums(gate)
    assert held.tokens == len(X) == sum(map(len, RAGGED))
    np.testing.assert_allclose(sums.product, X.T @ X, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sums.total, X.sum(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sums.squares, np.diagonal(X.T @ X), rtol=1e-9)


def test_the_sketch_is_that_of_the_same_sum(torch_model: Any) -> None:
    X, plan = np.concatenate(kept_inputs(torch_model, GATE, RAGGED)), Plan("low-rank", rank=2)
    held, gate = streamed(torch_model, plan, 2)
    expected = X.T @ (X @ sketch_matrix(16, plan))
    np.testing.assert_allclose(held.sums(gate).product, expected, rtol=1e-9, atol=1e-12)


def test_first_tokens_and_dropped_ids_do_not_count(torch_model: Any) -> None:
    rows = kept_inputs(torch_model, GATE, RAGGED)
    kept = np.concatenate(
        [
            x[[p > 0 and t != 5 for p, t in enumerate(row)]]
            for x, row in zip(rows, RAGGED, strict=True)
        ]
    )
    held, gate = streamed(torch_model, Plan("diagonal"), 3, drop_first=1, drop=[5])
    assert held.tokens == len(kept)
    np.testing.assert_allclose(held.sums(gate).squares, (kept**2).sum(axis=0), rtol=1e-9)
    assert held.sums(gate).product.shape == (16, 0)


def test_sums_can_be_put_back_and_gone_on_with() -> None:
    model = make_llama()
    whole, gate = streamed(model, Plan("full"), 2)
    first = Streamer(model, whole.inputs, Plan("full"), drop_first=0, drop=())
    every = list(batches(RAGGED, 2, side="right"))
    first.add(every[0])
    second = Streamer(model, whole.inputs, Plan("full"), drop_first=0, drop=())
    second.restore([first.sums(i) for i in whole.inputs], first.tokens)
    for batch in every[1:]:
        second.add(batch)
    np.testing.assert_array_equal(second.sums(gate).product, whole.sums(gate).product)
    assert second.tokens == whole.tokens


def test_what_cannot_be_measured_is_refused() -> None:
    model = make_llama()
    with pytest.raises(OptionError, match=r"--modules '\*nothing' matches none of 15 linear"):
        find_inputs(model, [1, 2], "*nothing")
    with pytest.raises(BaseModelError, match="GPT2LMHeadModel: no linear module of its decoder"):
        find_inputs(make_gpt2(), [1, 2])
    wrong = Streamer(model, [Input((GATE,), 11)], Plan("diagonal"), drop_first=0, drop=())
    with pytest.raises(BaseModelError, match=r"gate_proj: its input \[2, 7, 16\] is not one vec"):
        wrong.add(next(iter(batches(RAGGED, 2, side="right"))))
    assert n_hooks(model) == 0


def test_inputs_that_are_not_finite_name_their_module() -> None:
    import torch

    model = make_llama()
    model.get_submodule("model.layers.0.mlp.down_proj").weight.data[:] = torch.inf
    held, gate = streamed(model, Plan("diagonal"), 2)
    with pytest.raises(BaseModelError, match=r"layers\.1\.mlp\.gate_proj: its inputs hold NaN"):
        held.sums(gate)
