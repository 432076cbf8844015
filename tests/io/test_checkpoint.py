"""Full fine-tunes against transformers' own models: fine-tuned minus base, tensor by tensor."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import assert_one_line

import deltalens
from adapter_files import strict_json, write_tensors
from conftest import make_llama
from deltalens.cli.main import main
from deltalens.core.keys import ModuleKey
from deltalens.errors import AdapterError, BaseModelError, DeltalensError, UnsupportedAdapterError
from deltalens.io.base import open_base
from deltalens.io.truncate_dense import truncated_dense
from deltalens.studies.walk.settings import adapter_digest

Captured = pytest.CaptureFixture[str]
LOOKUP = "model.embed_tokens"


def perturbed(model: Any, seed: int) -> Any:
    """The same model after a random step in every parameter."""
    import torch

    tuned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters():
            step = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter += 0.1 * step
    return tuned


@pytest.fixture(scope="module")
def models(tiny_llama: Any) -> tuple[Any, Any, Any]:
    return tiny_llama, perturbed(tiny_llama, 1), perturbed(tiny_llama, 2)


@pytest.fixture(scope="module")
def folders(models: tuple[Any, Any, Any], tmp_path_factory: Any) -> dict[str, Path]:
    """The base, a fine-tune in one file, and another in shards."""
    top = tmp_path_factory.mktemp("full")
    for name, model in zip(("base", "ft1", "ft2"), models, strict=True):
        size = "4KB" if name == "ft2" else "1GB"
        model.save_pretrained(top / name, max_shard_size=size)
    assert (top / "ft2" / "model.safetensors.index.json").is_file()
    return {name: top / name for name in ("base", "ft1", "ft2")}


def differences(tuned: Any, base: Any) -> dict[str, np.ndarray]:
    before = dict(base.named_parameters())
    return {name: (p - before[name]).detach().numpy() for name, p in tuned.named_parameters()}


@pytest.mark.parametrize(("name", "which"), [("ft1", 1), ("ft2", 2)])
def test_every_tensor_is_fine_tuned_minus_base(
    folders: dict[str, Path], models: tuple[Any, Any, Any], name: str, which: int
) -> None:
    truth = differences(models[which], models[0])
    found = deltalens.load(folders[name], base=open_base(folders["base"]))
    assert (found.name, found.provenance.format) == (name, "checkpoint")
    assert found.provenance.warnings == ()
    for key, update in found.items():
        dW = truth.pop(f"{key}.weight")
        dense = update.dense()
        assert update.rank == found.specs[key].rank == min(dW.shape)
        np.testing.assert_allclose(dense.T if str(key) == LOOKUP else dense, dW, atol=1e-15)
        assert found.specs[key].stored == dW.shape
    for tensor, change in found.biases.items():
        assert change is not None
        np.testing.assert_allclose(change(), truth.pop(tensor), atol=1e-15)
    assert truth == {}


def test_one_tensor_at_a_time(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from deltalens.io.tensors import TensorFile

    read: list[str] = []
    original = TensorFile.read

    def counted(self: TensorFile, name: str) -> np.ndarray:
        read.append(name)
        return original(self, name)

    monkeypatch.setattr(TensorFile, "read", counted)
    found = deltalens.load(folders["ft1"], base=open_base(folders["base"]))
    assert read == []
    _ = found[ModuleKey("model.layers.1.mlp.up_proj")]
    assert read == ["model.layers.1.mlp.up_proj.weight"] * 2


def test_without_a_base(folders: dict[str, Path], capsys: Captured) -> None:
    with pytest.raises(UnsupportedAdapterError, match="weights, not changes; give its base"):
        deltalens.load(folders["ft1"])
    assert main(["inspect", str(folders["ft1"])]) == 2
    assert "--base" in capsys.readouterr().err


def test_inspect_and_compare_as_a_user(
    folders: dict[str, Path], models: tuple[Any, Any, Any], capsys: Captured
) -> None:
    base = ["--base", str(folders["base"])]
    truth = differences(models[1], models[0])
    assert main(["inspect", str(folders["ft1"]), *base, "--json"]) == 0
    document = strict_json(capsys.readouterr().out)
    for name, row in document["modules"].items():
        dW = truth[f"{name}.weight"]
        i, j = np.indices(dW.shape)
        assert row["shape"] == list(dW.shape)
        assert row["norm"] == pytest.approx(np.linalg.norm(dW))
        assert row["probe"] == pytest.approx(float((dW * np.cos(1 + 0.7 * i + 0.3 * j)).sum()))
        S = np.linalg.svd(dW, compute_uv=False)
        assert row["stable_rank"] == pytest.approx((S**2).sum() / S[0] ** 2)
        np.testing.assert_allclose(row["singular_values"], S[:16])
    norms = {name: np.linalg.norm(truth[name]) for name in document["bias"]}
    assert len(norms) == 5
    assert document["bias"] == {n: {"norm": pytest.approx(v)} for n, v in norms.items()}
    paths = [str(folders[name]) for name in ("ft1", "ft2")]
    assert main(["compare", *paths, *base, "--json"]) == 0
    pair = strict_json(capsys.readouterr().out)["pairs"][0]
    # The identities that carry two dense updates are no common seed.
    assert (pair["shared_init"], pair["init_similarity"]) == ("none", None)
    assert pair["n_modules"] == len(document["modules"])
    other = differences(models[2], models[0])
    a, b = (
        np.concatenate([d[n].ravel() for n in sorted(d) if d[n].ndim == 2]) for d in (truth, other)
    )
    assert pair["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_export_extracts_a_lora(
    folders: dict[str, Path], models: tuple[Any, Any, Any], tmp_path: Path, capsys: Captured
) -> None:
    options = ["--base", str(folders["base"]), "--rank", "3", "--t", "1", "--dtype", "float64"]
    command = ["export", str(folders["ft1"]), *options, "--out", str(tmp_path / "x"), "--json"]
    assert main(command) == 0
    document = strict_json(capsys.readouterr().out)
    truth = differences(models[1], models[0])
    found = deltalens.load(tmp_path / "x" / "t-1")
    lost = total = 0.0
    for key, update in found.items():
        dW = truth[f"{key}.weight"]
        dW = dW.T if LOOKUP in str(key) else dW
        U, S, Vt = np.linalg.svd(dW, full_matrices=False)
        np.testing.assert_allclose(update.dense(), (U[:, :3] * S[:3]) @ Vt[:3], atol=1e-12)
        lost, total = lost + (S[3:] ** 2).sum(), total + (S**2).sum()
    assert len(found) == 2 * 7 + 2
    assert ModuleKey(LOOKUP) in found
    assert document["points"][0]["discarded_energy"] == pytest.approx(lost / total)
    assert "5 vectors" in " ".join(document["warnings"])


def small(
    folder: Path, tensors: dict[str, np.ndarray], config: dict[str, Any] | None = None
) -> Path:
    folder.mkdir()
    write_tensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


def test_missing_extra_and_resized_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    W = {f"{n}.weight": rng.standard_normal((6, 4)) for n in ("model.embed_tokens", "q", "k")}
    base = small(tmp_path / "base", W)
    tuned = {**W, "model.embed_tokens.weight": np.ones((8, 4)), "new.weight": np.ones((2, 2))}
    del tuned["k.weight"]
    found = deltalens.load(small(tmp_path / "ft", tuned), base=open_base(base))
    said = " ".join(found.provenance.warnings)
    assert "new.weight not in the base" in said
    assert "k.weight only in the base" in said
    assert "8 rows; the base has 6 (a resized vocabulary): the first 6 are compared" in said
    assert {str(key) for key in found} == {"model.embed_tokens", "q"}
    change = found[ModuleKey("model.embed_tokens")].dense().T
    np.testing.assert_allclose(change, 1 - W["model.embed_tokens.weight"])
    assert found[ModuleKey("q")].norm() == 0


def test_tied_weights_are_one(tmp_path: Path) -> None:
    model = make_llama(tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "base")
    perturbed(model, 3).save_pretrained(tmp_path / "ft")
    found = deltalens.load(tmp_path / "ft", base=open_base(tmp_path / "base"))
    assert ModuleKey(LOOKUP) in found
    assert ModuleKey("lm_head") not in found
    assert found.provenance.warnings == ()


def test_stacked_experts_are_apart(tmp_path: Path, rng: np.random.Generator) -> None:
    W, V = rng.standard_normal((2, 3, 4, 5))
    base = small(tmp_path / "base", {"layers.0.mlp.experts.gate_up_proj": W})
    tuned = small(tmp_path / "ft", {"layers.0.mlp.experts.gate_up_proj": V})
    found = deltalens.load(tuned, base=open_base(base))
    for e in range(3):
        key = ModuleKey("layers.0.mlp.experts.gate_up_proj", e)
        np.testing.assert_allclose(found[key].dense(), V[e] - W[e])


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"q.weight": np.ones((3, 4))}, r"q.weight is \[3, 4\]; the base .* has \[4, 4\]"),
        ({"q.weight": np.ones((4, 5))}, r"is \[4, 5\]"),
        ({"n.weight": np.ones(3), "q.weight": np.ones((4, 4))}, r"n.weight is F64 \[3\]"),
        ({"other.weight": np.ones((4, 4))}, "shares no matrix with the base"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], match: str
) -> None:
    base = small(tmp_path / "base", {"q.weight": np.ones((4, 4)), "n.weight": np.ones(4)})
    with pytest.raises(AdapterError, match=match) as caught:
        deltalens.load(small(tmp_path / "ft", tensors), base=open_base(base))
    assert_one_line(str(caught.value), naming="ft")


def test_a_broken_number_or_file(tmp_path: Path) -> None:
    W = np.ones((4, 4))
    base = small(tmp_path / "base", {"q.weight": W})
    bad = small(tmp_path / "bad", {"q.weight": W * np.nan})
    with pytest.raises(DeltalensError, match=r"q.weight holds NaN"):
        deltalens.load(bad, base=open_base(base))[ModuleKey("q")]
    (bad / "model.safetensors").write_bytes(b"\x00" * 4)
    with pytest.raises(BaseModelError, match="not a safetensors file"):
        deltalens.load(bad, base=open_base(base))


@pytest.mark.parametrize(("shape", "rank"), [((260, 240), 5), ((30, 40), 5), ((30, 40), 30)])
def test_the_closest_matrix_of_a_rank(
    shape: tuple[int, int], rank: int, rng: np.random.Generator
) -> None:
    dW = 1e-3 * rng.standard_normal(shape)
    kept, norm, lost = truncated_dense(dW, rank)
    U, S, Vt = np.linalg.svd(dW, full_matrices=False)
    assert kept.rank == rank
    assert norm == pytest.approx(np.linalg.norm(dW))
    assert lost == pytest.approx(np.linalg.norm(S[rank:]), abs=1e-12)
    np.testing.assert_allclose(kept.dense(), (U[:, :rank] * S[:rank]) @ Vt[:rank], atol=1e-12)
    assert truncated_dense(0 * dW, rank)[0].norm() == 0


def test_every_shard_is_hashed(folders: dict[str, Path], tmp_path: Path) -> None:
    tuned = tmp_path / "ft2"
    shutil.copytree(folders["ft2"], tuned)
    shards = sorted(tuned.glob("*.safetensors"))
    assert len(shards) > 1

    def hashed() -> tuple[dict[str, str], str]:
        result = deltalens.compare([folders["ft1"], tuned], base=folders["base"])
        held = {i["path"]: i["sha256"] for i in result.provenance["inputs"]}
        return held, adapter_digest(deltalens.load(tuned, base=open_base(folders["base"])))

    before, whole = hashed()
    index = tuned / "model.safetensors.index.json"
    assert set(before) == {str(folders["ft1"] / "model.safetensors"), *map(str, [index, *shards])}
    data = bytearray(shards[-1].read_bytes())
    data[-1] ^= 1  # the sign of a number of the last shard
    data[-8] ^= 1
    shards[-1].write_bytes(data)
    after, other = hashed()
    assert {path for path in before if before[path] != after[path]} == {str(shards[-1])}
    assert other != whole
