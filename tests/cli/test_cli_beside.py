"""What covariances and initial factors add to the screen and to the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapter_files import initial, strict_json, trained, write_adapter, write_tensors
from deltalens.cli.main import main
from deltalens.core.moment import InputMoment
from deltalens.io.covariance_info import CovarianceInfo
from deltalens.io.covariances import parts, write_covariances
from deltalens.studies.compare import output
from deltalens.studies.compare.study import compare

Captured = pytest.CaptureFixture[str]
SHAPES = {
    "model.layers.0.self_attn.q_proj": (40, 48),
    "model.layers.0.mlp.up_proj": (72, 48),
}


def run(folder: Path, seed: int) -> Path:
    A0, rng = initial(0, 4, SHAPES), np.random.default_rng(seed)
    A = {p: a + 0.05 * rng.standard_normal(a.shape) / np.sqrt(48) for p, a in A0.items()}
    write_adapter(folder, trained(A, seed, out=SHAPES))
    start = {f"base_model.model.{p}.lora_A.weight": a for p, a in A0.items()}
    write_tensors(folder / "initial_lora_A.safetensors", start)
    return folder


def covariance_file(path: Path, model: str = "b") -> Path:
    squares = np.array([100.0, *np.linspace(1, 2, 47)])
    name = "model.layers.0.self_attn.q_proj"
    info = CovarianceInfo(
        model=model, model_digest="0", texts="t.txt", texts_digest="1", kind="diagonal",
        centred=False, rank=None, seed=0, n_documents=1, n_tokens=100, n_dropped=1, n_cut=0,
        drop_first=1, inputs={name: tuple(SHAPES)}, captured={name: 0.0}, versions={},
    )  # fmt: skip
    tensors = [(f"{name}.{p}", v) for p, v in parts(InputMoment.of_diagonal(squares)).items()]
    write_covariances(path, info, {n: v.shape for n, v in tensors}, tensors)
    return path


def test_the_screen_shows_them_with_what_they_are_worth(tmp_path: Path, capsys: Captured) -> None:
    a, b = (str(run(tmp_path / name, i)) for i, name in enumerate("ab"))
    held = str(covariance_file(tmp_path / "c.safetensors"))
    assert main(["compare", a, b, "--covariances", held]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert "Weighed by inputs: diagonal raw second moment of 100 tokens" in said
    assert "far\nabove 1 its p is an upper bound" in said
    assert "Input-side overlap outside the true initial rows" in said
    assert "unrelated tasks exceed chance too" in said
    assert main(["compare", a, b, "--covariances", held, "--json"]) == 0
    pair = strict_json(capsys.readouterr()[0])["pairs"][0]
    assert pair["null_used"]["cosine"] == "activation"
    assert pair["nulls"]["activation"]["cosine"]["draws"] == 0
    (tmp_path / "a" / "initial_lora_A.safetensors").unlink()
    assert main(["compare", a, b]) == 0
    plain = capsys.readouterr()[0]
    assert "Weighed by inputs" not in plain
    assert "outside the true initial rows" not in plain


def test_the_report_shows_them(tmp_path: Path) -> None:
    a, b = (run(tmp_path / name, i) for i, name in enumerate("ab"))
    held = covariance_file(tmp_path / "c.safetensors")
    document = compare([a, b], covariances=held, full_provenance=False).document
    found = {section.title: section for section in output._sections(document, {})}
    weighed = found["Weighed by the inputs"]
    assert (
        f"participation ratio {document['covariances']['effective_rank']['smallest']:.3g} to"
        in weighed.paragraphs[0]
    )
    pair = document["pairs"][0]
    row = weighed.blocks[0].rows[0]
    sd = pair["nulls"]["activation"]["cosine"]["sd"]
    assert row[:4] == ("a - b", pair["cosine"], sd, pair["activation_cosine"])
    left = found["Input overlap outside the true initial rows"]
    assert "supports no claim" in left.paragraphs[0]
    assert left.blocks[0].rows[0][2] == pair["residual_overlap"]
    bare = compare([a, b], full_provenance=False).document
    assert "Weighed by the inputs" not in {s.title for s in output._sections(bare, {})}


def test_covariances_that_do_not_fit_are_one_line(tmp_path: Path, capsys: Captured) -> None:
    a, b = (str(run(tmp_path / name, i)) for i, name in enumerate("ab"))
    other = str(covariance_file(tmp_path / "c.safetensors", model="another"))
    for held, said in ((other, "is of another, and a names b"), (a, "not a regular file")):
        assert main(["compare", a, b, "--covariances", held]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert said in err
        assert err.count("\n") == 1
