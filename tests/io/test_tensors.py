"""The safetensors header: checked against the file before anything is believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import Q, assert_one_line, header_of, packed, pair, refused, stored, write

import deltalens
from deltalens.errors import AdapterError, BaseModelError, DeltalensError
from deltalens.io.limits import Limits
from deltalens.io.tensors import DTYPES, TensorFile
from strategies import headers

A, B = f"{Q}.lora_A.weight", f"{Q}.lora_B.weight"
Header = dict[str, Any]


def changed(change: Callable[[Header], object], data: Callable[[bytes], bytes] = bytes) -> bytes:
    """A valid file with one change to its header, and perhaps to its bytes."""
    header, raw = header_of(pair())
    change(header)
    return packed(header, data(raw))


def setting(name: str, field: str, value: object) -> Callable[[Header], object]:
    return lambda header: header[name].__setitem__(field, value)


def moved(item: Header, by: int) -> Header:
    return {**item, "data_offsets": [offset + by for offset in item["data_offsets"]]}


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a safetensors file"),
    "seven bytes": (b"1234567", "not a safetensors file"),
    "no header": (bytes(8), "header: not valid JSON"),
    "git-lfs pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "a git-lfs pointer, not the weights; fetch them with git lfs pull",
    ),
    "a pickle": (b"PK\x03\x04" + bytes(100), "not a safetensors file|header"),
    "huge header length": (b"\xff" * 8 + b"{}", "a header of 18446744073709551615 bytes"),
    "header longer than the file": ((100).to_bytes(8, "little") + b"{}", "does not fit a file of"),
    "header too long": (packed(b" " * 10_000_001), r"at most 10000000 \(header_bytes\)"),
    "header is a list": (packed(b"[]"), "header: a JSON object is needed; found list"),
    "header is not UTF-8": (packed(b'{"\xff": 1}'), "header: not UTF-8 text"),
    "duplicate tensor": (
        packed(b'{"a": {}, "a": {}}'),
        "header: not valid JSON: the key 'a' stands twice",
    ),
    "deep header": (packed(b'{"a": ' + b"[" * 9999 + b"]" * 9999 + b"}"), "nested too deeply"),
    "huge integer": (
        packed(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b"]}}"),
        "a whole number of 5000 digits",
    ),
    "truncated": (packed(*header_of(pair()))[:-1], "bytes; the header describes"),
    "too long": (packed(*header_of(pair())) + b"\0", "bytes; the header describes"),
    "a gap at the start": (
        changed(
            lambda h: h.update({n: moved(h[n], 4) for n in h}),
            lambda raw: bytes(4) + raw,
        ),
        "the one before it ends at",
    ),
    "a gap": (
        changed(setting(B, "data_offsets", [36, 60]), lambda raw: raw + bytes(4)),
        "the one before it ends at",
    ),
    "an overlap": (changed(setting(B, "data_offsets", [8, 32])), "the one before it ends at"),
    "the same bytes twice": (
        changed(lambda h: h.update({A.replace("q_", "v_"): dict(h[A])})),
        "the one before it ends at",
    ),
    "offsets backwards": (changed(setting(A, "data_offsets", [32, 0])), "the offsets give -32"),
    "offsets too short": (changed(setting(A, "data_offsets", [0, 16])), "the offsets give 16"),
    "negative offset": (changed(setting(A, "data_offsets", [-32, 0])), "none negative"),
    "one offset": (changed(setting(A, "data_offsets", [32])), "lists of whole numbers"),
    "offsets are floats": (changed(setting(A, "data_offsets", [0.0, 32.0])), "whole numbers"),
    "offsets are text": (changed(setting(A, "data_offsets", "0-32")), "whole numbers"),
    "negative size": (changed(setting(A, "shape", [-2, -4])), "none negative"),
    "boolean size": (changed(setting(A, "shape", [True, 8])), "whole numbers"),
    "size beyond reason": (changed(setting(A, "shape", [2**48, 1])), "whole numbers"),
    "product beyond reason": (changed(setting(A, "shape", [2**47] * 8)), "the offsets give 32"),
    "nine dimensions": (changed(setting(A, "shape", [1] * 8 + [8])), "whole numbers"),
    "shape is null": (changed(setting(A, "shape", None)), "whole numbers"),
    "unknown dtype": (changed(setting(A, "dtype", "F4")), "dtype 'F4'; known are F64, F32"),
    "dtype is a list": (changed(setting(A, "dtype", ["F32"])), "known are F64"),
    "hostile dtype": (changed(setting(A, "dtype", "\x1b[2J\n" * 999)), "known are F64"),
    "no dtype": (changed(lambda h: h[A].pop("dtype")), "must give dtype, shape and data_offsets"),
    "one field more": (changed(setting(A, "x", 1)), "data_offsets, and nothing else"),
    "an entry is a number": (changed(lambda h: h.update({A: 3})), "must give dtype, shape"),
    "an entry is null": (changed(lambda h: h.update({A: None})), "must give dtype, shape"),
    "metadata is a list": (changed(lambda h: h.update(__metadata__=[])), "must map text to text"),
    "metadata is nested": (
        changed(lambda h: h.update(__metadata__={"a": {"b": "c"}})),
        "must map text to text",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_is_refused(case: str, tmp_path: Path) -> None:
    data, match = FILES[case]
    folder = write(tmp_path / "a", data)
    message = refused(folder, match)
    assert message.startswith(f"{folder}/adapter_model.safetensors: ")


def test_limits_are_options(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    size = (folder / "adapter_model.safetensors").stat().st_size
    refused(folder, "2 tensors; at most 1 are allowed", limits=Limits(tensors=1))
    refused(folder, rf"at most {size - 1} \(file_bytes\)", limits=Limits(file_bytes=size - 1))
    refused(folder, r"at most 20 \(header_bytes\)", limits=Limits(header_bytes=20))
    refused(folder, r"\d numbers; at most 5 \(elements\)", limits=Limits(elements=5))
    assert deltalens.load(folder, limits=Limits(tensors=2, file_bytes=size))


def test_very_many_tensors_are_refused(tmp_path: Path) -> None:
    empty = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    header = "{" + ",".join(f'"{i}":{empty}' for i in range(5001)) + "}"
    folder = write(tmp_path / "a", packed(header.encode()))
    refused(folder, "5001 tensors; at most 5000", limits=Limits(tensors=5000))
    assert Limits().tensors == 100_000


def test_metadata_is_kept_and_changes_nothing(tmp_path: Path) -> None:
    data = changed(lambda h: h.update(__metadata__={"format": "pt"}))
    folder = write(tmp_path / "a", data)
    file = TensorFile.open(folder / "adapter_model.safetensors")
    assert file.metadata == {"format": "pt"}
    assert set(file.entries) == {A, B}


def test_the_order_in_the_header_need_not_be_that_of_the_bytes(tmp_path: Path) -> None:
    header, raw = header_of(pair())
    backwards = dict(reversed(list(header.items())))
    one = deltalens.load(write(tmp_path / "a", packed(header, raw)))
    two = deltalens.load(write(tmp_path / "b", packed(backwards, raw)))
    for key, update in one.items():
        np.testing.assert_array_equal(update.dense(), two[key].dense())


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2"])
def test_files_written_by_safetensors_are_read(dtype: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors = {f"t{i}": rng.standard_normal((i, 3)).astype(dtype) for i in range(4)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"a": "b"})
    file = TensorFile.open(tmp_path / "x.safetensors")
    for name, expected in tensors.items():
        found = file.read(name)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected.astype(np.float64))


def test_read_into_takes_any_strides(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    (tmp_path / "x").write_bytes(packed(*header_of({"t": stored(values)})))
    out = np.zeros((3, 4))[:, ::2].T
    TensorFile.open(tmp_path / "x").read_into("t", out)
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("dtype", [d for d, (_, roundoff) in DTYPES.items() if roundoff == 0])
def test_an_unreadable_dtype_is_never_read_as_another(dtype: str, tmp_path: Path) -> None:
    size = DTYPES[dtype][0]
    data = packed(*header_of({"t": (dtype, [4], bytes(4 * size))}))
    (tmp_path / "x.safetensors").write_bytes(data)
    file = TensorFile.open(tmp_path / "x.safetensors")
    assert not file.entries["t"].readable
    with pytest.raises(AdapterError, match=f"tensor t is {dtype}; F64, F32, F16 and BF16 are read"):
        file.read("t")


def test_the_caller_chooses_the_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for data in (b"", packed(b"[]"), packed(b'{"a": 1}'), packed(b"{}", b"x")):
        path.write_bytes(data)
        with pytest.raises(BaseModelError, match=r"model\.safetensors"):
            TensorFile.open(path, error=BaseModelError)
    path.write_bytes(packed(*header_of({"t": stored(np.full(2, np.nan))})))
    with pytest.raises(BaseModelError, match="NaN"):
        TensorFile.open(path, error=BaseModelError).read("t")


def truncate(weights: Path) -> None:
    os.truncate(weights, weights.stat().st_size - 4)


def replace_by_longer(weights: Path) -> None:
    tensors = {"x": stored(np.ones(9, "<f4")), **pair()}
    weights.with_name("new").write_bytes(packed(*header_of(tensors)))
    weights.with_name("new").replace(weights)


def replace_by_equally_long(weights: Path) -> None:
    weights.with_name("new").write_bytes(weights.read_bytes()[:-56] + bytes(56))
    weights.with_name("new").replace(weights)


def write_in_place(weights: Path) -> None:
    data = weights.read_bytes()
    weights.write_bytes(data[:-56] + bytes(56))
    os.utime(weights, ns=(0, 0))  # a clock too coarse to tell is not the point here


def replace_by_fifo(weights: Path) -> None:
    weights.unlink()
    os.mkfifo(weights)


def replace_by_folder(weights: Path) -> None:
    weights.unlink()
    weights.mkdir()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (truncate, "the file changed after its header was read"),
        (replace_by_longer, "the file changed after its header was read"),
        (replace_by_equally_long, "the file changed after its header was read"),
        (write_in_place, "the file changed after its header was read"),
        (replace_by_fifo, "the file changed after its header was read"),
        (replace_by_folder, "the file changed after its header was read"),
        (Path.unlink, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_changes_between_opening_and_reading(
    change: Callable[[Path], None], match: str, tmp_path: Path
) -> None:
    weights = write(tmp_path / "a") / "adapter_model.safetensors"
    adapter = deltalens.load(tmp_path / "a")
    (key,) = adapter
    assert adapter[key].norm() > 0
    change(weights)
    out = np.empty((3, 2)), np.empty((2, 4))
    for read in (lambda: adapter[key], lambda: adapter.read_into(key, *out)):
        with pytest.raises(AdapterError, match=match) as caught:
            read()
        assert_one_line(str(caught.value))
        assert str(weights) in str(caught.value)


def test_a_read_that_ends_early_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = deltalens.load(write(tmp_path / "a"))
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with pytest.raises(AdapterError, match="ends early; the file changed while it was read"):
        next(iter(adapter.values()))


@given(headers(), st.binary(max_size=64))
def test_any_header_opens_or_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    path.write_bytes(packed(header, data))
    try:
        file = TensorFile.open(path)
    except DeltalensError as error:
        assert_one_line(str(error), naming=path.name)
    else:
        assert sum(entry.size for entry in file.entries.values()) == len(data)


def test_half_of_a_surrogate_pair_in_a_name_is_refused(tmp_path: Path) -> None:
    header = b'{"a\\ud800.lora_A.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(AdapterError, match="half of a surrogate pair"):
        TensorFile.open(path)
