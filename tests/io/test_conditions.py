"""Replicated layers, aLoRA and quantised bases against PEFT's own; mlx-lm's full fine-tunes."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft_cases import LINEAR, deltas, llama, save_base
from raw_files import header_of, packed, stored

import deltalens
from deltalens.core.keys import ModuleKey
from deltalens.errors import AdapterError, OptionError, UnsupportedAdapterError
from deltalens.io.base import open_base
from deltalens.studies.export import export
from deltalens.studies.inspect.describe import describe

Q = "model.layers.0.self_attn.q_proj"


def saved(model: Any, folder: Path, **fields: Any) -> Any:
    """An adapter of random numbers, saved and loaded again by PEFT itself."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    options: dict[str, Any] = {"r": 2, "lora_alpha": 5, "target_modules": LINEAR, **fields}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        wrapped = get_peft_model(
            copy.deepcopy(model), LoraConfig(**options), autocast_adapter_dtype=False
        )
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn_like(parameter)
        wrapped.save_pretrained(folder)
        return PeftModel.from_pretrained(
            copy.deepcopy(model), str(folder), autocast_adapter_dtype=False
        )


def weights(wrapped: Any) -> dict[str, np.ndarray]:
    return {path.removesuffix(".weight"): dW for path, dW in deltas(wrapped).items()}


def test_replicated_layers(tmp_path: Path) -> None:
    """Copies share one weight, to which PEFT's merge adds all of them: deltas are the truth."""
    model = llama()
    base = open_base(save_base(model, tmp_path / "base"))
    replication = [[0, 2], [0, 1], [1, 2]]
    wrapped = saved(model, tmp_path / "a", layer_replication=replication)
    true = weights(wrapped)
    adapter = deltalens.load(tmp_path / "a", base=base)
    assert {str(key) for key in adapter} == true.keys()
    assert {key.layer for key in adapter} == {0, 1, 2, 3}
    for key, update in adapter.items():
        np.testing.assert_allclose(update.dense(), true[str(key)], rtol=0, atol=1e-13)
    assert any("layer_replication" in warning for warning in adapter.provenance.warnings)
    assert len(describe(adapter, base)["modules"]) == 8
    with pytest.raises(OptionError, match="leave --base out"):
        deltalens.compare([tmp_path / "a"], base=tmp_path / "base")


def test_replicated_layers_take_the_weights_they_are_copies_of(tmp_path: Path) -> None:
    """DoRA needs each layer's weight: layer 2 of [[0, 2], [0, 1]] is the base's layer 0."""
    model = llama()
    base = open_base(save_base(model, tmp_path / "base"))
    wrapped = saved(
        model, tmp_path / "a", layer_replication=[[1, 2], [0, 1], [1, 2]], use_dora=True
    )
    adapter = deltalens.load(tmp_path / "a", base=base)
    plain = weights(wrapped)
    for name, module in wrapped.named_modules():
        if hasattr(module, "get_delta_weight"):
            path = name.removeprefix("base_model.model.")
            W = module.get_base_layer().weight.detach().numpy()
            m = module.lora_magnitude_vector["default"].weight.detach().numpy()
            new = W + plain[path]
            new *= (m / np.linalg.norm(new, axis=1))[:, None]
            found = adapter[ModuleKey(path)].dense()
            np.testing.assert_allclose(found, new - W, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [3, [[0]], [[2, 1]], [[0, "1"]], [[0, 10**9]], [[True, 2]]])
def test_what_is_no_replication(value: Any, tmp_path: Path) -> None:
    saved(llama(), tmp_path / "a")
    rewritten(tmp_path / "a", layer_replication=value)
    with pytest.raises(AdapterError, match=r"layer_replication must be pairs \[start, end\]"):
        deltalens.load(tmp_path / "a")


