"""LyCORIS's further tensors against their formulas, written out one number at a time.

Beside these, LyCORIS 4.1.3's own modules gave the same changes to float32's precision when the
readers were written (LoRA, LoHa and LoKr with and without cores and weight decomposition, full
differences, OFT, GLoRA, IA3; on linear layers and convolutions); that tool is not needed here.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from raw_files import header_of, packed, stored

import deltalens
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel, open_base
from deltalens.studies.inspect.describe import describe

U = "lora_unet_down_blocks_0_attn_to_q"
IN_BASE = "down_blocks.0.attn.to_q"
Arrays = dict[str, np.ndarray]


def save(path: Path, tensors: Arrays) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: stored(np.ascontiguousarray(array)) for name, array in tensors.items()}
    path.write_bytes(packed(*header_of(held)))
    return path


def base_of(folder: Path, W: np.ndarray, path: str = IN_BASE) -> BaseModel:
    save(folder / "base" / "model.safetensors", {f"{path}.weight": W})
    return open_base(folder / "base")


def load(folder: Path, roles: Arrays, base: BaseModel | None = None) -> Adapter:
    file = save(folder / "a.safetensors", {f"{U}.{role}": a for role, a in roles.items()})
    return deltalens.load(file, base=base)


def change(adapter: Adapter) -> np.ndarray:
    """The one module's update as the base stores it."""
    (key,) = adapter
    return adapter[key].dense().reshape(adapter.specs[key].stored)


def tucker(rng: np.random.Generator, *kernel: int) -> tuple[Arrays, np.ndarray]:
    """A convolution of three factors, and its change number by number."""
    ones = (1,) * len(kernel)
    down, up = rng.standard_normal((2, 4, *ones)), rng.standard_normal((5, 2, *ones))
    mid = rng.standard_normal((2, 2, *kernel))
    dW = np.zeros((5, 4, *kernel))
    for o, i, p, q in product(range(5), range(4), range(2), range(2)):
        dW[o, i] += up[o, p].item() * down[q, i].item() * mid[p, q]
    return {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid}, dW


