"""Every PEFT variant on tiny random models, and what PEFT itself makes of each: the truth."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conftest import make_llama
from deltalens.core.adapter import Adapter

Changes = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One variant: a base, the fields of its config, and what of it is checked apart."""

    base: Callable[[], Any]
    fields: Mapping[str, Any]
    dtype: str = "float64"
    atol: float = 1e-9
    needs_base: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


def gpt2(**changes: Any) -> Any:
    """Conv1D layers, one of them square, tied head, learned positions, biases."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 29, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 2}
    return seeded(lambda: GPT2LMHeadModel(GPT2Config(**(sizes | changes))))


def convolutions() -> Any:
    """Windows of 3 x 2 and 1 x 1 over images, and of 3 over sequences."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = torch.nn.Conv2d(3, 5, (3, 2))
            self.point = torch.nn.Conv2d(5, 4, 1)
            self.line = torch.nn.Conv1d(4, 6, 3)

        def forward(self, x: Any) -> Any:
            return self.line(self.point(self.wide(x)).flatten(2))

    return seeded(Net)


def moe(name: str) -> Any:
    """Mixtures of experts: gpt-oss stores (expert, in, out), Qwen3 (expert, out, in)."""
    import transformers as t

    sizes = {
        "vocab_size": 29,
        "hidden_size": 8,
        "intermediate_size": 6,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "max_position_embeddings": 32,
    }
    if name == "gpt_oss":
        config = t.GptOssConfig(**sizes, num_local_experts=3, num_experts_per_tok=2)
        return seeded(lambda: t.GptOssForCausalLM(config))
    if name == "qwen3_moe":
        config = t.Qwen3MoeConfig(
            **sizes, moe_intermediate_size=5, num_experts=3, num_experts_per_tok=2
        )
        return seeded(lambda: t.Qwen3MoeForCausalLM(config))
    config = t.MixtralConfig(**sizes, num_local_experts=3, num_experts_per_tok=2)
    return seeded(lambda: t.MixtralForCausalLM(config))


def seeded(make: Callable[[], Any]) -> Any:
    """A module in float64 with every parameter drawn anew: PEFT's defaults hide many faults."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().to(torch.float64).eval()
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter) * 0.3
    return model


def save_base(model: Any, folder: Path) -> Path:
    """The base as a folder that `open_base` reads."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
        return folder
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def save_variant(case: Case, model: Any, folder: Path, seed: int = 0) -> Path:
    """PEFT trains nothing here: every trainable number is drawn, then saved by PEFT itself."""
    import torch
    from peft import LoraConfig, get_peft_model

    options = {"r": 3, "lora_alpha": 5, "init_lora_weights": True} | dict(case.fields)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        wrapped = get_peft_model(
            copy.deepcopy(model), LoraConfig(**options), autocast_adapter_dtype=False
        )
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad or "lora_" in name:
                drawn = parameter.data + 0.2 * torch.randn_like(parameter)
                if "magnitude" in name:
                    drawn = drawn.abs() + 0.1
                kept = drawn.to(getattr(torch, case.dtype))
                parameter.data = kept if "lora_" in name else drawn
        wrapped.save_pretrained(folder)
    return folder


