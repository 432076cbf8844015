"""Files of mlx-lm, kohya, LyCORIS and diffusers against their documented formulas, written out.

Beside these, mlx-lm 0.32's own `fuse` and LyCORIS 4.1's own `get_weight` gave the same numbers to
float32's precision when the readers were written; neither tool is needed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import header_of, packed, stored

import deltalens
from deltalens.core.keys import ModuleKey
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import open_base
from deltalens.io.read import distinct_names, is_adapter

MLX = {"fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 2.5, "dropout": 0.0}}
Q = "model.layers.0.self_attn.q_proj"
Arrays = Mapping[str, np.ndarray]


def save(path: Path, tensors: Arrays, metadata: Any = "absent") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header, data = header_of({name: stored(np.ascontiguousarray(a)) for name, a in tensors.items()})
    if metadata != "absent":
        header = {"__metadata__": metadata} | header
    path.write_bytes(packed(header, data))
    return path


def mlx(folder: Path, tensors: Arrays, **fields: Any) -> Path:
    save(folder / "adapters.safetensors", tensors, metadata=None)  # as mlx writes it
    (folder / "adapter_config.json").write_text(json.dumps({**MLX, **fields}))
    return folder


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def slow_product(scale: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`scale * (x a) b` for every unit input x, one number at a time; `(out, in)`."""
    dW = np.zeros((b.shape[1], a.shape[0]))
    for o in range(dW.shape[0]):
        for i in range(dW.shape[1]):
            dW[o, i] = scale * sum(a[i, k] * b[k, o] for k in range(a.shape[1]))
    return dW


def test_mlx_uses_its_scale_as_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    a, b = draw(rng, 5, 2), draw(rng, 2, 3)
    folder = mlx(tmp_path / "m", {f"{Q}.lora_a": a, f"{Q}.lora_b": b}, model="org/base")
    adapter = deltalens.load(folder)
    assert (adapter.name, adapter.base_model) == ("m", "org/base")
    assert adapter.provenance.format == "mlx-lora"
    assert adapter.provenance.details["scaling"] == [2.5]
    assert adapter.provenance.warnings == ()
    np.testing.assert_allclose(adapter[ModuleKey(Q)].dense(), slow_product(2.5, a, b))
    assert adapter.specs[ModuleKey(Q)].gauge == "training"
    np.testing.assert_array_equal(adapter[ModuleKey(Q)].A, a.T)


def test_mlx_embeddings_are_stored_by_token(tmp_path: Path, rng: np.random.Generator) -> None:
    a, b = draw(rng, 7, 2), draw(rng, 2, 4)
    tensors = {"model.embed_tokens.lora_a": a, "model.embed_tokens.lora_b": b}
    adapter = deltalens.load(mlx(tmp_path, tensors))
    (key,) = adapter
    assert adapter.specs[key].stored == (7, 4)
    np.testing.assert_allclose(adapter[key].dense().T, 2.5 * a @ b)


def test_mlx_experts(tmp_path: Path, rng: np.random.Generator) -> None:
    a, b = draw(rng, 3, 2, 5), draw(rng, 3, 4, 2)
    adapter = deltalens.load(mlx(tmp_path, {"m.switch.lora_a": a, "m.switch.lora_b": b}))
    assert [key.expert for key in adapter] == [0, 1, 2]
    for key in adapter:
        assert key.expert is not None
        np.testing.assert_allclose(adapter[key].dense(), 2.5 * b[key.expert] @ a[key.expert])


