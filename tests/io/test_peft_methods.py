"""PEFT's other methods against PEFT's own merge, on random tiny models."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import stored as stored_bytes
from raw_files import write

import deltalens
from conftest import make_llama, weights_of
from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel, open_base

TARGETS = ["q_proj", "v_proj", "down_proj"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "loha": ("LoHaConfig", {"r": 3, "alpha": 5}),
    "loha as wide as the matrix": ("LoHaConfig", {"r": 6, "alpha": 5}),
    "loha patterns": (
        "LoHaConfig",
        {"r": 3, "alpha": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": -3}},
    ),
    "lokr": ("LoKrConfig", {"r": 1, "alpha": 3}),
    "lokr whole": ("LoKrConfig", {"r": 16, "alpha": 3}),
    "lokr both": ("LoKrConfig", {"r": 1, "alpha": 2, "decompose_both": True}),
    "lokr factor": ("LoKrConfig", {"r": 2, "alpha": 3, "decompose_factor": 2}),
    "lokr rank pattern": ("LoKrConfig", {"r": 2, "alpha": 3, "rank_pattern": {"down_proj": 1}}),
    "adalora": ("AdaLoraConfig", {"init_r": 4, "lora_alpha": 6, "total_step": 10}),
    "adalora, alpha 0": ("AdaLoraConfig", {"init_r": 4, "lora_alpha": 0, "total_step": 10}),
    "vera": ("VeraConfig", {"r": 5, "projection_prng_key": 3}),
    "vera, equal inputs": (
        "VeraConfig",
        {"r": 5, "projection_prng_key": 3, "target_modules": ["q_proj", "v_proj"]},
    ),
    "ia3": ("IA3Config", {"feedforward_modules": ["down_proj"]}),
    "oft blocks of 2": ("OFTConfig", {"oft_block_size": 2}),
    "oft by r": ("OFTConfig", {"r": 2, "oft_block_size": 0}),
    "oft shared": ("OFTConfig", {"oft_block_size": 2, "block_share": True}),
    "oft constrained": ("OFTConfig", {"oft_block_size": 2, "coft": True, "eps": 0.05}),
    "oft exact": ("OFTConfig", {"oft_block_size": 2, "use_cayley_neumann": False}),
    "oft terms 1": ("OFTConfig", {"oft_block_size": 2, "num_cayley_neumann_terms": 1}),
    "oft terms 2": ("OFTConfig", {"oft_block_size": 2, "num_cayley_neumann_terms": 2}),
    "oft terms 3": ("OFTConfig", {"oft_block_size": 2, "num_cayley_neumann_terms": 3}),
    "oft terms 7": ("OFTConfig", {"oft_block_size": 2, "num_cayley_neumann_terms": 7}),
}
NEED_BASE = ("ia3", "oft")


@pytest.fixture(scope="module")
def llama_base(tiny_llama: Any, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("base")
    tiny_llama.save_pretrained(folder)
    return open_base(folder)


def saved(base: Any, folder: Path, kind: str, fields: dict[str, Any]) -> Path:
    """Wrap a copy of `base`, fill every trained number, save with PEFT's own function."""
    import peft
    import torch

    options = {"target_modules": TARGETS} | fields
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(peft, kind)(**options)
        model = peft.get_peft_model(copy.deepcopy(base), config, autocast_adapter_dtype=False)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = 0.3 * torch.randn_like(parameter, dtype=torch.float64)
        model.save_pretrained(folder)
    return folder


def merged_change(base: Any, folder: Path) -> dict[str, np.ndarray]:
    """What PEFT's own merge of a float64 base changes, module by module."""
    from peft import PeftModel

    before = weights_of(base)
    model = PeftModel.from_pretrained(copy.deepcopy(base), folder, autocast_adapter_dtype=False)
    after = weights_of(model.merge_and_unload())
    return {path: after[path] - before[path] for path in before}


def stored(adapter: Adapter, key: ModuleKey) -> np.ndarray:
    """An update in the base's stored layout."""
    spec, update = adapter.specs[key], adapter[key]
    assert (update.shape, update.rank) == (spec.shape, spec.rank)
    assert spec.rank <= min(spec.shape)
    dW = update.dense()
    return (dW.T if spec.layout.transposed else dW).reshape(spec.stored)


