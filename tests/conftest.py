"""Shapes checked at run time, a tiny real model, and adapters made by PEFT itself."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

# Before anything imports deltalens: core/shapes.py gives real annotations only where jaxtyping
# is imported already, and the hook checks only what is imported after it.
install_import_hook("deltalens", "typecheck.check")

# Third-party warnings that our tests cannot avoid; everything else is an error.
THIRD_PARTY_WARNINGS = (
    # PEFT 0.21 asks transformers 5 by the attribute's former name.
    r"ignore:`is_gradient_checkpointing` is deprecated:FutureWarning:transformers.modeling_utils",
    # What PEFT says of the unusual adapters that tests make on purpose.
    r"ignore:The following .*_pattern keys did not match:RuntimeWarning:peft.tuners.tuners_utils",
    r"ignore:Setting `save_embedding_layers` to `True`:UserWarning:peft.utils.save_and_load",
    r"ignore:(PiSSA|OLoRA) changes the base weights:UserWarning:peft.peft_model",
    r"ignore:Unsupported layer type .*RMSNorm:UserWarning:peft.tuners.tuners_utils",
    r"ignore:.* tensor\(s\) have invalid shape:UserWarning:peft.utils.save_and_load",
    # Inspect calls tenacity by a parameter's former name.
    r"ignore:The 'initial' parameter is deprecated, use 'multiplier':DeprecationWarning",
    # Inspect leaves streams of its own to the garbage collector, in whatever test that comes.
    r"ignore:Unclosed <MemoryObject(Send|Receive)Stream:ResourceWarning",
)

settings.register_profile(
    "deltalens",
    deadline=None,
    derandomize=True,  # `--hypothesis-profile explore` looks for new cases
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "explore", settings.get_profile("deltalens"), derandomize=False, max_examples=1000
)
settings.load_profile("deltalens")

TARGETS = ("q_proj", "v_proj", "down_proj")


def pytest_configure(config: pytest.Config) -> None:
    for line in THIRD_PARTY_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Shapes and types unchecked, so that our own message for a wrong one is seen."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def make_llama(seed: int = 0, **changes: Any) -> Any:
    """A seeded random Llama of two layers in float64, with grouped queries and an odd MLP width."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {
        "vocab_size": 29,
        "hidden_size": 16,
        "intermediate_size": 22,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "tie_word_embeddings": False,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**(shape | changes))).to(torch.float64).eval()


@pytest.fixture(scope="session")
def tiny_llama() -> Any:
    """The base model, never changed: factories copy it."""
    return make_llama()


@pytest.fixture(scope="session")
def base_weights(tiny_llama: Any) -> Mapping[str, np.ndarray]:
    """Module path -> the base's weight matrix, as plain float64 arrays."""
    return weights_of(tiny_llama)


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """Module path -> float64 copy of every weight of a torch model."""
    return {
        name.removesuffix(".weight"): parameter.detach().numpy().copy()
        for name, parameter in model.named_parameters()
        if name.endswith(".weight")
    }


MakePeft = Callable[..., Path]


@pytest.fixture(scope="session")
def make_peft(tiny_llama: Any, tmp_path_factory: pytest.TempPathFactory) -> MakePeft:
    """Make a PEFT LoRA adapter on the tiny Llama and save it with PEFT's own `save_pretrained`.

    `make_peft(r=4, lora_alpha=8, use_rslora=False, rank_pattern={}, dtype="float32", seed=0,
    zero_B=False, **LoraConfig fields) -> folder`. A keeps PEFT's seeded initialisation (the same
    seed gives the same A); B is random, not zero, unless `zero_B`.
    """
    return lambda **options: save_peft(tiny_llama, tmp_path_factory.mktemp("adapter"), **options)


def save_peft(
    base: Any,
    folder: Path,
    *,
    dtype: str = "float32",
    seed: int = 0,
    zero_B: bool = False,
    **fields: Any,
) -> Path:
    """Wrap a copy of `base` in PEFT LoRA, fill B, save; returns the folder."""
    import torch
    from peft import LoraConfig, get_peft_model

    options = {"r": 4, "lora_alpha": 8, "target_modules": list(TARGETS)} | fields
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(
            copy.deepcopy(base), LoraConfig(**options), autocast_adapter_dtype=False
        )
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                fill_B = "lora_B" in name and not zero_B
                values = torch.randn_like(parameter) if fill_B else parameter.detach()
                parameter.data = values.to(getattr(torch, dtype))
        model.save_pretrained(folder)
    return folder


def true_updates(base: Any, folder: Path) -> dict[str, np.ndarray]:
    """The truth: PEFT loads the folder and merges it in float64; what changed, every weight."""
    from peft import PeftModel

    before = weights_of(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = PeftModel.from_pretrained(
            copy.deepcopy(base), str(folder), autocast_adapter_dtype=False
        )
        after = weights_of(wrapped.merge_and_unload())
    assert before.keys() == after.keys()
    return {name: after[name] - before[name] for name in before}
