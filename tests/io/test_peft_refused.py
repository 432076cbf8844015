"""Methods whose update is not `s B A` are refused by name, in files that PEFT itself wrote."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import CONFIG, Q, pair, refused, stored, write

import deltalens
from conftest import make_llama, save_peft
from deltalens.errors import UnsupportedAdapterError

FIELDS: dict[str, tuple[object, str]] = {
    "use_qalora": (True, "QALoRA"),
    "use_bdlora": ({"target_modules_bd_a": []}, "BD-LoRA"),
    "arrow_config": ({"top_k": 3}, "Arrow routing"),
    "kasa_config": ({"beta": 1e-4}, "KaSA"),
    "monteclora_config": ({"a": 1}, "MonteCLoRA"),
    "velora_config": ({"a": 1}, "VeLoRA"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_refused_by_the_field_that_changes_the_update(field: str, tmp_path: Path) -> None:
    value, match = FIELDS[field]
    folder = write(tmp_path / "a", config={**CONFIG, field: value})
    refused(folder, rf"{match} \({field}\) is not read; LoRA is", UnsupportedAdapterError)


def test_a_randomised_initialisation_cannot_be_rebuilt(tmp_path: Path) -> None:
    import torch

    base = make_llama().to(torch.float32)
    folder = save_peft(base, tmp_path / "a", init_lora_weights="pissa_niter_2")
    refused(folder, "'pissa_niter_2' is not read: what it takes out", UnsupportedAdapterError)


@pytest.mark.parametrize("value", ["corda", "lora_ga", "loftq", "new", None, 3, {}, ["true"]])
def test_other_initialisations_are_refused(value: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", config={**CONFIG, "init_lora_weights": value})
    refused(folder, "init_lora_weights .* is not read: what it takes out", UnsupportedAdapterError)


def test_plain_initialisations_are_read(tmp_path: Path) -> None:
    for value in (True, False, "gaussian", "eva", "orthogonal", "mica"):
        folder = write(tmp_path / "a", config={**CONFIG, "init_lora_weights": value})
        assert len(deltalens.load(folder)) == 1


def other_methods() -> dict[str, Any]:
    import peft

    return {
        "LN_TUNING": peft.LNTuningConfig(target_modules=["input_layernorm"]),
        "PROMPT_TUNING": peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
        "PREFIX_TUNING": peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    }


@pytest.mark.parametrize("method", ["LN_TUNING", "PROMPT_TUNING", "PREFIX_TUNING"])
def test_other_peft_types_are_refused_by_name(method: str, tiny_llama: Any, tmp_path: Path) -> None:
    from peft import get_peft_model

    folder = tmp_path / "other"
    get_peft_model(copy.deepcopy(tiny_llama), other_methods()[method]).save_pretrained(folder)
    refused(folder, f"peft_type '{method}'", UnsupportedAdapterError)


@pytest.mark.parametrize("value", ["lora", "X" * 1000, "a\nb", 7, None, []])
def test_an_unknown_peft_type_is_refused(value: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", config={**CONFIG, "peft_type": value})
    refused(folder, "peft_type .* is not read; LORA, ", UnsupportedAdapterError)


TENSORS = {
    f"{Q}.lora_A.bias": "not understood",
    f"{Q}.lora_embedding_C": "not understood",
    f"{Q}.base_layer.lora_A.weight": "not understood",
    "base_model.model.model.embed_tokens.token_adapter.weight": "not understood",
    f"{Q}.hada_w1_a": "LoHa",
    f"{Q}.lokr_w1": "LoKr",
    f"{Q}.lora_E": "AdaLoRA",
    f"{Q}.vera_lambda_d": "VeRA",
    f"{Q}.ia3_l": "IA3",
    f"{Q}.oft_R.weight": "OFT or BOFT",
    "lora_unet_down.lora_down.weight": "kohya or diffusers keys",
    "model.layers.0.self_attn.q_proj.lora_a": "mlx-lm keys",
    f"{Q}.lora_C.weight": "is not understood",
    f"{Q}.lora_A.weight\n": "is not understood",
    ".lora_A.weight": "is not understood",
    "": "is not understood",
}


@pytest.mark.parametrize("name", TENSORS)
def test_every_tensor_is_measured_or_refused(name: str, tmp_path: Path) -> None:
    tensors = {**pair(), name: stored(np.ones((2, 2), "<f4"))}
    what = TENSORS[name]
    unknown = what.endswith("not understood")
    error = deltalens.errors.AdapterError if unknown else UnsupportedAdapterError
    refused(write(tmp_path / "a", tensors), what, error)


def test_copies_of_base_weights_are_ignored_and_counted(tmp_path: Path) -> None:
    copies = {
        "base_model.model.model.embed_tokens.base_layer.weight": stored(np.ones((9, 4), "<f4")),
        f"{Q}.base_layer.bias": stored(np.ones(3, "<f4")),
    }
    adapter = deltalens.load(write(tmp_path / "a", {**pair(), **copies}))
    assert len(adapter) == 1
    assert adapter.provenance.warnings == ("ignored copies of base weights (base_layer): 2",)


@pytest.mark.parametrize(
    ("field", "value", "warning"),
    [
        ("alora_invocation_tokens", [1], "aLoRA: the update acts only after its invocation tokens"),
        ("layer_replication", [[0, 1]], "layer_replication: layer numbers are those of the repl"),
        ("megatron_config", {"a": 1}, "megatron_config is set"),
        ("use_future", True, "config fields not known here and ignored: use_future"),
        ("evil\u202e\n", 1, "config fields not known here and ignored: evil "),
    ],
)
def test_what_is_computed_with_a_warning(
    field: str, value: object, warning: str, tmp_path: Path
) -> None:
    adapter = deltalens.load(write(tmp_path / "a", config={**CONFIG, field: value}))
    (found,) = adapter.provenance.warnings
    assert found.startswith(warning)