def test_mlx_dora_needs_the_base(tmp_path: Path, rng: np.random.Generator) -> None:
    a, b, m = draw(rng, 5, 2), draw(rng, 2, 3), draw(rng, 3)
    tensors = {f"{Q}.lora_a": a, f"{Q}.lora_b": b, f"{Q}.m": m}
    folder = mlx(tmp_path / "m", tensors, fine_tune_type="dora")
    with pytest.raises(UnsupportedAdapterError, match=r"the base is needed; give --base"):
        deltalens.load(folder)
    W = draw(rng, 3, 5)
    save(tmp_path / "base" / "model.safetensors", {f"{Q}.weight": W})
    adapter = deltalens.load(folder, base=open_base(tmp_path / "base"))
    new = W + slow_product(2.5, a, b)
    for row in range(3):
        new[row] *= m[row] / np.sqrt(sum(new[row] ** 2))
    np.testing.assert_allclose(adapter[ModuleKey(Q)].dense(), new - W)
    assert adapter.specs[ModuleKey(Q)].gauge != "training"


def test_mlx_old_alpha_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    tensors = {f"{Q}.lora_a": draw(rng, 5, 2), f"{Q}.lora_b": draw(rng, 2, 3)}
    fields = {"rank": 2, "scale": 10.0, "alpha": 16}
    (warning,) = deltalens.load(mlx(tmp_path, tensors, lora_parameters=fields)).provenance.warnings
    assert warning.startswith("alpha 16 in the config: mlx-lm uses scale 10 as it is")


