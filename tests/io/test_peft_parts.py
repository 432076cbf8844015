"""The parts of a PEFT file that are no LoRA pair: refused, warned of or measured, one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import CONFIG, Q, Stored, assert_one_line, header_of, packed, pair, stored, write

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.errors import AdapterError, DeltalensError, UnsupportedAdapterError
from deltalens.io.base import BaseModel, open_base
from deltalens.io.dora import dora
from deltalens.io.initialised import leading_columns, leading_part
from deltalens.io.read import load

PATH = "model.layers.0.self_attn.q_proj"
EMBED = "base_model.model.model.embed_tokens"
PISSA = {**CONFIG, "init_lora_weights": "pissa"}
DORA = {**CONFIG, "use_dora": True}


def a_base(folder: Path, tensors: Mapping[str, np.ndarray], **config: Any) -> BaseModel:
    """A base of exactly these tensors."""
    folder.mkdir()
    held = {name: stored(value) for name, value in tensors.items()}
    (folder / "model.safetensors").write_bytes(packed(*header_of(held)))
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return open_base(folder)


def q_base(folder: Path, W: np.ndarray | None = None) -> BaseModel:
    W = np.arange(12.0).reshape(3, 4) + np.eye(3, 4) if W is None else W
    return a_base(folder, {f"{PATH}.weight": W})


def refused(folder: Path, match: str, base: BaseModel | None = None) -> DeltalensError:
    with pytest.raises(DeltalensError, match=match) as caught:
        for _ in load(folder, base=base).values():
            pass
    assert_one_line(str(caught.value), naming=folder.name)
    return caught.value


def magnitude(n: int = 3, name: str = f"{Q}.lora_magnitude_vector") -> dict[str, Stored]:
    return {name: stored(np.ones(n, "<f4"))}


# DoRA


def test_dora_keeps_directions_and_sets_sizes(rng: np.random.Generator) -> None:
    W, m = rng.standard_normal((5, 7)), rng.random(5)
    update = LowRankUpdate(rng.standard_normal((5, 2)), rng.standard_normal((2, 7)))
    changed = W + dora(W, update, m)
    np.testing.assert_allclose(np.linalg.norm(changed, axis=1), m)
    plain = W + update.dense()
    np.testing.assert_allclose(changed / m[:, None], plain / np.linalg.norm(plain, axis=1)[:, None])


def test_dora_that_kept_its_sizes_is_lora(rng: np.random.Generator) -> None:
    W = rng.standard_normal((5, 7))
    update = LowRankUpdate(rng.standard_normal((5, 2)), rng.standard_normal((2, 7)))
    norms = np.linalg.norm(W + update.dense(), axis=1)
    np.testing.assert_allclose(dora(W, update, norms), update.dense(), atol=1e-14)


def test_dora_is_refused_where_it_is_not_defined(tmp_path: Path) -> None:
    both = {**pair(), **magnitude()}
    base = q_base(tmp_path / "base")
    refused(write(tmp_path / "a", both, DORA), "DoRA .* give --base")
    refused(write(tmp_path / "b", both), "use_dora is false in the config, with 1 lora_magnitude")
    refused(write(tmp_path / "c", pair(), DORA), "use_dora is true in the config, with 0 lora_mag")
    two = {**both, **pair(Q.replace("q_", "v_"))}
    refused(write(tmp_path / "d", two, DORA), "v_proj lacks lora_A and lora_B, or lora_mag")
    wrong = {**pair(), **magnitude(4)}
    refused(write(tmp_path / "e", wrong, DORA), r"is F32 \[4\]; 3 magnitudes are needed", base)
    folder = write(tmp_path / "f", both, DORA)
    refused(
        folder, r"is \[3, 4\]; the base .* has \[5, 4\]", q_base(tmp_path / "b2", np.ones((5, 4)))
    )
    zero = {**pair(), **magnitude(), f"{Q}.lora_B.weight": stored(np.zeros((3, 2), "<f4"))}
    empty_row = np.ones((3, 4)) * [[1.0], [0.0], [1.0]]
    folder = write(tmp_path / "g", zero, DORA)
    refused(
        folder, "q_proj: row 1 of the changed weight is zero", q_base(tmp_path / "b3", empty_row)
    )


@pytest.mark.parametrize("name", ["", ".weight", ".default", ".default.weight"])
def test_every_spelling_of_a_magnitude(name: str, tmp_path: Path) -> None:
    tensors = {**pair(), **magnitude(3, f"{Q}.lora_magnitude_vector{name}")}
    adapter = load(write(tmp_path / "a", tensors, DORA), base=q_base(tmp_path / "base"))
    assert adapter.specs[ModuleKey(PATH)].rank == 3
    assert "DoRA" in adapter.specs[ModuleKey(PATH)].gauge


# PiSSA and OLoRA


def test_the_leading_part_is_the_best_approximation(rng: np.random.Generator) -> None:
    for shape in ((6, 9), (9, 6), (5, 5)):
        W = rng.standard_normal(shape)
        U, S, Vt = np.linalg.svd(W, full_matrices=False)
        best = U[:, :3] * S[:3] @ Vt[:3]
        np.testing.assert_allclose(leading_part(W, 3).dense(), best, atol=1e-12)
        np.testing.assert_allclose(leading_part(W, min(shape)).dense(), W, atol=1e-12)


def test_an_undetermined_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"singular values 2 and 3 .* is not determined"):
        leading_part(np.eye(4), 2)
    folder, base = write(tmp_path / "a", config=PISSA), q_base(tmp_path / "base", np.eye(3, 4))
    refused(folder, "q_proj: singular values 2 and 3", base)


def test_the_leading_columns_are_those_of_qr(rng: np.random.Generator) -> None:
    W = rng.standard_normal((6, 9))
    taken = leading_columns(W, 2, 0.5)
    # Gram-Schmidt reproduces the first columns exactly, and leaves the rest orthogonal to them.
    np.testing.assert_allclose(2 * taken.dense()[:, :2], W[:, :2], atol=1e-12)
    np.testing.assert_allclose((W - 2 * taken.dense()).T @ W[:, :2], 0, atol=1e-12)


@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_initialisations_that_take_from_the_base_are_refused(method: str, tmp_path: Path) -> None:
    config = {**CONFIG, "init_lora_weights": method}
    error = refused(write(tmp_path / "a", config=config), "took a part out .* give --base")
    assert isinstance(error, UnsupportedAdapterError)
    base = q_base(tmp_path / "base")
    folder = write(tmp_path / "b", config={**config, "lora_alpha": -1})
    refused(folder, f"{method} is defined for linear layers with a positive scaling", base)
    folder = write(tmp_path / "c", {**pair(), **magnitude()}, {**config, "use_dora": True})
    refused(folder, f"DoRA on {method} is not read", base)
    other = q_base(tmp_path / "other", np.ones((4, 4)))
    refused(write(tmp_path / "d", config=config), r"\[3, 4\]; the base .* has \[4, 4\]", other)


# Modules that are saved whole


def whole(rows: int = 5, name: str = f"{EMBED}.weight") -> dict[str, Stored]:
    return {**pair(), name: stored(np.arange(rows * 4.0).reshape(rows, 4) + 1)}


def embedding(folder: Path, rows: int = 5, width: int = 4, add: float = 0.0) -> BaseModel:
    W = np.arange(float(rows * width)).reshape(rows, width) + add
    return a_base(folder, {"model.embed_tokens.weight": W, f"{PATH}.weight": np.ones((3, 4))})


@pytest.mark.parametrize(
    "name",
    [
        f"{EMBED}.weight",
        f"{EMBED}.modules_to_save.weight",
        f"{EMBED}.modules_to_save.default.weight",
        "model.embed_tokens.weight",
    ],
)
def test_every_spelling_of_a_saved_module(name: str, tmp_path: Path) -> None:
    adapter = load(write(tmp_path / "a", whole(name=name)), base=embedding(tmp_path / "base"))
    update = adapter[ModuleKey("model.embed_tokens")]
    np.testing.assert_allclose(update.dense().T, np.ones((5, 4)))
    assert adapter.specs[ModuleKey("model.embed_tokens")].stored == (5, 4)
    assert adapter.provenance.warnings == ()


@pytest.mark.parametrize(("rows", "held"), [(7, 5), (3, 3)])
def test_another_number_of_rows_is_told(rows: int, held: int, tmp_path: Path) -> None:
    adapter = load(write(tmp_path / "a", whole(rows)), base=embedding(tmp_path / "base"))
    (warning,) = adapter.provenance.warnings
    assert f"was saved with {rows} rows; the base has 5: the first {held} are compared" in warning
    change = adapter[ModuleKey("model.embed_tokens")].dense().T
    np.testing.assert_array_equal(change, np.ones((5, 4)) * (np.arange(5) < held)[:, None])


def test_what_was_saved_whole_is_measured_or_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", whole())
    (warning,) = load(folder).provenance.warnings
    assert warning == (
        "model.embed_tokens [5, 4] was saved whole: its change is not measured without the base "
        "(--base)"
    )
    copy = load(folder, base=embedding(tmp_path / "copy", add=1.0))
    assert copy.provenance.warnings == (
        "model.embed_tokens was saved whole and equals the base's: no update",
    )
    assert len(copy) == 1
    absent = load(folder, base=q_base(tmp_path / "absent", np.ones((3, 4))))
    assert "is not in the base: not measured" in absent.provenance.warnings[0]
    refused(folder, r"is \[5, 4\]; the base .* has \[5, 3\]", embedding(tmp_path / "x", width=3))
    norm = {**pair(), "base_model.model.model.norm.weight": stored(np.ones(4, "<f4"))}
    (warning,) = load(write(tmp_path / "n", norm)).provenance.warnings
    assert warning == "model.norm [4] was saved whole and is no matrix: not measured"
    both = {**pair(), f"{Q}.weight": stored(np.zeros((3, 4)))}
    base = q_base(tmp_path / "both")
    refused(write(tmp_path / "b", both), "q_proj has LoRA factors and is saved whole", base)
    broken = {**pair(), f"{EMBED}.weight": stored(np.ones((0, 4)))}
    refused(write(tmp_path / "c", broken), r"is F64 \[0, 4\]; a weight of")
    lone = {f"{EMBED}.weight": stored(np.ones((5, 4)))}
    refused(write(tmp_path / "d", lone), "holds no LoRA tensors; .* need --base")
    assert len(load(tmp_path / "d", base=embedding(tmp_path / "e"))) == 1


# Trained token rows


def tokens(rows: int = 2) -> dict[str, Stored]:
    name = f"{EMBED}.token_adapter.trainable_tokens_delta"
    return {**pair(), name: stored(np.full((rows, 4), 9.0))}


def test_trained_rows_are_an_exact_low_rank_update(tmp_path: Path) -> None:
    config = {**CONFIG, "trainable_token_indices": [4, 1]}
    folder, base = write(tmp_path / "a", tokens(), config), embedding(tmp_path / "base")
    adapter = load(folder, base=base)
    update, W = adapter[ModuleKey("model.embed_tokens")], base.tensor("model.embed_tokens")
    assert update.rank == 2
    expected = np.zeros((5, 4))
    expected[[4, 1]] = 9 - W[[4, 1]]
    np.testing.assert_array_equal(update.dense().T, expected)
    (warning,) = load(folder).provenance.warnings
    assert "2 trained token rows: their change is not measured without the base" in warning


@pytest.mark.parametrize(
    ("indices", "match"),
    [
        ([1], r"is F64 \[2, 4\]; trainable_token_indices names 1 rows of it"),
        ({"lm_head": [1, 2]}, "names 0 rows of it"),
        (None, "names 0 rows of it"),
        ([1, 5], r"for rows up to 5; the base .* has \[5, 4\]"),
        ([1, 1], "must be distinct row numbers"),
        ([-1, 1], "must be distinct row numbers"),
        ([True, 1], "must be distinct row numbers"),
        ("12", "must be distinct row numbers"),
        ({"embed_tokens": 3}, "must be distinct row numbers"),
    ],
)
def test_rows_that_do_not_fit_are_refused(indices: Any, match: str, tmp_path: Path) -> None:
    config = {**CONFIG, "trainable_token_indices": indices}
    refused(write(tmp_path / "a", tokens(), config), match, embedding(tmp_path / "base"))


def test_indices_without_rows_are_refused(tmp_path: Path) -> None:
    config = {**CONFIG, "trainable_token_indices": [1]}
    refused(write(tmp_path / "a", pair(), config), "no trainable_tokens_delta is in the file")


# Biases


def test_biases_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    lora = {**pair(), f"{Q}.lora_B.bias": stored(np.ones(3, "<f4"))}
    refused(write(tmp_path / "a", lora), "lora_bias is false in the config, with 1 biases")
    config = {**CONFIG, "lora_bias": True}
    refused(write(tmp_path / "b", pair(), config), "lora_bias is true in the config, with 0 biases")
    lone = {**pair(), f"{Q}x.lora_B.bias": stored(np.ones(3, "<f4"))}
    refused(write(tmp_path / "c", lone, config), "is the bias of no LoRA module")
    square = {**pair(), f"{Q}.lora_B.bias": stored(np.ones((3, 1), "<f4"))}
    refused(write(tmp_path / "d", square, config), r"is F32 \[3, 1\]; a bias is a vector")
    refused(
        write(tmp_path / "e", config={**CONFIG, "bias": "some"}), "bias must be one of none, al"
    )
    base = a_base(
        tmp_path / "base", {f"{PATH}.weight": np.ones((3, 4)), f"{PATH}.bias": np.ones(4)}
    )
    own = {**pair(), f"{Q}.bias": stored(np.ones(3, "<f4"))}
    folder = write(tmp_path / "f", own, {**CONFIG, "bias": "all"})
    refused(folder, r"is \[3\]; the base .* has \[4\]", base)


def test_a_lora_bias_is_scaled_like_B(tmp_path: Path) -> None:
    tensors = {**pair(), f"{Q}.lora_B.bias": stored(np.arange(3.0))}
    adapter: Adapter = load(write(tmp_path / "a", tensors, {**CONFIG, "lora_bias": True}))
    change = adapter.biases[PATH]
    assert change is not None
    np.testing.assert_array_equal(change(), [0.0, 2.0, 4.0])


# Layouts


@pytest.mark.parametrize(
    ("layout", "shape", "stored_shape"),
    [
        (Layout(), (3, 4), (3, 4)),
        (Layout(transposed=True), (3, 4), (4, 3)),
        (Layout(kernel=(2, 3)), (5, 12), (5, 2, 2, 3)),
        (Layout(kernel=(3,)), (5, 6), (5, 2, 3)),
    ],
)
def test_the_probe_is_over_the_stored_tensor(
    layout: Layout, shape: tuple[int, int], stored_shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    update = LowRankUpdate(rng.standard_normal((shape[0], 2)), rng.standard_normal((2, shape[1])))
    dW = update.dense()
    tensor = dW.T if layout.transposed else dW.reshape(stored_shape)
    assert layout.stored(shape) == tensor.shape
    np.testing.assert_array_equal(layout.matrix(tensor), dW)
    slow = sum(
        tensor[at] * np.cos(1 + np.dot(at, (0.7, 0.3, 0.9, 0.5)[: len(at)]))
        for at in np.ndindex(*stored_shape)
    )
    assert layout.probe(update) == pytest.approx(slow)
    if not layout.kernel:
        stacked = sum(
            tensor[at] * np.cos(1 + 0.7 * 2 + np.dot(at, (0.3, 0.9)))
            for at in np.ndindex(*stored_shape)
        )
        assert layout.probe(update, expert=2) == pytest.approx(stacked)


def test_the_bases_shape_is_trusted_over_the_flag(tmp_path: Path) -> None:
    conv1d = pair("base_model.model.h.0.attn.c_attn", out=6)
    linear = pair("base_model.model.lm_head", out=5)
    flagged = write(tmp_path / "a", {**conv1d, **linear}, {**CONFIG, "fan_in_fan_out": True})
    unflagged = write(tmp_path / "b", {**conv1d, **linear})
    W = {"h.0.attn.c_attn.weight": np.ones((4, 6)), "lm_head.weight": np.ones((5, 4))}
    base = a_base(tmp_path / "base", W)
    for folder in (flagged, unflagged):
        specs = load(folder, base=base).specs
        assert specs[ModuleKey("h.0.attn.c_attn")].stored == (4, 6)
        assert specs[ModuleKey("lm_head")].stored == (5, 4)
    specs = load(flagged).specs
    assert specs[ModuleKey("h.0.attn.c_attn")].stored == (4, 6)
    assert specs[ModuleKey("lm_head")].stored == (5, 4)
    other = a_base(tmp_path / "other", {"h.0.attn.c_attn.weight": np.ones((9, 6))})
    refused(flagged, r"c_attn is \[6, 4\]; the base .* has \[9, 6\]", other)


@pytest.mark.parametrize(
    ("model_type", "flag", "transposed"),
    [("gpt2", False, True), ("llama", True, False), (None, True, True), (None, False, False)],
)
def test_a_square_weight_is_as_its_architecture_stores_it(
    model_type: str | None, flag: bool, transposed: bool, tmp_path: Path
) -> None:
    tensors = pair("base_model.model.h.0.attn.c_proj", out=4)
    folder = write(tmp_path / "a", tensors, {**CONFIG, "fan_in_fan_out": flag})
    config = {} if model_type is None else {"model_type": model_type}
    base = a_base(tmp_path / "base", {"h.0.attn.c_proj.weight": np.ones((4, 4))}, **config)
    spec = load(folder, base=base).specs[ModuleKey("h.0.attn.c_proj")]
    assert spec.layout.transposed is transposed


def convolved(B: tuple[int, ...], A: tuple[int, ...] = (2, 4, 3, 3)) -> dict[str, Stored]:
    return {
        f"{Q}.lora_A.weight": stored(np.ones(A, "<f4")),
        f"{Q}.lora_B.weight": stored(np.ones(B, "<f4")),
    }


def test_convolutions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "a", convolved((3, 2))), "the inner ranks must agree")
    refused(write(tmp_path / "b", convolved((3, 2, 3, 1))), "the inner ranks must agree")
    three = convolved((3, 2, 1, 1, 1), (2, 4, 3, 3, 3))
    refused(write(tmp_path / "c", three), "convolutions of one or two dimensions are read")
    base = q_base(tmp_path / "base", np.ones((3, 4, 5, 5)))
    folder = write(tmp_path / "d", convolved((3, 2, 1, 1)))
    refused(folder, r"is \[3, 4, 3, 3\]; the base .* has \[3, 4, 5, 5\]: other, or a conv", base)


# Experts


def experts(out: int = 3, in_: int = 4, rows: int = 4, nested: str = "") -> dict[str, Stored]:
    stem = f"base_model.model.mlp.experts{nested}"
    return {
        f"{stem}.lora_A.weight": stored(np.ones((rows, in_), "<f4")),
        f"{stem}.lora_B.weight": stored(np.ones((out, rows), "<f4")),
    }


TARGETS = {**CONFIG, "target_parameters": ["experts.up", "experts.down"]}


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        ({"up": (2, 4, 4), "down": (2, 5, 3)}, r"up \[2, 4, 4\] of the base fits none"),
        ({"up": (2, 3, 4), "down": (2, 4, 3)}, "fits 2 ways"),
        ({}, "parameters none of the base fits none"),
        ({"up": (3, 3, 4)}, "fits none"),
    ],
)
def test_experts_are_told_by_the_bases_shapes_or_refused(
    shapes: dict[str, tuple[int, ...]], match: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "a", experts(), TARGETS)
    held = {f"mlp.experts.{name}": np.ones(shape) for name, shape in shapes.items()}
    refused(folder, match, a_base(tmp_path / "base", {"x.weight": np.ones((1, 1)), **held}))


def test_square_experts_are_told_by_their_sister_or_refused(tmp_path: Path) -> None:
    square = experts(out=4)
    up = {"mlp.experts.up": np.ones((2, 4, 4))}
    folder = write(tmp_path / "a", square, TARGETS)
    refused(folder, r"up is square in the base, \[2, 4, 4\]", a_base(tmp_path / "base", up))
    sister = experts(out=7, nested=".base_layer")
    folder = write(tmp_path / "b", {**square, **sister}, TARGETS)
    both = {**up, "mlp.experts.down": np.ones((2, 4, 7))}
    adapter = load(folder, base=a_base(tmp_path / "both", both))
    assert {str(key): spec.layout.transposed for key, spec in adapter.specs.items()} == {
        f"mlp.experts.{name}[{e}]": True for name in ("up", "down") for e in range(2)
    }


def test_experts_without_target_parameters_are_not_understood(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", experts(nested=".base_layer"), {**CONFIG, "r": 4})
    refused(folder, "is not understood: LoRA inside base_layer .* which the config lacks")
    refused(write(tmp_path / "b", experts(), TARGETS), "target_parameters.* give --base")


# Several files


def shards(folder: Path, **index: Any) -> Path:
    write(folder)
    (folder / "adapter_model.safetensors").unlink()
    for i, (name, tensor) in enumerate(pair().items()):
        data = packed(*header_of({name: tensor}))
        (folder / f"adapter_model-{i}.safetensors").write_bytes(data)
    weight_map = {name: f"adapter_model-{i}.safetensors" for i, name in enumerate(pair())}
    text = json.dumps({"weight_map": weight_map} | index)
    (folder / "adapter_model.safetensors.index.json").write_text(text)
    return folder


def test_shards_are_one_adapter(tmp_path: Path) -> None:
    one, many = load(write(tmp_path / "one")), load(shards(tmp_path / "many"))
    np.testing.assert_array_equal(one[ModuleKey(PATH)].dense(), many[ModuleKey(PATH)].dense())
    assert many.specs == one.specs
    assert many.provenance.path.endswith("index.json")
    files = sorted(str(file) for file in (tmp_path / "many").glob("*.safetensors"))
    assert many.provenance.inputs == (many.provenance.path, *files)


@pytest.mark.parametrize(
    ("index", "match"),
    [
        ({"weight_map": {f"{Q}.lora_A.weight": "../one.safetensors"}}, "only plain file names"),
        ({"weight_map": {"x": "adapter_model-0.safetensors"}}, "lacks x, which adapter_model.safe"),
        (
            {"weight_map": {f"{Q}.lora_A.weight": "adapter_model-9.safetensors"}},
            "cannot be read: No such file",
        ),
        ({"weight_map": 3}, "weight_map must be an object"),
    ],
)
def test_an_index_is_not_trusted(index: dict[str, Any], match: str, tmp_path: Path) -> None:
    refused(shards(tmp_path / "a", **index), match)


def test_a_shard_with_more_than_the_index_names_is_refused(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a")
    data = packed(*header_of({**pair(), "extra": stored(np.ones((1, 1), "<f4"))}))
    (folder / "adapter_model-0.safetensors").write_bytes(data)
    refused(folder, "holds .*, which adapter_model.safetensors.index.json does not put there")


# The base's own ways


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    W = {"model.embed_tokens.weight": np.arange(20.0).reshape(5, 4)}
    tied = a_base(tmp_path / "tied", W, tie_word_embeddings=True)
    np.testing.assert_array_equal(tied.weight("lm_head"), W["model.embed_tokens.weight"])
    folder = write(tmp_path / "a", pair("base_model.model.lm_head", out=5))
    (warning,) = load(folder, base=tied).provenance.warnings
    assert warning == "lm_head: the base ties embedding and head: it acts at both"
    untied = a_base(tmp_path / "untied", W)
    assert "lm_head" not in untied
    assert load(folder, base=untied).provenance.warnings == ()


@pytest.mark.parametrize("name", ["unsloth/llama-3-8b-bnb-4bit", "x/y-AWQ", "z-GPTQ-Int4"])
def test_a_quantised_base_is_told(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", config={**CONFIG, "base_model_name_or_path": name})
    (warning,) = load(folder).provenance.warnings
    assert warning == "the base is quantised: the update adds to its dequantised weights"