@pytest.mark.parametrize("kernel", [(3, 2), (3,)])
def test_convolutions_of_three_factors(
    kernel: tuple[int, ...], tmp_path: Path, rng: np.random.Generator
) -> None:
    roles, dW = tucker(rng, *kernel)
    adapter = load(tmp_path, roles | {"alpha": np.array(3, "<i8")})
    np.testing.assert_allclose(change(adapter), 1.5 * dW)
    (spec,) = adapter.specs.values()
    assert (spec.rank, adapter.provenance.format) == (2, "kohya-lora")
    assert spec.gauge == "a convolution of three factors: no two of them are of training"


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("method", ["linear", "convolution", "three factors", "LoHa", "LoKr"])
def test_weight_decomposition(
    method: str, side: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Lengths of the rows, or of the input channels, of the changed weight."""
    if method == "three factors":
        roles, dW = tucker(rng, 3, 2)
    elif method == "LoHa":
        names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        roles = {n: rng.standard_normal((5, 2) if n.endswith("a") else (2, 24)) for n in names}
        one, two, three, four = roles.values()
        dW = ((one @ two) * (three @ four)).reshape(5, 4, 3, 2)  # LyCORIS keeps it flat
    elif method == "LoKr":
        roles = {"lokr_w1": rng.standard_normal((5, 2)), "lokr_w2": rng.standard_normal((1, 3))}
        dW = np.kron(*roles.values())
    else:
        in_ = (4, 3, 2) if method == "convolution" else (4,)
        ones = (1,) * (len(in_) - 1)
        roles = {
            "lora_down.weight": rng.standard_normal((2, *in_)),
            "lora_up.weight": rng.standard_normal((5, 2, *ones)),
        }
        down, up = roles.values()
        dW = np.tensordot(up.reshape(5, 2), down, 1)
    W = rng.standard_normal(dW.shape)
    shape = [1] * dW.ndim
    shape[side] = dW.shape[side]
    m = rng.standard_normal(shape)
    roles = {**roles, "dora_scale": m}
    new = W + dW
    for index in range(dW.shape[side]):
        part = new[index] if side == 0 else new[:, index]
        part *= m.ravel()[index] / np.sqrt((part**2).sum())
    base = base_of(tmp_path, W)
    adapter = load(tmp_path, roles, base)
    np.testing.assert_allclose(change(adapter), new - W, atol=1e-12)
    (spec,) = adapter.specs.values()
    assert spec.dense
    row = describe(adapter, base)["modules"][U]
    assert row["norm"] == pytest.approx(np.linalg.norm(new - W))
    with pytest.raises(UnsupportedAdapterError, match="so the base is needed; give --base"):
        load(tmp_path, roles)


def test_full_differences_and_vectors(tmp_path: Path, rng: np.random.Generator) -> None:
    diff, bias, norm = (rng.standard_normal(n) for n in ((5, 4, 3, 3), (5,), (7,)))
    tensors = {
        f"{U}.diff": diff,
        f"{U}.diff_b": bias,
        "lora_unet_norm.w_norm": norm,
        "lora_unet_norm.b_norm": 2 * norm,
        "lora_unet_out.diff": 3 * norm,
    }
    adapter = deltalens.load(save(tmp_path / "a.safetensors", tensors))
    np.testing.assert_array_equal(change(adapter), diff)
    assert adapter.provenance.format == "kohya-full"
    found = {name: read() for name, read in adapter.biases.items() if read is not None}
    assert found.keys() == {U, "lora_unet_norm", "lora_unet_norm.weight", "lora_unet_out.weight"}
    np.testing.assert_array_equal(found[U], bias)
    np.testing.assert_array_equal(found["lora_unet_norm"], 2 * norm)
    np.testing.assert_array_equal(found["lora_unet_norm.weight"], norm)
    np.testing.assert_array_equal(found["lora_unet_out.weight"], 3 * norm)
    warned = load(tmp_path, {"diff": diff, "alpha": np.array(1.0)}).provenance.warnings
    assert warned == ("alpha beside a full difference (diff) is not used",)


@pytest.mark.parametrize("kernel", [(), (3, 2)])
@pytest.mark.parametrize("alpha", [None, 0, 0.02])
def test_oft(
    kernel: tuple[int, ...], alpha: float | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    blocks, W = rng.standard_normal((3, 2, 2)), rng.standard_normal((6, 4, *kernel))
    rescale = rng.standard_normal((6, 1, *(1 for _ in kernel)))
    roles = {"oft_blocks": blocks, "rescale": rescale}
    roles |= {} if alpha is None else {"alpha": np.array(alpha)}
    Q = blocks - blocks.transpose(0, 2, 1)
    if alpha:
        Q *= min(1.0, 6 * alpha / (np.sqrt((Q**2).sum()) + 1e-8))
    new = np.zeros_like(W)
    for k in range(3):
        R = (np.eye(2) + Q[k]) @ np.linalg.inv(np.eye(2) - Q[k])
        np.testing.assert_allclose(R @ R.T, np.eye(2), atol=1e-14)
        for n, m in product(range(2), range(2)):
            new[2 * k + m] += R[n, m] * W[2 * k + n]
    adapter = load(tmp_path, roles, base_of(tmp_path, W))
    np.testing.assert_allclose(change(adapter), rescale * new - W, atol=1e-13)
    told = ("alpha 0 of OFT read as no bound on the turn, as LyCORIS writes it",)
    assert adapter.provenance.warnings == (told if alpha == 0 else ())
    assert adapter.provenance.format == "kohya-oft"


@pytest.mark.parametrize("kernel", [(), (3, 2)])
def test_glora(kernel: tuple[int, ...], tmp_path: Path, rng: np.random.Generator) -> None:
    ones = (1,) * len(kernel)
    shapes = ((4, 2, *ones), (2, 4, *ones), (5, 2, *ones), (2, 4, *kernel))
    names = ("a1", "a2", "b1", "b2")
    a1, a2, b1, b2 = factors = [rng.standard_normal(shape) for shape in shapes]
    W = rng.standard_normal((5, 4, *kernel))
    dW = np.tensordot(b1.reshape(5, 2), b2, 1)
    mixing = a1.reshape(4, 2) @ a2.reshape(2, 4)
    for i, j in product(range(4), range(4)):
        dW[:, j] += W[:, i] * mixing[i, j]
    roles = {f"{name}.weight": f for name, f in zip(names, factors, strict=True)}
    adapter = load(tmp_path, roles | {"alpha": np.array(3.0)}, base_of(tmp_path, W))
    np.testing.assert_allclose(change(adapter), 1.5 * dW, atol=1e-13)
    assert adapter.provenance.details["scaling"] == [1.5]


@pytest.mark.parametrize("kernel", [(), (3, 2)])
@pytest.mark.parametrize("on_input", [0, 1])
def test_ia3(
    kernel: tuple[int, ...], on_input: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    W = rng.standard_normal((5, 4, *kernel))
    scale = rng.standard_normal(W.shape[on_input])
    dW = np.array(W)
    for index, factor in enumerate(scale):
        dW[(slice(None), index) if on_input else index] *= factor
    roles = {"weight": scale, "on_input": np.array(on_input, "<i8")}
    adapter = load(tmp_path, roles, base_of(tmp_path, W))
    np.testing.assert_allclose(change(adapter), dW)


def test_the_base_is_found_by_its_own_names_too(tmp_path: Path, rng: np.random.Generator) -> None:
    W = rng.standard_normal((3, 4))
    roles = {"weight": rng.standard_normal(3), "on_input": np.array(0.0)}
    tensors = {f"model.q.{role}": array for role, array in roles.items()}
    base = base_of(tmp_path, W, "model.q")
    adapter = deltalens.load(save(tmp_path / "a.safetensors", tensors), base=base)
    assert list(adapter) == [ModuleKey("model.q")]
    np.testing.assert_allclose(change(adapter), W * roles["weight"][:, None])


LORA: dict[str, tuple[int, ...]] = {"lora_down.weight": (2, 4), "lora_up.weight": (3, 2)}
GLORA = {"a1.weight": (4, 2), "a2.weight": (2, 4), "b1.weight": (3, 2), "b2.weight": (2, 4)}


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (
            LORA | {"dora_scale": (4, 1)},
            "dora_scale [4, 1]; the base has [3, 4], which takes [3, 1",
        ),
        (LORA | {"dora_scale": (3,)}, "has shape [3]; 2 or 3 or 4 axes are allowed"),
        (LORA | {"rescale": (3, 1)}, "has a rescale and no oft_blocks"),
        ({"dora_scale": (3, 1), "diff": (3, 4)}, "has a dora_scale and no factors"),
        ({"diff": (3, 5)}, "is [3, 5]; the base"),
        ({"diff": (3, 4, 1, 1, 1)}, "has shape [3, 4, 1, 1, 1]; 2 or 3 or 4 axes are allowed"),
        ({"diff_b": (3,)}, "holds 1 changes of vectors, and of no matrix"),
        ({"diff_b": (3, 1), "diff": (3, 4)}, "has shape [3, 1]; 1 axes are allowed"),
        (
            {"oft_blocks": (2, 2, 2)},
            "oft_blocks is [2, 2, 2], which makes no square blocks of the 3",
        ),
        ({"oft_blocks": (3, 2, 2, 2)}, "has shape [3, 2, 2, 2]; 3 axes are allowed"),  # BOFT
        ({"oft_blocks": (1, 3, 3), "rescale": (2, 1)}, "rescale is [2, 1]; the base has 3 outputs"),
        (GLORA | {"a1.weight": (5, 2)}, "the inputs must agree; found a1 5, a2 4, b2 4, base 4"),
        (GLORA | {"b1.weight": (3, 1)}, "the ranks must agree; found a1 2, a2 2, b1 1, b2 2"),
        ({"a1.weight": (4, 2)}, "but no a2.weight"),
        ({"q_layer.weight": (3, 3), **LORA}, "belongs to T-LoRA"),
        ({"bm.weight": (2, 2, 1, 1), **GLORA}, "GLoRA with a third factor (bm)"),
        ({"on_input": (), "weight": (5,)}, "the sizes must agree; found weight 5, base 4"),
        ({"on_input": (2,), "weight": (4,)}, "has shape [2]; one number is needed"),
        ({"weight": (3,), "diff_b": (3,)}, "but no on_input"),
        ({"lora_mid.weight": (2, 2, 3), **LORA}, "is [3, 4, 3]; the base"),
        (
            {"lora_mid.weight": (2, 3, 3), **LORA},
            "found down 2, up 2, mid (first) 2, mid (second) 3",
        ),
        (
            {**LORA, "lora_mid.weight": (2, 2, 3, 3), "lora_down.weight": (2, 4, 3, 3)},
            "beside lora_mid it has a window of 1",
        ),
        ({"lora_mid.weight": (2, 2, 3, 3), "lora_up.weight": (3, 2)}, "but no down"),
    ],
)
def test_what_is_refused(roles: dict[str, tuple[int, ...]], message: str, tmp_path: Path) -> None:
    base = base_of(tmp_path, np.ones((3, 4)))
    with pytest.raises(AdapterError) as caught:
        load(tmp_path, {role: np.ones(shape) for role, shape in roles.items()}, base)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_base_does_not_hold(tmp_path: Path) -> None:
    roles = {role: np.ones(shape) for role, shape in LORA.items()} | {"dora_scale": np.ones((3, 1))}
    base = base_of(tmp_path, np.ones((3, 4)), "down_blocks.0.attn.to_k")
    with pytest.raises(AdapterError, match=r"is no module of the base .*, or several; dora_scale"):
        load(tmp_path, roles, base)


def test_a_flag_that_is_none(tmp_path: Path) -> None:
    roles = {"weight": np.ones(3), "on_input": np.array(2, "<i8")}
    with pytest.raises(AdapterError, match=r"on_input is 2; 0 or 1 is allowed"):
        load(tmp_path, roles, base_of(tmp_path, np.ones((3, 4))))