@pytest.mark.parametrize(
    ("tensors", "fields", "message"),
    [
        ({}, {"lora_parameters": {"rank": 2}}, "lora_parameters has no scale"),
        ({}, {"lora_parameters": {"scale": "2"}}, "scale must be a finite number; found '2'"),
        ({}, {"fine_tune_type": "full"}, "fine_tune_type 'full' keeps weights, not changes; give"),
        ({}, {"fine_tune_type": "x"}, "fine_tune_type 'x' is not known; lora, dora and full are"),
        ({}, {"fine_tune_type": "dora"}, "has no magnitude m; the config says dora"),
        ({}, {"lora_parameters": {"rank": 3, "scale": 1}}, "rank 2 in the tensors and 3 in the"),
        ({f"{Q}.lora_b": None}, {}, "has model.layers.0.self_attn.q_proj.lora_a but no lora_b"),
        ({f"{Q}.lora_b": (3, 3)}, {}, "the inner ranks must agree; found lora_a 2, lora_b 3"),
        ({f"{Q}.lora_b": (3,)}, {}, "has shape [3]; 2 axes are allowed"),
        ({f"{Q}.lora_a": (0, 2)}, {}, "is empty [0, 2]"),
        ({f"{Q}.m": (3,)}, {}, "has a magnitude m; the config says lora"),
        ({"lm_head.weight": (3, 3)}, {}, "lm_head.weight belongs to a full fine-tune"),
        ({"x.strange": (3,)}, {}, "tensor x.strange is not understood"),
    ],
)
def test_what_mlx_is_refused(
    tensors: dict[str, Any], fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    shapes: dict[str, Any] = {f"{Q}.lora_a": (5, 2), f"{Q}.lora_b": (2, 3)} | tensors
    held = {name: np.ones(shape) for name, shape in shapes.items() if shape is not None}
    with pytest.raises(AdapterError) as caught:
        deltalens.load(mlx(tmp_path, held, **fields))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_numpy_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapters.npz").write_bytes(b"PK")
    with pytest.raises(UnsupportedAdapterError, match="numpy archives are not read"):
        deltalens.load(tmp_path)


U = "lora_unet_down_blocks_0_attentions_0_to_q"


def pair(rng: np.random.Generator, path: str = U) -> dict[str, np.ndarray]:
    return {f"{path}.lora_down.weight": draw(rng, 2, 5), f"{path}.lora_up.weight": draw(rng, 3, 2)}


@pytest.mark.parametrize("alpha", [None, 3.0, 0.0, -1.5])
def test_kohya_scale(alpha: float | None, tmp_path: Path, rng: np.random.Generator) -> None:
    tensors = pair(rng) | ({} if alpha is None else {f"{U}.alpha": np.array(alpha)})
    file = save(tmp_path / "style.safetensors", tensors, {"ss_base_model_version": "sdxl_v1"})
    adapter = deltalens.load(file)
    assert (adapter.name, adapter.base_model) == ("style", "sdxl_v1")
    assert adapter.provenance.format == "kohya-lora"
    down, up = tensors.values() if alpha is None else list(tensors.values())[:2]
    scale = 1.0 if alpha is None else alpha / 2
    np.testing.assert_allclose(adapter[ModuleKey(U)].dense(), slow_product(scale, down.T, up.T))
    assert len(adapter.provenance.warnings) == (alpha == 0.0)


def test_kohya_convolution(tmp_path: Path, rng: np.random.Generator) -> None:
    down, up = draw(rng, 2, 4, 3, 2), draw(rng, 5, 2, 1, 1)
    tensors = {f"{U}.lora_down.weight": down, f"{U}.lora_up.weight": up}
    adapter = deltalens.load(save(tmp_path / "a.safetensors", tensors))
    spec = adapter.specs[ModuleKey(U)]
    assert spec.stored == (5, 4, 3, 2)
    dW = np.einsum("rihw,orab->oihw", down, up)
    np.testing.assert_allclose(adapter[ModuleKey(U)].dense().reshape(dW.shape), dW)


def test_lycoris_loha(tmp_path: Path, rng: np.random.Generator) -> None:
    w = {
        f"{U}.hada_w{i}_{s}": draw(rng, *n) for i in "12" for s, n in (("a", (5, 2)), ("b", (2, 6)))
    }
    tensors = w | {f"{U}.alpha": np.array([3.0])}
    adapter = deltalens.load(save(tmp_path / "a.safetensors", tensors))
    assert adapter.provenance.format == "kohya-loha"
    one = w[f"{U}.hada_w1_a"] @ w[f"{U}.hada_w1_b"]
    two = w[f"{U}.hada_w2_a"] @ w[f"{U}.hada_w2_b"]
    np.testing.assert_allclose(adapter[ModuleKey(U)].dense(), 1.5 * one * two)


@pytest.mark.parametrize("whole", [True, False])
def test_lycoris_lokr(whole: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    """Two whole matrices have a scale of 1, whatever alpha says."""
    w1, w2a, w2b = draw(rng, 2, 3), draw(rng, 6, 2), draw(rng, 2, 5)
    second = {"lokr_w2": w2a @ w2b} if whole else {"lokr_w2_a": w2a, "lokr_w2_b": w2b}
    tensors = {"lokr_w1": w1, "alpha": np.array(3.0)} | second
    named = {f"{U}.{role}": tensor for role, tensor in tensors.items()}
    adapter = deltalens.load(save(tmp_path / "a.safetensors", named))
    dW = (1.0 if whole else 1.5) * np.kron(w1, w2a @ w2b)
    np.testing.assert_allclose(adapter[ModuleKey(U)].dense(), dW, atol=1e-13)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{U}.dora_scale": (3, 1)}, "sets the changed weight's own lengths, so the base is"),
        ({f"{U}.diff": (3, 5)}, "mixes diff, lora; one method a module is read"),
        ({f"{U}.scalar": ()}, "belongs to a trained scalar, which is not read here"),
        ({f"{U}.lora_up.bias": (3,)}, "belongs to biases of LoRA factors"),
        ({f"{U}.hada_w1_a": (3, 2)}, "mixes hada, lora; one method a module is read"),
        ({"lora_te.alpha": ()}, "lora_te has an alpha and nothing else"),
        ({f"{U}.alpha": (2,)}, "has shape [2]; alpha is one number"),
        ({f"{U}.lora_up.weight": (3, 4)}, "the inner ranks must agree; found down 2, up 4"),
        ({f"{U}.lora_up.weight": (3, 2, 3, 3)}, "has a window of 1"),
        ({f"{U}.lora_up.weight": None}, "but no up"),
        ({f"{U}.lora_A.weight": (2, 5)}, "are the same factor of"),
        ({"strange": (2,)}, "tensor strange is not understood"),
    ],
)
def test_what_kohya_is_refused(tensors: dict[str, Any], message: str, tmp_path: Path) -> None:
    shapes: dict[str, Any] = {f"{U}.lora_down.weight": (2, 5), f"{U}.lora_up.weight": (3, 2)}
    held = {n: np.ones(shape) for n, shape in (shapes | tensors).items() if shape is not None}
    with pytest.raises(AdapterError) as caught:
        deltalens.load(save(tmp_path / "a.safetensors", held))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


