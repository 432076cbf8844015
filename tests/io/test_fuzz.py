"""A valid small adapter with bytes changed: it loads, or it is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_files import CONFIG, assert_one_line, bf16, header_of, packed, pair, read_all, stored

from deltalens.core.keys import ModuleKey
from deltalens.errors import DeltalensError
from deltalens.io.base import open_base
from deltalens.io.limits import Limits
from deltalens.io.read import load
from strategies import JSON_VALUES

ONES = np.ones((2, 4), "<f4")
V = "model.layers.1.self_attn.v_proj"
WEIGHTS = packed(
    *header_of(
        {
            **pair(),
            f"{V}.lora_A.weight": bf16(ONES),
            f"{V}.lora_B.weight": stored(ONES[:, :2].astype("<f2")),
        }
    )
)
SETTINGS = json.dumps(
    {**CONFIG, "use_rslora": False, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {}}
).encode()
QUICK = Limits(pattern_seconds=5.0)

Edit = Callable[[bytes], bytes]


def edits(length: int) -> st.SearchStrategy[Edit]:
    """One change of the bytes: overwritten, removed, inserted, cut off or repeated."""
    at = st.integers(0, length)
    few = st.binary(min_size=1, max_size=9)
    token = st.sampled_from(
        [b"-1", b"NaN", b"1e999", b'"', b"{", b"[", b"}", b"null", b"true", b"\xff", b"\0", b"\n"]
    )

    def overwrite(i: int, new: bytes) -> Edit:
        return lambda data: data[:i] + new + data[i + len(new) :]

    def insert(i: int, new: bytes) -> Edit:
        return lambda data: data[:i] + new + data[i:]

    def remove(i: int, n: int) -> Edit:
        return lambda data: data[:i] + data[i + n :]

    def repeat(i: int, n: int) -> Edit:
        return lambda data: data[: i + n] + data[i:]

    return st.one_of(
        st.builds(overwrite, at, few | token),
        st.builds(insert, at, few | token),
        st.builds(remove, at, st.integers(1, 40)),
        st.builds(repeat, at, st.integers(1, 40)),
        at.map(lambda i: lambda data: data[:i]),
    )


def loads_or_is_refused(folder: Path, weights: bytes, config: bytes) -> bool:
    """The property; whether it loaded, so that a test can see that both happen."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_bytes(config)
    try:
        updates = read_all(folder, QUICK)
    except DeltalensError as error:
        assert_one_line(str(error), naming=folder.name)
        return False
    assert updates
    assert all(np.isfinite(dW).all() or dW.size == 0 for dW in updates.values())
    return True


def test_the_seed_of_the_fuzzing_is_valid(tmp_path: Path) -> None:
    assert loads_or_is_refused(tmp_path / "fuzz", WEIGHTS, SETTINGS)


@settings(max_examples=400)
@given(st.lists(edits(len(WEIGHTS)), min_size=1, max_size=3))
def test_changed_weights(tmp_path_factory: pytest.TempPathFactory, changes: list[Edit]) -> None:
    weights = WEIGHTS
    for change in changes:
        weights = change(weights)
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "fuzz", weights, SETTINGS)


@settings(max_examples=400)
@given(st.lists(edits(len(WEIGHTS) - 8 - 80), min_size=1, max_size=3))
def test_changed_headers_of_the_right_length(
    tmp_path_factory: pytest.TempPathFactory, changes: list[Edit]
) -> None:
    length = int.from_bytes(WEIGHTS[:8], "little")
    header, data = WEIGHTS[8 : 8 + length], WEIGHTS[8 + length :]
    for change in changes:
        header = change(header)
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "fuzz", packed(header, data), SETTINGS)


@settings(max_examples=300)
@given(st.lists(edits(len(SETTINGS)), min_size=1, max_size=3))
def test_changed_configs(tmp_path_factory: pytest.TempPathFactory, changes: list[Edit]) -> None:
    config = SETTINGS
    for change in changes:
        config = change(config)
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "fuzz", WEIGHTS, config)


FIELDS = st.sampled_from(
    [
        *("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "peft_type", "bias"),
        *("init_lora_weights", "base_model_name_or_path", "revision", "use_dora", "lora_bias"),
        *("modules_to_save", "target_parameters", "megatron_config", "fan_in_fan_out"),
    ]
)


@settings(max_examples=300)
@given(st.dictionaries(FIELDS | st.text(max_size=6), JSON_VALUES, min_size=1, max_size=3))
@example({"lora_alpha": 2**70})
@example({"lora_alpha": 1e308})
@example({"lora_alpha": 5e-324})
@example({"r": 2**70})
def test_any_value_of_any_field(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]
) -> None:
    config = json.dumps({**json.loads(SETTINGS), **fields}).encode()
    loads_or_is_refused(tmp_path_factory.getbasetemp() / "fuzz", WEIGHTS, config)


# A full checkpoint in two shards, with its base: every file of both may be a stranger's.

W = {f"{V}.weight": ONES, "model.layers.0.mlp.up_proj.weight": 2 * ONES, "model.norm.weight": ONES}
SHARDS = {
    f"model-{i}.safetensors": packed(*header_of({name: stored(3 * value)}))
    for i, (name, value) in enumerate(W.items())
}
PLACED = {name: f"model-{i}.safetensors" for i, name in enumerate(W)}
MODEL = {
    **SHARDS,
    "model.safetensors.index.json": json.dumps({"weight_map": PLACED}).encode(),
    "base/model.safetensors": packed(*header_of({n: stored(v) for n, v in W.items()})),
    "base/config.json": b'{"model_type": "llama", "tie_word_embeddings": true}',
}
MODULES = [name.removesuffix(".weight") for name in W]


def differs_rightly(folder: Path, files: dict[str, bytes]) -> bool:
    """Fine-tuned minus base, or refused in one line; whether it loaded."""
    (folder / "base").mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    try:
        found = load(folder, base=open_base(folder / "base"))
        updates = {str(key): update.dense() for key, update in found.items()}
    except DeltalensError as error:
        assert_one_line(str(error))
        return False
    assert updates
    assert all(np.isfinite(dW).all() for dW in updates.values())
    return True


def test_a_full_checkpoint_in_shards_is_the_difference(tmp_path: Path) -> None:
    assert differs_rightly(tmp_path / "m", MODEL)
    found = load(tmp_path / "m", base=open_base(tmp_path / "m" / "base"))
    assert sorted(map(str, found)) == sorted(MODULES)
    for name, value in W.items():
        dW = found[ModuleKey(name.removesuffix(".weight"))].dense()
        np.testing.assert_array_equal(dW, 2 * value)


@settings(max_examples=300)
@given(st.sampled_from(sorted(MODEL)), st.lists(edits(400), min_size=1, max_size=3))
def test_changed_files_of_a_model_and_its_base(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[Edit]
) -> None:
    data = MODEL[name]
    for change in changes:
        data = change(data)
    differs_rightly(tmp_path_factory.getbasetemp() / "model", {**MODEL, name: data})


def test_nan_where_no_update_reads_changes_no_number(tmp_path: Path) -> None:
    # The fuzzer held such a file for wrong; what it compared with was.
    odd = {**W, "model.unused.weight": ONES * np.float32("nan")}
    base = packed(*header_of({n: stored(v) for n, v in odd.items()}))
    assert differs_rightly(tmp_path / "m", {**MODEL, "base/model.safetensors": base})
    found = load(tmp_path / "m", base=open_base(tmp_path / "m" / "base"))
    np.testing.assert_array_equal(found[ModuleKey(V)].dense(), 2 * ONES)
