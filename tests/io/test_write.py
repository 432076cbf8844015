"""The truth is PEFT: it loads the written folder to the function of the dense-merged weights."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import assert_one_line

import deltalens
from adapter_files import in_memory, made
from adapter_files import write_adapter as write_raw
from conftest import MakePeft, make_llama, save_peft, true_updates
from deltalens.connectivity import paths
from deltalens.core.adapter import Adapter, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.errors import AdapterError, OptionError, OutputError, UnsupportedAdapterError
from deltalens.io.tensors import TensorFile
from deltalens.io.truncate import truncated
from deltalens.io.write import write_adapter

FILES = {"adapter_config.json", "adapter_model.safetensors", "provenance.json"}
Q = "model.layers.0.self_attn.q_proj"
ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8}

# Pairs of adapters whose straight line is exported: what each side is.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "rslora": ({"use_rslora": True, "lora_alpha": 7}, {"use_rslora": True, "lora_alpha": -3}),
    "rslora and not, other ranks": ({"use_rslora": True, "r": 3}, {"r": 5, "lora_alpha": 2.5}),
    "rank and alpha patterns": (
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 9}},
        {"rank_pattern": {r"layers\.1\..*": 7}, "use_rslora": True},
    ),
    "mixed targets": (
        {"target_modules": ["q_proj", "k_proj"], "use_rslora": True},
        {"target_modules": ["down_proj", "q_proj"], "r": 2},
    ),
    "all linear, and one layer": (
        {"target_modules": "all-linear", "r": 2},
        {"target_modules": ["o_proj", "lm_head"], "layers_to_transform": [1]},
    ),
    "rank above the width": ({"r": 20}, {"r": 15}),
}


def logits(model: Any) -> np.ndarray:
    import torch

    tokens = torch.arange(1, 25).reshape(2, 12) % 29
    with torch.no_grad():
        return model(tokens).logits.double().numpy()


def merged_logits(base: Any, updates: Mapping[str, np.ndarray]) -> np.ndarray:
    """The dense truth: weights plus dW in float64."""
    import torch

    model = copy.deepcopy(base)
    for name, dW in updates.items():
        model.get_submodule(name).weight.data += torch.from_numpy(dW)
    return logits(model)


def peft_logits(base: Any, folder: Path) -> np.ndarray:
    from peft import PeftModel

    model = PeftModel.from_pretrained(
        copy.deepcopy(base), str(folder), autocast_adapter_dtype=False
    )
    return logits(model.eval())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_peft_computes_what_dense_merging_does(
    case: str, dtype: str, tiny_llama: Any, make_peft: MakePeft, tmp_path: Path
) -> None:
    folders = [
        make_peft(**options, seed=seed, dtype="float64") for seed, options in enumerate(CASES[case])
    ]
    one, two = (true_updates(tiny_llama, folder) for folder in folders)
    line = paths.linear(*(deltalens.load(folder) for folder in folders))
    for t in (0.0, 0.3, 1.0, -0.5, 1.7):
        out = tmp_path / f"{t}"
        write_adapter(line(t), out, dtype=dtype)
        true = merged_logits(tiny_llama, {k: (1 - t) * one[k] + t * two[k] for k in one})
        found = peft_logits(tiny_llama, out)
        size = np.abs(true).max()
        tolerance = 1e-9 if dtype == "float64" else 1e-5
        np.testing.assert_allclose(found, true, rtol=0, atol=tolerance * size)
        assert np.abs(found - merged_logits(tiny_llama, {})).max() > 1e-3 * size


def test_peft_finds_every_one_of_many_modules(tmp_path: Path) -> None:
    # From 20 targets on PEFT replaces the list by the shortest endings that it thinks equivalent.
    deep = make_llama(num_hidden_layers=5)
    a = deltalens.load(save_peft(deep, tmp_path / "a", r=2, target_modules="all-linear"))
    b = deltalens.load(save_peft(deep, tmp_path / "b", rank_pattern={"4.mlp.up_proj": 3}, seed=1))
    point = paths.linear(a, b)(0.4)
    assert len(write_adapter(point, tmp_path / "out", dtype="float64").modules) == 35
    true = merged_logits(deep, {str(k): u.dense() for k, u in point.items()})
    np.testing.assert_allclose(peft_logits(deep, tmp_path / "out"), true, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["factorwise", "factor_scaling"])
def test_peft_computes_the_other_paths(
    kind: str, tiny_llama: Any, make_peft: MakePeft, tmp_path: Path
) -> None:
    a, b = (
        deltalens.load(make_peft(seed=s, use_rslora=True, alpha_pattern={"q_proj": 3 + s}))
        for s in (1, 2)
    )
    point = paths.PATHS[kind](a, b)(0.4)
    write_adapter(point, tmp_path / "out", dtype="float64")
    true = merged_logits(tiny_llama, {str(k): u.dense() for k, u in point.items()})
    np.testing.assert_allclose(peft_logits(tiny_llama, tmp_path / "out"), true, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_what_is_written_is_read_again(
    dtype: str, make_peft: MakePeft, tiny_llama: Any, tmp_path: Path
) -> None:
    a = deltalens.load(make_peft(r=3, seed=1, rank_pattern={"v_proj": 6}))
    b = deltalens.load(make_peft(seed=2, target_modules=["q_proj", "o_proj"]))
    point = paths.linear(a, b)(0.3)
    write_adapter(point, tmp_path / "out", dtype=dtype)
    again = deltalens.load(tmp_path / "out")
    merged = true_updates(tiny_llama, tmp_path / "out")
    assert set(again) == set(point)
    for key, update in point.items():
        bound = 2.1 * ROUNDOFF[dtype] * (np.abs(update.B) @ np.abs(update.A)).max()
        np.testing.assert_allclose(again[key].dense(), update.dense(), rtol=0, atol=bound)
        np.testing.assert_allclose(merged[str(key)], again[key].dense(), rtol=0, atol=1e-13)
        assert again[key].rank == update.rank


def test_bfloat16_is_rounded_as_torch_rounds(rng: np.random.Generator, tmp_path: Path) -> None:
    import torch

    values = rng.standard_normal((64, 48)) * 10.0 ** rng.integers(-40, 38, (64, 48))
    values[0, :4] = 1 + 2.0**-8, 1 + 3 * 2.0**-8, -0.0, 1e-45  # ties go to even
    adapter = in_memory("a", {Q: (values, np.eye(48))})
    write_adapter(adapter, tmp_path / "out", dtype="bfloat16")
    true = torch.from_numpy(values).to(torch.bfloat16).double().numpy()
    np.testing.assert_array_equal(deltalens.load(tmp_path / "out")[ModuleKey(Q)].B, true)


def test_the_safetensors_library_reads_the_file(tmp_path: Path) -> None:
    from safetensors import safe_open

    write_adapter(in_memory("a", made(0, 1)), tmp_path / "out")
    with safe_open(tmp_path / "out/adapter_model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt", "deltalens.gauge": "an exported copy"}
        B, A = (file.get_tensor(f"base_model.model.{Q}.lora_{f}.weight") for f in "BA")
    np.testing.assert_allclose(B @ A, np.matmul(*made(0, 1)[Q]), atol=1e-5)


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adapter_config.json").read_text())


def test_the_config_selects_exactly_the_modules_and_scales_by_one(tmp_path: Path) -> None:
    # One path is the end of another, and one differs from another in a dot alone.
    shapes = {"m.q": 3, "x.m.q": 5, "m.0.q": 2, "m.00q": 5, "m-a(b": 1}
    rng = np.random.default_rng(0)
    modules = {
        path: (rng.standard_normal((6, r)), rng.standard_normal((r, 7)))
        for path, r in shapes.items()
    }
    write_adapter(in_memory("a", modules), tmp_path / "out", dtype="float64")
    config = config_of(tmp_path / "out")
    assert set(config["target_modules"]) == set(shapes)
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (5, 5, False)
    assert config["rank_pattern"] == config["alpha_pattern"]
    for path, r in shapes.items():
        hits = [p for p in config["rank_pattern"] if re.match(rf"(.*\.)?({p})$", path)]
        assert [config["rank_pattern"][p] for p in hits] == ([r] if r != 5 else [])
    for key, update in deltalens.load(tmp_path / "out").items():
        np.testing.assert_array_equal(update.dense(), np.matmul(*modules[str(key)]))


def test_peft_keeps_apart_modules_of_which_one_path_ends_another(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    class Nested(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q = torch.nn.Linear(4, 4, bias=False, dtype=torch.float64)
            self.m = torch.nn.ModuleDict({"q": copy.deepcopy(self.q)})

        def forward(self, x: Any) -> Any:
            return self.m["q"](self.q(x))

    rng = np.random.default_rng(0)
    factors = {
        path: (rng.standard_normal((4, r)), rng.standard_normal((r, 4)))
        for path, r in {"q": 1, "m.q": 3}.items()
    }
    base = Nested()
    for chosen in (factors, {"q": factors["q"]}, {"m.q": factors["m.q"]}):
        folder = tmp_path / "-".join(chosen)
        write_adapter(in_memory("a", chosen), folder, dtype="float64")
        with warnings.catch_warnings():
            # PEFT gives "m.q" a LoRA of its own where "q" is a target: B = 0, and a warning.
            warnings.simplefilter("ignore")
            wrapped = PeftModel.from_pretrained(copy.deepcopy(base), str(folder))
            merged: Any = wrapped.merge_and_unload()
        for path in factors:
            dW = merged.get_submodule(path).weight - base.get_submodule(path).weight
            true = np.matmul(*chosen[path]) if path in chosen else np.zeros((4, 4))
            np.testing.assert_allclose(dW.detach().numpy(), true, atol=1e-14)


@pytest.mark.parametrize("rank", [1, 3, 8, 50])
def test_a_lower_rank_is_dense_truncation(rank: int, make_peft: MakePeft, tmp_path: Path) -> None:
    a, b = (deltalens.load(make_peft(r=r, seed=r, use_rslora=True)) for r in (5, 3))
    point = paths.linear(a, b)(0.4)
    cuts = write_adapter(point, tmp_path / "out", dtype="float64", rank=rank)
    again = deltalens.load(tmp_path / "out")
    lost = total = 0.0
    shares: dict[str, float] = {}
    for key, update in point.items():
        U, S, Vt = np.linalg.svd(update.dense(), full_matrices=False)
        true = (U[:, :rank] * S[:rank]) @ Vt[:rank]
        np.testing.assert_allclose(again[key].dense(), true, rtol=0, atol=1e-12 * S[0])
        assert again[key].rank == min(rank, update.rank)
        dropped = float(np.sum(S[rank:8] ** 2))
        shares[str(key)] = dropped / float(np.sum(S**2))
        lost, total = lost + dropped, total + float(np.sum(S**2))
    assert cuts.norm == pytest.approx(np.sqrt(total), rel=1e-12)
    assert cuts.discarded_energy == pytest.approx(lost / total, rel=1e-9, abs=1e-20)
    record = json.loads((tmp_path / "out/provenance.json").read_text())
    assert record["discarded_energy"] == cuts.discarded_energy
    if rank < 8:
        assert cuts.worst is not None
        assert cuts.worst.module == max(shares, key=shares.__getitem__) == record["worst_module"]
        assert cuts.worst.discarded_energy == pytest.approx(max(shares.values()), rel=1e-9)
    else:
        assert cuts.worst is None
        assert cuts.discarded_energy == record["discarded_energy"] == 0.0
        np.testing.assert_array_equal(again[ModuleKey(Q)].A, point[ModuleKey(Q)].A)


def test_norms_survive_cancellation_and_zero_updates() -> None:
    (B, A) = made(0, 1)[Q]
    small = 1e-9
    nearly = LowRankUpdate(np.hstack([B, -B]), np.vstack([A, A + small * np.ones_like(A)]))
    true = np.linalg.norm(B @ (small * np.ones_like(A)))
    assert truncated(nearly, 100)[1] == pytest.approx(true, rel=1e-5)
    assert truncated(LowRankUpdate.zero((4, 5)), 1)[1:] == (0.0, 0.0)
    kept, norm, lost = truncated(LowRankUpdate(0 * B, A), 2)
    assert (kept.rank, norm, lost) == (2, 0.0, 0.0)


def test_zero_updates_are_left_out_unless_nothing_else_is_there(
    tiny_llama: Any, make_peft: MakePeft, tmp_path: Path
) -> None:
    a = deltalens.load(make_peft(target_modules=["q_proj"]))
    b = deltalens.load(make_peft(target_modules=["v_proj"]))
    write_adapter(paths.linear(a, b)(1.0), tmp_path / "b")
    assert set(deltalens.load(tmp_path / "b")) == set(b)
    cuts = write_adapter(paths.base_to(a)(0.0), tmp_path / "base")
    assert (cuts.norm, cuts.discarded_energy, cuts.ranks) == (0.0, 0.0, [1])
    assert set(deltalens.load(tmp_path / "base")) == set(a)
    np.testing.assert_array_equal(peft_logits(tiny_llama, tmp_path / "base"), logits(tiny_llama))


def test_written_factors_are_no_training_gauge(tmp_path: Path) -> None:
    a, b = in_memory("a", made(0, 1)), in_memory("b", made(0, 2))
    line = paths.linear(a, b)
    for point, rank, gauge in (
        (line(0.5), None, "a point on a path"),
        (line(0.5), 2, "cut to a lower rank"),
        (line(1.0), None, "an exported copy"),
    ):
        folder = tmp_path / gauge
        write_adapter(point, folder, rank=rank)
        specs = deltalens.load(folder).specs.values()
        assert {spec.gauge for spec in specs} == {gauge}
        document = deltalens.compare([folder, b], top_k=2, full_provenance=False).document
        nulls = document["pairs"][0]["nulls"]
        assert nulls["rotation"] is None
    plain = deltalens.compare([a, b], top_k=2, full_provenance=False).document
    assert plain["pairs"][0]["nulls"]["rotation"] is not None


def test_a_strangers_gauge_note_is_made_safe(tmp_path: Path) -> None:
    write_adapter(in_memory("a", made(0, 1)), tmp_path / "out")
    file = tmp_path / "out/adapter_model.safetensors"
    data = file.read_bytes().replace(b"an exported copy", b"a\\u202e\\nb\\u0007", 1)
    assert data[8:].find(b"202e") > 0
    file.write_bytes(data)
    gauges = {spec.gauge for spec in deltalens.load(tmp_path / "out").specs.values()}
    assert len(gauges) == 1
    assert_one_line(gauges.pop())


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ("org/base", "org/base"),
        ("deltalens/toy", "deltalens/toy"),
        (None, None),
        *((path, None) for path in ("/home/x/llama", "./base", "../b", "~/b", "..", "C:\\b")),
        *((path, None) for path in ("file:///b", "\\\\host\\b")),
    ],
)
def test_the_base_is_kept_but_no_machine_path(
    named: str | None, kept: str | None, tmp_path: Path
) -> None:
    config = {"base_model_name_or_path": named, "revision": "abc"}
    a = deltalens.load(write_raw(tmp_path / "a", made(0, 1), config=config))
    write_adapter(paths.base_to(a)(0.5), tmp_path / "out")
    found = config_of(tmp_path / "out")
    assert found["base_model_name_or_path"] == kept
    assert found["revision"] == ("abc" if kept else None)
    for name in ("adapter_config.json", "provenance.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text()


def test_the_provenance_says_what_was_written(tmp_path: Path) -> None:
    a, b = in_memory("a", made(0, 1)), in_memory("b", made(0, 2))
    write_adapter(paths.linear(a, b)(0.25), tmp_path / "out", rank=2, note={"inputs": [1]})
    record = json.loads((tmp_path / "out/provenance.json").read_text())
    weights = [["a", 0.75], ["b", 0.25]]
    assert record["made_by"] == "deltalens export"
    assert record["point"] == {"path": "linear", "weights": weights, "t": 0.25}
    assert (record["rank"], record["ranks"], record["dtype"]) == (2, [2], "float32")
    assert record["inputs"] == [1]
    assert record["gauge"] == "cut to a lower rank"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        a, b = in_memory("a", made(0, 1)), in_memory("b", made(0, 2))
        write_adapter(paths.linear(a, b)(0.25), tmp_path / name, rank=2, dtype="bfloat16")
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in sorted(folder.rglob("*"))
    }


def test_an_export_replaces_an_export_and_nothing_else(tmp_path: Path) -> None:
    a, b = in_memory("a", made(0, 1)), in_memory("b", made(0, 2))
    out = tmp_path / "deep/er/out"
    write_adapter(a, out)
    first = tree(out)
    write_adapter(b, out)
    assert {*tree(out)} == FILES
    assert tree(out) != first
    (tmp_path / "empty").mkdir()
    write_adapter(a, tmp_path / "empty")
    (out / "notes.txt").write_text("mine")
    foreign = write_raw(tmp_path / "trained", made(0, 1))
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    before = tree(tmp_path)
    for place, why in (
        (out, "holds notes.txt, which was not written here"),
        (foreign, "holds files that were not written here"),
        (tmp_path / "file", "is no folder"),
        (tmp_path / "link", "is no folder"),
        (tmp_path / "file/under", "cannot be written: something on the way to it is no folder"),
        (tmp_path / ("n" * 300), "cannot be written: File name too long"),
    ):
        with pytest.raises(OutputError, match=f"{re.escape(place.name[:40])}.*: {why}") as caught:
            write_adapter(a, place)
        assert_one_line(str(caught.value))
    with pytest.raises(OutputError, match="null"):
        write_adapter(a, tmp_path / "a\0b")
    assert tree(tmp_path) == before


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("failure", ["read", "disk", "config", "rename", "value"])
def test_nothing_is_half_written(
    failure: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, out = in_memory("a", made(0, 1)), tmp_path / "out"
    if there:
        write_adapter(a, out)
    before = tree(tmp_path)

    def broken(key: ModuleKey) -> LowRankUpdate:
        if key.layer == 1:
            raise BrokenError
        return a[key]

    huge = dict(a) | {ModuleKey(Q): a[ModuleKey(Q)] * 1e300}
    adapter = {
        "read": Adapter("broken", a.specs, broken),
        "value": Adapter.from_updates("huge", huge),
    }.get(failure, a)
    full = OSError(28, "No space left on device")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise full
        return real(self, target)

    def fail(*_: Any, **__: Any) -> None:
        raise full

    if failure == "disk":
        monkeypatch.setattr("deltalens.io.write_tensors.os.fsync", fail)
    if failure == "config":
        monkeypatch.setattr(Path, "write_text", fail)
    if failure == "rename":
        monkeypatch.setattr(Path, "rename", rename)
    expected = {
        "read": (BrokenError, "^$"),
        "value": (OutputError, "lora_B.weight reaches .*e\\+300, which float32 does not hold"),
    }.get(failure, (OutputError, "out: cannot be written: No space left on device"))
    with pytest.raises(expected[0], match=expected[1]):
        write_adapter(adapter, out)
    monkeypatch.undo()
    assert tree(tmp_path) == before


def test_options_and_adapters_that_cannot_be_written(tmp_path: Path) -> None:
    a = in_memory("a", made(0, 1))
    B, A = made(0, 1)[Q]
    cases: list[tuple[Adapter, dict[str, Any], type[Exception], str]] = [
        (a, {"rank": 0}, OptionError, "--rank must be from 1 up; found 0"),
        (a, {"rank": -3}, OptionError, "--rank must be from 1 up; found -3"),
        (
            a,
            {"dtype": "float16"},
            OptionError,
            "--dtype 'float16' is not known; known are float32, float64, bfloat16",
        ),
        (
            in_memory("none", {}),
            {},
            AdapterError,
            "none: changes no module; there is nothing to write",
        ),
        (
            Adapter.from_updates("x", {ModuleKey("m.experts", 3): LowRankUpdate(B, A)}),
            {},
            UnsupportedAdapterError,
            "x: m.experts holds the experts 3 of a stack; all from 0 are needed",
        ),
        (
            in_memory("n", {Q: (B * np.nan, A)}),
            {},
            AdapterError,
            f"n: {Q} holds NaN or infinity",
        ),
    ]
    for adapter, options, error, message in cases:
        with pytest.raises(error) as caught:
            write_adapter(adapter, tmp_path / "out", **options)
        assert str(caught.value) == message
    assert tree(tmp_path) == {}


def test_an_adapter_that_is_not_what_its_header_said_is_a_fault(tmp_path: Path) -> None:
    a = in_memory("a", made(0, 1))
    specs = {key: UpdateSpec(spec.shape, spec.rank + 1) for key, spec in a.specs.items()}
    with pytest.raises(ValueError, match=r"lora_A.weight \(4, 72\) where .* \(5, 72\) is due"):
        write_adapter(Adapter("liar", specs, a.read), tmp_path / "out")
    assert tree(tmp_path) == {}


def test_entries_are_contiguous_and_aligned(tmp_path: Path) -> None:
    write_adapter(in_memory("a", made(0, 1)), tmp_path / "out", dtype="bfloat16")
    file = TensorFile.open(tmp_path / "out/adapter_model.safetensors")
    assert min(entry.start for entry in file.entries.values()) % 8 == 0
    assert list(file.entries) == [
        f"base_model.model.{key}.lora_{f}.weight"
        for key in in_memory("a", made(0, 1))
        for f in "AB"
    ]