def deltas(wrapped: Any) -> Changes:
    """What PEFT adds to each weight in its forward: of what it cannot merge, the truth."""
    return {
        f"{name.removeprefix('base_model.model.')}.weight": module.get_delta_weight("default")
        .detach()
        .double()
        .numpy()
        for name, module in wrapped.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def truth(model: Any, folder: Path) -> Changes:
    """What PEFT's own loading and merging changes in the base: parameter -> change in float64.

    Replicated layers share one weight, to which a merge would add the updates of all copies, and
    aLoRA has no merge: there it is what PEFT's forward adds.
    """
    import torch
    from peft import PeftModel

    config = json.loads((folder / "adapter_config.json").read_text())
    if config.get("layer_replication") or config.get("alora_invocation_tokens"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copied = copy.deepcopy(model)
            return deltas(
                PeftModel.from_pretrained(copied, str(folder), autocast_adapter_dtype=False)
            )
    before = {name: p.detach().clone().double().numpy() for name, p in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # float64 after loading: what an initialisation takes out of the base stays in float32
        loaded = PeftModel.from_pretrained(
            copy.deepcopy(model), str(folder), autocast_adapter_dtype=False
        )
        merged = loaded.to(torch.float64).merge_and_unload()
    after = {name: p.detach().numpy() for name, p in merged.named_parameters()}
    assert after.keys() == before.keys()
    return {
        name: after[name] - before[name] for name in before if (after[name] != before[name]).any()
    }


def measured(adapter: Adapter) -> Changes:
    """The same, as deltalens reads it: every update in the layout that the base stores."""
    found: Changes = {}
    stacks: dict[str, list[np.ndarray]] = {}
    for key, update in adapter.items():
        spec = adapter.specs[key]
        dW = update.dense()
        assert update.shape == spec.shape
        assert update.rank == spec.rank
        stored = dW.T if spec.layout.transposed else dW.reshape(spec.stored)
        assert stored.shape == spec.stored
        if key.expert is None:
            found[key.path] = stored
        else:
            assert key.expert == len(stacks.setdefault(key.path, []))
            stacks[key.path].append(stored)
    found |= {path: np.stack(stack) for path, stack in stacks.items()}
    return found | {
        f"{path}.bias": change() for path, change in adapter.biases.items() if change is not None
    }


def deviation(true: Changes, found: Changes) -> float:
    """Largest relative Frobenius error of a change; what is missing or made up counts as 1."""
    worst = 0.0
    named = {name.removesuffix(".weight"): change for name, change in true.items()}
    for name in named.keys() | found.keys():
        if name not in named:
            worst = max(worst, float(found[name].any()))
            continue
        if name not in found or found[name].shape != named[name].shape:
            return 1.0
        off = np.linalg.norm(named[name] - found[name]) / np.linalg.norm(named[name])
        worst = max(worst, float(off))
    return worst


def rewrite_config(folder: Path, **fields: Any) -> Path:
    """Change fields of a saved config."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def biased_llama() -> Any:
    return seeded(lambda: make_llama(attention_bias=True, mlp_bias=True))


def llama() -> Any:
    return seeded(make_llama)


def llama32() -> Any:
    """In float32, as PiSSA needs, and with singular values apart: what was taken is determined."""
    import torch

    model = llama()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data *= torch.linspace(2.0, 0.1, parameter.shape[1]) ** 2
    return model.to(torch.float32)


def tied_llama() -> Any:
    return seeded(lambda: make_llama(tie_word_embeddings=True))


LINEAR = ["q_proj", "down_proj"]
GPT2 = ["c_attn", "c_proj"]
CONVS = ["wide", "point", "line"]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
PATTERNS = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": -4}, "use_rslora": True}

CASES: dict[str, Case] = {
    "linear": Case(llama, {"target_modules": LINEAR}),
    "linear, patterns and rsLoRA": Case(llama, {"target_modules": LINEAR, **PATTERNS}),
    "Conv1D": Case(gpt2, {"target_modules": GPT2, "fan_in_fan_out": True}),
    "Conv1D, flag left false": Case(gpt2, {"target_modules": GPT2}),
    "Conv1D, rsLoRA in bf16": Case(
        gpt2, {"target_modules": GPT2, "use_rslora": True}, dtype="bfloat16"
    ),
    "embedding": Case(llama, {"target_modules": ["embed_tokens", "q_proj"]}),
    "embedding, rsLoRA": Case(llama, {"target_modules": ["embed_tokens"], "use_rslora": True}),
    "embeddings of GPT-2": Case(gpt2, {"target_modules": ["wte", "wpe", "c_fc"]}),
    "lora_bias": Case(biased_llama, {"target_modules": LINEAR, "lora_bias": True}),
    "bias all": Case(biased_llama, {"target_modules": LINEAR, "bias": "all"}, needs_base=True),
    "bias all, GPT-2": Case(gpt2, {"target_modules": GPT2, "bias": "all"}, needs_base=True),
    "bias lora_only": Case(
        biased_llama, {"target_modules": LINEAR, "bias": "lora_only"}, needs_base=True
    ),
    "bias lora_only and lora_bias": Case(
        biased_llama,
        {"target_modules": LINEAR, "bias": "lora_only", "lora_bias": True},
        needs_base=True,
    ),
    "convolutions": Case(convolutions, {"target_modules": CONVS}),
    "convolutions, rsLoRA": Case(convolutions, {"target_modules": CONVS, "use_rslora": True}),
    "DoRA": Case(llama, {"target_modules": LINEAR, "use_dora": True}, needs_base=True),
    "DoRA, patterns and rsLoRA": Case(
        llama, {"target_modules": LINEAR, "use_dora": True, **PATTERNS}, needs_base=True
    ),
    "DoRA on Conv1D": Case(
        gpt2,
        {"target_modules": GPT2, "use_dora": True, "fan_in_fan_out": True},
        needs_base=True,
    ),
    "DoRA on an embedding": Case(
        llama, {"target_modules": ["embed_tokens"], "use_dora": True}, needs_base=True
    ),
    "DoRA on convolutions": Case(
        convolutions, {"target_modules": CONVS, "use_dora": True}, needs_base=True
    ),
    "PiSSA": Case(
        llama32,
        {"target_modules": LINEAR, "init_lora_weights": "pissa"},
        dtype="float32",
        atol=1e-5,
        needs_base=True,
    ),
    "PiSSA, patterns and rsLoRA": Case(
        llama32,
        {
            "target_modules": LINEAR,
            "init_lora_weights": "pissa",
            "rank_pattern": {"q_proj": 2},
            "use_rslora": True,
        },
        dtype="float32",
        atol=1e-5,
        needs_base=True,
    ),
    "OLoRA": Case(
        llama32,
        {"target_modules": LINEAR, "init_lora_weights": "olora"},
        dtype="float32",
        atol=1e-5,
        needs_base=True,
    ),
    "modules_to_save, head": Case(
        llama, {"target_modules": LINEAR, "modules_to_save": ["lm_head"]}, needs_base=True
    ),
    "modules_to_save, both": Case(
        llama,
        {"target_modules": LINEAR, "modules_to_save": ["lm_head", "embed_tokens"]},
        needs_base=True,
    ),
    "trainable tokens": Case(
        llama,
        {"target_modules": LINEAR, "trainable_token_indices": [7, 2, 11]},
        needs_base=True,
    ),
    "trainable tokens by module": Case(
        llama,
        {"target_modules": LINEAR, "trainable_token_indices": {"embed_tokens": [0, 28]}},
        needs_base=True,
    ),
    "trainable tokens, tied": Case(
        tied_llama,
        {"target_modules": LINEAR, "trainable_token_indices": [3, 1]},
        needs_base=True,
    ),
    "tied embedding": Case(tied_llama, {"target_modules": ["embed_tokens"]}),
    "experts (expert, in, out)": Case(
        lambda: moe("gpt_oss"),
        {"target_modules": ["q_proj"], "target_parameters": EXPERTS},
        needs_base=True,
    ),
    "experts (expert, out, in)": Case(
        lambda: moe("qwen3_moe"),
        {"target_modules": [], "target_parameters": EXPERTS, "use_rslora": True},
        needs_base=True,
    ),
    "experts of Mixtral, one parameter": Case(
        lambda: moe("mixtral"),
        {"target_modules": [], "target_parameters": EXPERTS[1:], "rank_pattern": {"down_proj": 2}},
        needs_base=True,
    ),
    "replicated layers": Case(
        llama, {"target_modules": LINEAR, "layer_replication": [[0, 2], [0, 1], [1, 2]]}
    ),
    "aLoRA": Case(
        llama,
        {"target_modules": LINEAR, "alora_invocation_tokens": [3, 4], "task_type": "CAUSAL_LM"},
    ),
    "a matrix as target parameter": Case(
        llama, {"target_modules": [], "target_parameters": ["q_proj.weight"]}, needs_base=True
    ),
}

# What is exported to PEFT and loaded by it again: every kind of place, and dense updates.
EXPORTED = (
    "linear, patterns and rsLoRA",
    "Conv1D",
    "embedding",
    "embeddings of GPT-2",
    "tied embedding",
    "convolutions",
    "DoRA on an embedding",
    "DoRA on convolutions",
    "modules_to_save, both",
    "trainable tokens",
    "experts (expert, in, out)",
    "experts (expert, out, in)",
    "experts of Mixtral, one parameter",
)