def assert_same(adapter: Adapter, truth: dict[str, np.ndarray]) -> None:
    changed = {path for path, dW in truth.items() if np.any(dW)}
    assert changed == {str(key) for key in adapter}
    for key in adapter:
        dW = truth[str(key)]
        assert np.linalg.norm(stored(adapter, key) - dW) <= 1e-6 * np.linalg.norm(dW)


@pytest.mark.parametrize("case", CASES)
def test_the_update_is_what_peft_merges(
    case: str, tiny_llama: Any, llama_base: BaseModel, tmp_path: Path
) -> None:
    kind, fields = CASES[case]
    folder = saved(tiny_llama, tmp_path, kind, fields)
    truth = merged_change(tiny_llama, folder)
    if case == "oft terms 1":  # one term of the series turns nothing
        truth = {path: dW for path, dW in truth.items() if path.rpartition(".")[2] in TARGETS}
        for update in deltalens.load(folder, base=llama_base).values():
            assert not update.dense().any()
        return
    adapter = deltalens.load(folder, base=llama_base)
    assert adapter.provenance.format == f"peft-{case.split()[0].rstrip(',')}"
    assert adapter.provenance.warnings == ()
    assert_same(adapter, truth)
    if not case.startswith(NEED_BASE) and case != "vera":
        assert_same(deltalens.load(folder), truth)


def test_adalora_after_its_rank_was_cut(tiny_llama: Any, tmp_path: Path) -> None:
    """`ranknum` stays the initial rank; a module may be cut to rank 0."""
    folder = saved(tiny_llama, tmp_path, *CASES["adalora"])
    config = json.loads((folder / "adapter_config.json").read_text())
    paths = [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]
    kept = {paths[0]: [True, False, True, True], paths[1]: [False] * 4}
    config["rank_pattern"] = {f"{path}.lora_E": mask for path, mask in kept.items()}
    cut_file(folder, kept)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    adapter = deltalens.load(folder)
    assert [adapter.specs[ModuleKey(path)].rank for path in paths] == [3, 0]
    assert adapter[ModuleKey(paths[1])].norm() == 0.0
    truth = merged_change(tiny_llama, folder)
    for key in adapter:
        np.testing.assert_allclose(stored(adapter, key), truth[str(key)], rtol=0, atol=1e-9)


