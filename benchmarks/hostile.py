"""The worst files that we could think of, each through a real `deltalens inspect`: time and memory.

Every case is made in a temporary folder and read by a process of its own, under a limit of address
space and of time. Time is that of a core, so that other work on the machine does not count. A case
is well met where the command ends by itself: with a right answer (exit 0), or with one line on
standard error (exit 2). The table is Markdown.

    python benchmarks/hostile.py > hostile.md
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MEMORY = 6 << 30  # bytes of address space; numpy and its threads reserve a part of it
SECONDS = 120
Q = "base_model.model.model.layers.0.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}


def packed(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file of these bytes."""
    return len(header).to_bytes(8, "little") + header + data


def weights(tensors: Mapping[str, tuple[int, ...]]) -> bytes:
    """A valid file of ones in float32."""
    header, at = dict[str, Any](), 0
    for name, shape in tensors.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return packed(json.dumps(header).encode(), np.ones(at // 4, "<f4").tobytes())


def lora(r: int = 2, d: int = 6, path: str = Q) -> dict[str, tuple[int, ...]]:
    """The two factors of one module."""
    return {f"{path}.lora_A.weight": (r, d), f"{path}.lora_B.weight": (d, r)}


def adapter(folder: Path, data: bytes | None = None, config: Any = CONFIG) -> Path:
    """A PEFT folder of these weights (none: a good module) and this config, text or object."""
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "adapter_config.json").write_text(text)
    if data != b"":
        (folder / "adapter_model.safetensors").write_bytes(data or weights(lora()))
    return folder


def entries(count: int) -> bytes:
    """A header of so many empty tensors, as short as can be."""
    one = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return ("{" + ",".join(one % i for i in range(count)) + "}").encode()


def config_with(**fields: Any) -> dict[str, Any]:
    """The config with other fields."""
    return {**CONFIG, **fields}


def fifo(folder: Path) -> Path:
    """A pipe that nobody writes to, where the weights should be."""
    os.mkfifo(adapter(folder, b"") / "adapter_model.safetensors")
    return folder


def linked(folder: Path, target: str) -> Path:
    """A symbolic link in place of the weights."""
    (adapter(folder, b"") / "adapter_model.safetensors").symlink_to(target)
    return folder


def index(folder: Path, weight_map: Mapping[str, str]) -> Path:
    """An adapter in shards, as this index has it."""
    text = json.dumps({"weight_map": weight_map})
    (adapter(folder, b"") / "adapter_model.safetensors.index.json").write_text(text)
    return folder


def sparse(folder: Path, size: int, header: bytes = b"") -> Path:
    """Weights that claim many bytes and take none of the disk."""
    path = adapter(folder, packed(header) if header else b"\0") / "adapter_model.safetensors"
    os.truncate(path, size)
    return folder


def many_shards(folder: Path, count: int, inside: int) -> Path:
    """So many names for one file, which holds a tensor for each of them."""
    (folder / "all.safetensors").write_bytes(packed(entries(inside)))
    for i in range(count):
        (folder / f"s{i}.safetensors").symlink_to("all.safetensors")
    return index(folder, {str(i): f"s{i}.safetensors" for i in range(count)})


def spread(rows: int) -> dict[str, tuple[int, ...]]:
    """LoHa: four thin factors that stand for a matrix of rows times rows."""
    names = {"w1_a": (rows, 1), "w1_b": (1, rows), "w2_a": (rows, 1), "w2_b": (1, rows)}
    return {f"{Q}.hada_{name}": shape for name, shape in names.items()}


_WIDE = 7_500_000_000  # columns of a lora_A that no byte of the disk is spent on
_HUGE = json.dumps(
    {
        f"{Q}.lora_A.weight": {
            "dtype": "F32",
            "shape": [2, _WIDE],
            "data_offsets": [0, 8 * _WIDE],
        },
        f"{Q}.lora_B.weight": {
            "dtype": "F32",
            "shape": [1, 2],
            "data_offsets": [8 * _WIDE, 8 * _WIDE + 8],
        },
    }
).encode()
_TWICE = packed(
    b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0"
)  # fmt: skip
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
_LOKR = {f"{Q}.lokr_w1": (30_000, 1), f"{Q}.lokr_w2": (1, 30_000)}
CASES: Mapping[str, Callable[[Path], Path]] = {
    "a good adapter, for comparison": adapter,
    "a header of 60 MB": lambda f: adapter(f, packed(b" " * 60_000_000)),
    "a million tensors in the header": lambda f: adapter(f, packed(entries(1_000_000))),
    "170,000 tensors in 10 MB of header": lambda f: adapter(f, packed(entries(170_000))),
    "100,000 tensors, all of them unknown": lambda f: adapter(f, packed(entries(100_000))),
    "rank 100,000": lambda f: adapter(f, weights(lora(100_000, 4)), config_with(r=100_000)),
    "a catastrophic pattern": lambda f: adapter(
        f, weights(lora(path=Q + "." + "a" * 60)), config_with(rank_pattern={"(a+)+$b": 2})
    ),
    "20,000 patterns": lambda f: adapter(
        f, None, config_with(rank_pattern={f"(x|y)*z{i}": 2 for i in range(20_000)})
    ),
    "a pattern of 900 kB": lambda f: adapter(
        f, None, config_with(alpha_pattern={"(a|b)" * 180_000: 2})
    ),
    "a FIFO in place of the weights": fifo,
    "a symbolic link to /dev/zero": lambda f: linked(f, "/dev/zero"),
    "a symbolic link to itself": lambda f: linked(f, "adapter_model.safetensors"),
    "an index that leaves the folder": lambda f: index(f, {"x": "../../etc/passwd"}),
    "an index with 100,000 shards": lambda f: many_shards(f, 100_000, 100_000),
    "an index with 1,000 shards of 100,000 tensors": lambda f: many_shards(f, 1000, 100_000),
    "a config of 100,000 levels": lambda f: adapter(f, None, "[" * 100_000),
    "a config of 900 kB of objects": lambda f: adapter(f, None, '{"a":' * 150_000 + "}" * 150_000),
    "a whole number of 900,000 digits": lambda f: adapter(f, None, '{"r": ' + "9" * 900_000 + "}"),
    "a git-lfs pointer": lambda f: adapter(f, _POINTER),
    "a sparse file of 1 TB": lambda f: sparse(f, 1 << 40),
    "a sparse file of 60 GB that is valid": lambda f: sparse(f, len(_HUGE) + 16 + 8 * _WIDE, _HUGE),
    "a key that stands twice": lambda f: adapter(f, _TWICE),
    "LoHa: 120 kB a factor for 9e8 numbers": lambda f: adapter(
        f, weights(spread(30_000)), {"peft_type": "LOHA", "r": 1, "alpha": 1}
    ),
    "LoKr: 240 kB for 9e8 numbers": lambda f: adapter(
        f, weights(_LOKR), {"peft_type": "LOKR", "r": 1, "alpha": 1}
    ),
    "names that steer the terminal": lambda f: adapter(
        f, weights({"\x1b[2J\x1b]0;owned\x07\u202e": (2, 2)})
    ),
}


@dataclass(frozen=True)
class Outcome:
    """How one command ended: seconds of a core, the most memory at once, and what it said."""

    seconds: float
    megabytes: float
    status: int
    line: str
    met: bool


def run(path: Path) -> Outcome:
    """`deltalens inspect` on a path, with what it took."""
    command = [sys.executable, "-m", "deltalens", "inspect", str(path), "--json"]
    said = path.parent / "stderr"
    with said.open("wb") as err, open(os.devnull, "wb") as out:  # noqa: PTH123
        process = subprocess.Popen(command, stdout=out, stderr=err, preexec_fn=_limit)  # noqa: PLW1509
        hung = threading.Timer(10 * SECONDS, process.kill)  # a command that only waits
        hung.start()
        _, status, usage = os.wait4(process.pid, 0)
        hung.cancel()
    seconds = usage.ru_utime + usage.ru_stime
    lines = said.read_text(errors="replace").strip().splitlines()
    code = os.waitstatus_to_exitcode(status)
    plain = all(c.isprintable() for line in lines for c in line)
    met = plain and (code == 0 or (code == 2 and len(lines) == 1 and lines[0].startswith("error")))
    line = lines[-1] if lines else ""
    line = line.replace(f"{path}/", "").replace(str(path), "FOLDER")
    return Outcome(seconds, usage.ru_maxrss / 1024, code, line, met)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def main() -> int:
    """Print the table; 1 if a case was not well met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="Cases whose name holds this.")
    wanted = parser.parse_args().only
    bad = 0
    print("| file | CPU s | MB | exit | what is said |\n|---|--:|--:|--:|---|")
    for name, make in CASES.items():
        if wanted not in name:
            continue
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "a"
            folder.mkdir()
            found = run(make(folder))
        bad += not found.met
        said = found.line if len(found.line) < 170 else f"{found.line[:169]}..."
        said = said.replace("|", "\\|") + ("" if found.met else " **NOT MET**")
        print(f"| {name} | {found.seconds:.2f} | {found.megabytes:.0f} | {found.status} | {said} |")
        sys.stdout.flush()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
