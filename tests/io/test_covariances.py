"""Covariance files: what is written is read again, and a stranger's file is checked first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import packed

from deltalens.core.moment import InputMoment, MomentKind
from deltalens.errors import AdapterError, BaseModelError, OutputError
from deltalens.io.covariance_info import CovarianceInfo
from deltalens.io.covariances import (
    open_covariances,
    parts,
    write_covariances,
)

D = 6
INPUTS = {"l.0.q": ("l.0.q", "l.0.k"), "l.0.down": ("l.0.down",)}


def info(kind: MomentKind, **changes: Any) -> CovarianceInfo:
    made = CovarianceInfo(
        model="m", model_digest="ab", texts="t.txt", texts_digest="cd", kind=kind, centred=False,
        rank=2 if kind == "low-rank" else None, seed=0, n_documents=3, n_tokens=30, n_dropped=3,
        n_cut=0, drop_first=1, inputs=INPUTS, captured=dict.fromkeys(INPUTS, 0.5),
        versions={"deltalens": "0"},
    )  # fmt: skip
    return replace(made, **changes)


def moments(kind: MomentKind) -> dict[str, InputMoment]:
    rng = np.random.default_rng(0)
    made: dict[str, InputMoment] = {}
    for name in INPUTS:
        F, squares = rng.standard_normal((D, 2)), rng.random(D)
        made[name] = {
            "full": InputMoment.full(F @ F.T),
            "diagonal": InputMoment.of_diagonal(squares),
            "low-rank": InputMoment(squares, F),
        }[kind]
    return made


def written(path: Path, kind: MomentKind, **changes: Any) -> Path:
    tensors = [
        (f"{name}.{part}", values)
        for name, moment in moments(kind).items()
        for part, values in parts(moment).items()
    ]
    write_covariances(path, info(kind, **changes), {n: v.shape for n, v in tensors}, tensors)
    return path


@pytest.mark.parametrize("kind", ["full", "diagonal", "low-rank"])
def test_what_is_written_is_read_again(kind: MomentKind, tmp_path: Path) -> None:
    found = open_covariances(written(tmp_path / "new" / "c.safetensors", kind))
    assert found.info == info(kind)
    assert "l.0.k" in found
    assert "l.0.v" not in found
    assert found.width("l.0.k") == D
    for module, name in (("l.0.q", "l.0.q"), ("l.0.k", "l.0.q"), ("l.0.down", "l.0.down")):
        read, was = found.moment(module), moments(kind)[name]
        assert read.kind == kind
        np.testing.assert_allclose(read.to_dense(), was.to_dense(), rtol=1e-6, atol=1e-6)
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "c.safetensors"]


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = open_covariances(written(tmp_path / "c.safetensors", "diagonal"))
    with pytest.raises(BaseModelError, match=r"has no module l\.0\.v; it holds 3 modules of m"):
        found.moment("l.0.v")


def test_a_file_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        written(tmp_path / "file" / "c.safetensors", "diagonal")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def header(**changes: Any) -> dict[str, Any]:
    record = {"format": "deltalens.covariances/1", **vars(info("diagonal"))}
    return {k: v for k, v in {**record, **changes}.items() if v != "absent"}


def file(path: Path, record: Mapping[str, Any] | str, tensors: Mapping[str, list[int]]) -> Path:
    """A covariance file of zeros whose header says anything."""
    text = record if isinstance(record, str) else json.dumps(record)
    head: dict[str, Any] = {"__metadata__": {"deltalens.covariances": text}}
    place = 0
    for name, shape in tensors.items():
        size = 4 * int(np.prod(shape))
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    path.write_bytes(packed(head, bytes(place)))
    return path


GOOD = {f"{name}.diagonal": [D] for name in INPUTS}


@pytest.mark.parametrize(
    ("record", "tensors", "said"),
    [
        (header(format="x/2"), GOOD, r"format 'x/2'; 'deltalens\.covariances/1' is read"),
        (header(kind="cubic"), GOOD, "kind 'cubic'; known are full, low-rank, diagonal"),
        (header(n_tokens="many"), GOOD, "n_tokens must be int"),
        (header(centred=1), GOOD, "centred must be bool"),
        (header(rank=1.5), GOOD, "rank must be int or NoneType"),
        (header(model="absent"), GOOD, "model must be str"),
        (header(inputs={"a": "b"}), GOOD, "inputs: a must list module names"),
        (header(inputs={"a": ["x"], "b": ["x"]}), GOOD, "inputs: a module stands twice"),
        ("{", GOOD, "not valid JSON"),
        (header(), {}, r"l\.0\.q\.diagonal must have 1 axes; found none"),
        (header(), {f"{n}.diagonal": [D, 1] for n in INPUTS}, r"1 axes; found \[6, 1\]"),
        (header(kind="full"), {f"{n}.matrix": [D, 5] for n in INPUTS}, r"\[\[6, 5\]\] do not"),
        (
            header(kind="low-rank"),
            {f"{n}.{p}": s for n in INPUTS for p, s in (("diagonal", [D]), ("factor", [5, 2]))},
            r"shapes \[\[6\], \[5, 2\]\] do not agree",
        ),
    ],
)
def test_a_header_that_does_not_hold_is_refused(
    record: Any, tensors: Mapping[str, list[int]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BaseModelError, match=said) as found:
        open_covariances(file(tmp_path / "c.safetensors", record, tensors))
    assert "c.safetensors" in str(found.value)
    assert "\n" not in str(found.value)


def spoilt(path: Path, value: float, *, place: int) -> Path:
    """A full file in which one number is another one."""
    data = bytearray(written(path, "full").read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + 4 * place : start + 4 * place + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("value", "place", "said"),
    [
        (np.nan, 0, r"tensor l\.0\.q\.matrix holds NaN or infinity"),
        (9.0, 1, r"l\.0\.q: a second moment is symmetric"),
        (-9.0, 0, r"l\.0\.q: a mean square is 0 or more; found -9"),
    ],
)
def test_numbers_that_are_no_second_moment_are_refused(
    value: float, place: int, said: str, tmp_path: Path
) -> None:
    found = open_covariances(spoilt(tmp_path / "c.safetensors", value, place=place))
    with pytest.raises(BaseModelError, match=said):
        found.moment("l.0.k")


def test_other_files_are_no_covariances(tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    other.write_bytes(packed({}))
    with pytest.raises(BaseModelError, match=r"the header lacks deltalens\.covariances"):
        open_covariances(other)
    with pytest.raises(BaseModelError, match="No such file"):
        open_covariances(tmp_path / "none")
    other.write_bytes(b"nonsense")
    with pytest.raises(BaseModelError, match="not a safetensors file"):
        open_covariances(other)


def initial_file(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    from adapter_files import made, write_adapter, write_tensors

    modules = made(0, 1)
    write_adapter(folder, modules)
    tensors = {f"base_model.model.{p}.lora_A.weight": A for p, (_, A) in modules.items()}
    change(tensors)
    write_tensors(folder / "initial_lora_A.safetensors", tensors)
    return folder


def test_initial_factors_are_those_beside_the_adapter(tmp_path: Path) -> None:
    import deltalens
    from deltalens.io.initial import open_initial

    adapter = deltalens.load(initial_file(tmp_path / "a", lambda _: None))
    found = open_initial(adapter)
    assert found is not None
    for key in adapter:
        np.testing.assert_array_equal(found.A(key), adapter[key].A)
    assert open_initial(adapter + adapter) is None  # in memory: beside no file
    (tmp_path / "a" / "initial_lora_A.safetensors").unlink()
    assert open_initial(adapter) is None


def test_initial_factors_of_another_adapter_are_refused(tmp_path: Path) -> None:
    import deltalens
    from deltalens.io.initial import open_initial

    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    lacking = deltalens.load(initial_file(tmp_path / "a", lambda t: t.__delitem__(first)))
    with pytest.raises(AdapterError, match=r"lacks model\.layers\.0\.self_attn\.q_proj, which"):
        open_initial(lacking)
    wide = deltalens.load(
        initial_file(tmp_path / "b", lambda t: t.update({first: np.ones((4, 9))}))
    )
    with pytest.raises(AdapterError, match=r"is F64 \[4, 9\]; lora_A of the adapter is \[4, 48\]"):
        open_initial(wide)