def cut_file(folder: Path, kept: dict[str, list[bool]]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "adapter_model.safetensors")
    for path, mask in kept.items():
        rows = torch.tensor(mask)
        for role in ("lora_A", "lora_E"):
            name = f"base_model.model.{path}.{role}"
            tensors[name] = tensors[name][rows].contiguous()
        name = f"base_model.model.{path}.lora_B"
        tensors[name] = tensors[name][:, rows].contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def tiny_gpt2() -> Any:
    """A GPT-2 whose Conv1D weights are stored transposed, one of them square, with biases."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = GPT2Config(vocab_size=23, n_positions=16, n_embd=12, n_layer=2, n_head=2)
        model: Any = GPT2LMHeadModel(config)
        model = model.to(torch.float64).eval()
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter)
    return model


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.parametrize("kind", ["IA3Config", "AdaLoraConfig", "VeraConfig"])
def test_transposed_weights(kind: str, tmp_path: Path) -> None:
    model = tiny_gpt2()
    model.save_pretrained(tmp_path / "base")
    fields: dict[str, Any] = {"target_modules": ["attn.c_attn", "attn.c_proj", "mlp.c_proj"]}
    fields["fan_in_fan_out"] = True
    fields |= {"IA3Config": {"feedforward_modules": ["mlp.c_proj"]}}.get(kind, {})
    fields |= {"AdaLoraConfig": {"total_step": 5}, "VeraConfig": {"r": 4}}.get(kind, {})
    folder = saved(model, tmp_path / "adapter", kind, fields)
    adapter = deltalens.load(folder, base=open_base(tmp_path / "base"))
    assert_same(adapter, merged_change(model, folder))


def test_ia3_scales_the_bias_of_scaled_outputs(tmp_path: Path) -> None:
    model = make_llama(attention_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data += 1.0
    model.save_pretrained(tmp_path / "base")
    folder = saved(model, tmp_path / "adapter", *CASES["ia3"])
    adapter = deltalens.load(folder, base=open_base(tmp_path / "base"))
    from peft import PeftModel

    merged = PeftModel.from_pretrained(
        copy.deepcopy(model), folder, autocast_adapter_dtype=False
    ).merge_and_unload()
    before, after = dict(model.named_parameters()), dict(merged.named_parameters())
    assert len(adapter.biases) == 4
    for path, change in adapter.biases.items():
        assert change is not None
        truth = (after[f"{path}.bias"] - before[f"{path}.bias"]).detach().numpy()
        np.testing.assert_allclose(change(), truth, rtol=0, atol=1e-12)


class Convolutions:
    """Built lazily: torch is imported where it is used."""

    @staticmethod
    def model() -> Any:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            net = torch.nn.Sequential()
            net.add_module("wide", torch.nn.Conv2d(6, 8, (3, 2)))
            net.add_module("point", torch.nn.Conv2d(8, 12, 1))
            net.add_module("line", torch.nn.Conv1d(12, 10, 3))
        return net.to(torch.float64)


@pytest.mark.parametrize("effective", [True, False])
@pytest.mark.parametrize(
    ("kind", "rank"), [("LoHaConfig", 2), ("LoHaConfig", 7), ("LoKrConfig", 1), ("LoKrConfig", 20)]
)
def test_convolutions(kind: str, rank: int, effective: bool, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = Convolutions.model()
    (tmp_path / "base").mkdir()
    save_file(model.state_dict(), tmp_path / "base" / "model.safetensors")
    fields = {"r": rank, "alpha": 3, "use_effective_conv2d": effective}
    # PEFT's own LoKr on a one-dimensional convolution fails or mixes up the axes.
    fields |= {"target_modules": ["wide", "point", *(["line"] if kind == "LoHaConfig" else [])]}
    folder = saved(model, tmp_path / "adapter", kind, fields)
    truth = {path: dW for path, dW in merged_change(model, folder).items() if np.any(dW)}
    adapter = deltalens.load(folder, base=open_base(tmp_path / "base"))
    assert {str(key): adapter.specs[key].stored for key in adapter} == {
        path: dW.shape for path, dW in truth.items()
    }
    assert_same(adapter, truth)


def test_lokr_on_a_one_dimensional_convolution_is_refused(tmp_path: Path) -> None:
    fields = {"r": 20, "target_modules": ["line"]}
    folder = saved(Convolutions.model(), tmp_path, "LoKrConfig", fields)
    with pytest.raises(UnsupportedAdapterError, match="LoKr on a one-dimensional convolution"):
        deltalens.load(folder)


# What a user can meet that is refused: fields changed, tensors changed -> the message.
def edited(folder: Path, fields: dict[str, Any], drop: str = "", rename: str = "") -> Path:
    from safetensors.torch import load_file, save_file

    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))
    tensors = load_file(folder / "adapter_model.safetensors")
    if drop:
        del tensors[next(name for name in tensors if drop in name)]
    if rename:
        name = next(iter(tensors))
        tensors[rename] = tensors.pop(name)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("case", "fields", "drop", "rename", "message"),
    [
        ("loha", {"r": 4}, "", "", "has rank 3 in the tensors and 4 in the config"),
        ("loha", {"r": True}, "", "", "r must be a whole number from 1 up; found 'True'"),
        ("loha", {"alpha": "3"}, "", "", "alpha must be a finite number; found '3'"),
        ("loha", {"bias": "all"}, "", "", "bias updates (bias = 'all') are read for LoRA only"),
        ("loha", {"rank_pattern": 3}, "", "", "rank_pattern must be an object; found '3'"),
        ("loha", {}, "hada_w2_b", "", "but no hada_w2_b"),
        ("loha", {}, "", "lm_head.weight", "belongs to a fully saved module or a bias"),
        ("loha", {}, "", "model.strange", "tensor model.strange is not understood; LoHa is read"),
        ("lokr", {}, "lokr_w2_a", "", "but no lokr_w2_a"),
        ("lokr", {"r": 2}, "", "", "has rank 1 in the tensors and 2 in the config"),
        ("adalora", {"init_r": 5}, "", "", "must share one rank; the config gives 5"),
        ("adalora", {"rank_pattern": {"a": 3}}, "", "", "must be a list of true and false"),
        ("adalora", {}, "lora_E", "", "but no lora_E"),
        ("vera", {}, "vera_A", "", "VeRA without its projections vera_A and vera_B"),
        ("vera", {}, "", "", "VeRA does not say how wide the inputs of down_proj, q_proj, v_proj"),
        ("vera, equal inputs", {"r": 6}, "", "", "the ranks must agree; found config 6, vera_A 5"),
        ("ia3", {}, "", "", "IA3 changes each weight by its own size, so the base is needed"),
        ("oft blocks of 2", {}, "", "", "OFT turns the base's own weights, so the base is needed"),
        ("loha", {"peft_type": "BOFT"}, "", "", "peft_type 'BOFT' is not read; LORA, LOHA, LOKR"),
        ("loha", {"peft_type": "PREFIX_TUNING"}, "", "", "adds to the prompt and changes no weigh"),
        ("loha", {"peft_type": ["LOHA"]}, "", "", "peft_type \"['LOHA']\" is not read"),
    ],
)
def test_what_is_refused(
    case: str,
    fields: dict[str, Any],
    drop: str,
    rename: str,
    message: str,
    tiny_llama: Any,
    tmp_path: Path,
) -> None:
    folder = edited(saved(tiny_llama, tmp_path, *CASES[case]), fields, drop, rename)
    with pytest.raises(AdapterError) as caught:
        deltalens.load(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_cayley_neumann_terms": 1000}, "num_cayley_neumann_terms is 1000; at most 100"),
        ({"use_cayley_neumann": "false"}, "use_cayley_neumann must be true or false"),
    ],
)
def test_what_is_refused_of_oft(
    fields: dict[str, Any], message: str, tiny_llama: Any, llama_base: BaseModel, tmp_path: Path
) -> None:
    folder = edited(saved(tiny_llama, tmp_path, *CASES["oft exact"]), fields)
    with pytest.raises(AdapterError, match=message):
        deltalens.load(folder, base=llama_base)


def test_another_base_is_refused(tiny_llama: Any, tmp_path: Path) -> None:
    make_llama(hidden_size=24).save_pretrained(tmp_path / "base")
    base = open_base(tmp_path / "base")
    for case, message in (
        ("loha", r"down_proj is \[16, 22\]; the base .* has \[24, 22\]"),
        ("ia3", r"ia3_l is \[16, 1\]; the base .* has \[24, 24\]"),
        ("oft by r", r"makes no blocks of the 24 inputs"),
    ):
        folder = saved(tiny_llama, tmp_path / case.replace(" ", "-"), *CASES[case])
        with pytest.raises(AdapterError, match=message):
            deltalens.load(folder, base=base)


def test_vera_on_equal_inputs_says_what_it_assumes(tiny_llama: Any, tmp_path: Path) -> None:
    folder = saved(tiny_llama, tmp_path, *CASES["vera, equal inputs"])
    (warning,) = deltalens.load(folder).provenance.warnings
    assert warning == "every module is taken to read 16 inputs, as vera_A does; --base would tell"


def test_a_small_file_cannot_ask_for_a_large_product(tmp_path: Path) -> None:
    """Two thin matrices of 100 kB each stand for a Kronecker product of 8 * 10^8 numbers."""
    path = "base_model.model.x.q_proj"
    ones = np.ones((150, 200), "<f2")
    tensors = {f"{path}.lokr_w1": stored_bytes(ones.T), f"{path}.lokr_w2": stored_bytes(ones)}
    folder = write(tmp_path / "a", tensors, {"peft_type": "LOKR", "r": 8, "alpha": 8})
    with pytest.raises(AdapterError, match=r"numbers; at most 1073741824 \(elements\) are allowed"):
        deltalens.load(folder)


def test_unsupported_is_its_own_kind(tiny_llama: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedAdapterError):
        deltalens.load(saved(tiny_llama, tmp_path, *CASES["ia3"]))