def rewritten(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_alora_adds_its_delta_after_the_invocation(tmp_path: Path) -> None:
    """PEFT has no merge for it: its delta, and its forward at a token after the invocation."""
    import torch

    model = llama()
    wrapped = saved(model, tmp_path / "a", alora_invocation_tokens=[3, 4], task_type="CAUSAL_LM")
    adapter = deltalens.load(tmp_path / "a")
    for path, dW in weights(wrapped).items():
        np.testing.assert_allclose(adapter[ModuleKey(path)].dense(), dW, rtol=0, atol=1e-13)
    assert "aLoRA: the update acts only after its invocation tokens" in adapter.provenance.warnings
    seen: dict[str, Any] = {}
    layer = dict(wrapped.named_modules())[f"base_model.model.{Q}"]
    layer.register_forward_hook(lambda _m, args, out: seen.update(x=args[0], y=out))
    with torch.no_grad():
        wrapped(input_ids=torch.tensor([[5, 6, 3, 4, 7, 8]]))
    x, y = seen["x"][0].numpy(), seen["y"][0].numpy()
    change = y - x @ layer.get_base_layer().weight.detach().numpy().T
    dW = adapter[ModuleKey(Q)].dense()
    np.testing.assert_allclose(change[4:], x[4:] @ dW.T, atol=1e-12)
    np.testing.assert_array_equal(change[:2], 0)


def test_a_base_that_a_quantiser_packed(tmp_path: Path) -> None:
    """Plain LoRA is what it is on any base; what needs the base's weights is refused."""
    model = llama()
    wrapped = saved(model, tmp_path / "a")
    true = weights(wrapped)
    folder = tmp_path / "base"
    folder.mkdir()
    tensors = {f"{path}.weight": ("U8", [4, 1], b"1234") for path in true}
    (folder / "model.safetensors").write_bytes(packed(*header_of(tensors)))
    (folder / "config.json").write_text('{"quantization_config": {"load_in_4bit": true}}')
    base = open_base(folder)
    adapter = deltalens.load(tmp_path / "a", base=base)
    for key, update in adapter.items():
        np.testing.assert_allclose(update.dense(), true[str(key)], rtol=0, atol=1e-13)
    assert len(describe(adapter, base)["modules"]) == len(true)
    (warning,) = [w for w in adapter.provenance.warnings if "packed" in w]
    assert warning.endswith(
        "and 3 more: the base holds packed (quantised) weights: shapes not checked"
    )
    saved(model, tmp_path / "dora", use_dora=True)
    with pytest.raises(AdapterError, match=r"the base .* has"):
        deltalens.load(tmp_path / "dora", base=base)


def full(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    held = {name: stored(array) for name, array in tensors.items()}
    (folder / "adapters.safetensors").write_bytes(packed(*header_of(held)))
    (folder / "adapter_config.json").write_text('{"fine_tune_type": "full", "num_layers": 1}')
    return folder


def test_a_full_fine_tune_of_mlx(tmp_path: Path, rng: np.random.Generator) -> None:
    shapes = {f"{Q}.weight": (4, 6), "model.layers.0.norm.weight": (6,), "lm_head.weight": (7, 6)}
    before = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    after = {name: W + 0.1 for name, W in before.items() if name != "lm_head.weight"}
    (tmp_path / "base").mkdir()
    held = {name: stored(array) for name, array in before.items()}
    (tmp_path / "base" / "model.safetensors").write_bytes(packed(*header_of(held)))
    folder = full(tmp_path / "ft", after)
    with pytest.raises(UnsupportedAdapterError, match=r"keeps weights, not changes; give .*--base"):
        deltalens.load(folder)
    adapter = deltalens.load(folder, base=open_base(tmp_path / "base"))
    assert (adapter.name, adapter.provenance.format) == ("ft", "mlx-full")
    assert list(adapter) == [ModuleKey(Q)]
    np.testing.assert_allclose(adapter[ModuleKey(Q)].dense(), np.full((4, 6), 0.1))
    (norm,) = adapter.biases.values()
    assert norm is not None
    np.testing.assert_allclose(norm(), np.full(6, 0.1))
    assert adapter.provenance.warnings == ("lm_head.weight only in the base: taken as unchanged",)
    result = export(folder, base=tmp_path / "base", t=[1.0], rank=1, out=tmp_path / "x")
    np.testing.assert_allclose(
        deltalens.load(tmp_path / "x" / "t-1")[ModuleKey(Q)].dense(), 0.1, rtol=1e-6
    )
    assert "ft: left out: 1 vectors (norms, biases)" in result.document["warnings"]