SPELLINGS = (
    ("unet.b.0.attn1.to_q", "{}.lora.down.weight", "{}.lora.up.weight"),
    ("unet.b.0.attn1.processor.to_q", "{}_lora.down.weight", "{}_lora.up.weight"),
    ("text_encoder.q_proj", "{}.lora_linear_layer.down.weight", "{}.lora_linear_layer.up.weight"),
    ("transformer.b.0.to_q", "{}.lora_A.weight", "{}.lora_B.weight"),
)


@pytest.mark.parametrize(("path", "down_name", "up_name"), SPELLINGS)
@pytest.mark.parametrize("alpha", [None, 5.0])
def test_diffusers(
    path: str,
    down_name: str,
    up_name: str,
    alpha: float | None,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    down, up = draw(rng, 2, 5), draw(rng, 3, 2)
    tensors = {down_name.format(path): down, up_name.format(path): up}
    tensors |= {} if alpha is None else {f"{path}.alpha": np.array(alpha)}
    save(tmp_path / "d" / "pytorch_lora_weights.safetensors", tensors)
    adapter = deltalens.load(tmp_path / "d")
    assert (adapter.name, adapter.provenance.format) == ("d", "diffusers-lora")
    scale = 1.0 if alpha is None else alpha / 2
    np.testing.assert_allclose(adapter[ModuleKey(path)].dense(), scale * up @ down)


def test_diffusers_trusts_the_config_in_the_header(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    down, up, path = draw(rng, 2, 5), draw(rng, 3, 2), "transformer.b.0.to_q"
    tensors = {f"{path}.lora_A.weight": down, f"{path}.lora_B.weight": up}
    told = {"transformer.r": 4, "transformer.lora_alpha": 6, "transformer.use_rslora": True}
    told |= {"transformer.rank_pattern": {"b.0.to_q": 2}}

    def load(**changes: Any) -> deltalens.Adapter:
        metadata = {"lora_adapter_metadata": json.dumps(told | changes)}
        return deltalens.load(save(tmp_path / "a.safetensors", tensors, metadata))

    np.testing.assert_allclose(load()[ModuleKey(path)].dense(), 6 / np.sqrt(2) * up @ down)
    for changes, message in (
        ({"transformer.rank_pattern": {}}, "the ranks must agree; found config 4, down 2"),
        ({"transformer.use_dora": True}, "DoRA (use_dora) is not read here"),
        ({"transformer.r": "4"}, "r must be a whole number from 1 up; found '4'"),
    ):
        with pytest.raises(AdapterError) as caught:
            load(**changes)
        assert message in str(caught.value)


def test_files_in_one_folder_are_named_after_themselves(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    files = [save(tmp_path / f"{name}.safetensors", pair(rng)) for name in "ab"]
    assert distinct_names(files) == ["a", "b"]
    assert all(is_adapter(file) for file in files)
    assert not is_adapter(tmp_path)


def test_a_file_of_nobody_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", {"x.weight": np.ones((2, 2))})
    with pytest.raises(AdapterError, match=r"x.weight is no name of kohya, LyCORIS or diffusers"):
        deltalens.load(file)


def test_a_lone_peft_file_says_what_it_lacks(tmp_path: Path) -> None:
    names = (f"base_model.model.{Q}.lora_A.weight", f"base_model.model.{Q}.lora_B.weight")
    file = save(tmp_path / "a.safetensors", dict.fromkeys(names, np.ones((2, 2))))
    with pytest.raises(AdapterError, match=r"has no adapter_config.json beside it"):
        deltalens.load(file)
