"""Mutated adapters by the hundred thousand: loaded right, or refused in one line, in bounded time.

Two ways. In memory (a RAM disk): every file is opened and every module read in this process. As a
command: `deltalens inspect --json` in a process of its own under a limit of address space.
What counts as a finding: any exception that is not ours, a message of more than one line, an input
that takes longer than a second, numbers that are not finite, and a number that differs from what
the official safetensors reader and the plain formula give.

    python benchmarks/fuzz.py --seconds 300 --workers 2 --commands 1000 --out fuzz.json
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

import deltalens
from deltalens.errors import DeltalensError

SLOW = 1.0  # seconds
MEMORY = 4 << 30  # bytes of address space of the command
TOKENS = [b"-1", b"NaN", b"1e999", b'"', b"{", b"[", b"}", b"null", b"true", b"\xff", b"\0", b"0"]
Files = Mapping[str, bytes]


def sources() -> dict[str, Files]:
    """Valid small adapters of several formats, each a folder as a mapping."""
    rng = np.random.default_rng(0)

    def matrix(*shape: int, dtype: str = "<f4") -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    base = "base_model.model.model.layers.0"
    config = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "use_rslora": False,
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    plain = {
        f"{base}.self_attn.q_proj.lora_A.weight": matrix(2, 6),
        f"{base}.self_attn.q_proj.lora_B.weight": matrix(5, 2),
        f"{base}.self_attn.v_proj.lora_A.weight": matrix(2, 6, dtype="<f2"),
        f"{base}.self_attn.v_proj.lora_B.weight": matrix(4, 2, dtype="<f2"),
    }
    loha = {f"{base}.self_attn.q_proj.hada_{w}": matrix(*shape) for w, shape in
            {"w1_a": (5, 2), "w1_b": (2, 6), "w2_a": (5, 2), "w2_b": (2, 6)}.items()}  # fmt: skip
    mlx = {"model.layers.0.self_attn.q_proj.lora_a": matrix(6, 2),
           "model.layers.0.self_attn.q_proj.lora_b": matrix(2, 5)}  # fmt: skip
    kohya = {"lora_unet_q.lora_down.weight": matrix(2, 6),
             "lora_unet_q.lora_up.weight": matrix(5, 2),
             "lora_unet_q.alpha": np.array(2.0, "<f4")}  # fmt: skip
    mlx_config = {"fine_tune_type": "lora", "num_layers": 1,
                  "lora_parameters": {"rank": 2, "scale": 3.0, "dropout": 0.0}}  # fmt: skip

    def peft(tensors: dict[str, np.ndarray], settings: dict[str, Any]) -> Files:
        return {
            "adapter_model.safetensors": save(tensors),
            "adapter_config.json": json.dumps(settings).encode(),
        }

    return {
        "peft": peft(plain, config),
        "loha": peft(loha, {"peft_type": "LOHA", "r": 2, "alpha": 4, "target_modules": ["q_proj"]}),
        "mlx": {
            "adapters.safetensors": save(mlx),
            "adapter_config.json": json.dumps(mlx_config).encode(),
        },
        "kohya": {"lora.safetensors": save(kohya)},
    }


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to three changes: overwritten, inserted, removed, repeated, cut, a bit turned."""
    for _ in range(draw.randint(1, 3)):
        i = draw.randrange(len(data) + 1) if draw.random() < 0.5 else draw.randrange(8, 400)
        new = draw.choice(TOKENS) if draw.random() < 0.5 else draw.randbytes(draw.randint(1, 9))
        n = draw.randint(1, 40)
        kind = draw.randrange(6)
        if kind == 0:
            data = data[:i] + new + data[i + len(new) :]
        elif kind == 1:
            data = data[:i] + new + data[i:]
        elif kind == 2:
            data = data[:i] + data[i + n :]
        elif kind == 3:
            data = data[: i + n] + data[i:]
        elif kind == 4 and draw.random() < 0.2:
            data = data[:i]
        elif i < len(data):
            data = data[:i] + bytes([data[i] ^ (1 << draw.randrange(8))]) + data[i + 1 :]
    return data


def changed(files: Files, draw: random.Random) -> dict[str, bytes]:
    """One file of the folder mutated; a header keeps its right length half of the time."""
    name = draw.choice(list(files))
    data = files[name]
    if name.endswith(".safetensors") and draw.random() < 0.5:
        length = int.from_bytes(data[:8], "little")
        header = mutate(data[8 : 8 + length], draw)
        return {**files, name: len(header).to_bytes(8, "little") + header + data[8 + length :]}
    return {**files, name: mutate(data, draw)}


def written(folder: Path, files: Files) -> Path:
    """The folder with these files and no others; a lone file stands for itself."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder if len(files) > 1 else folder / next(iter(files))


def judge(path: Path, files: Files, kind: str) -> str:
    """What happened: `loaded`, `refused`, or a finding that begins with `FINDING`."""
    begun = time.perf_counter()
    try:
        adapter = deltalens.load(path)
        updates = {str(key): adapter[key].B @ adapter[key].A for key in adapter}
    except DeltalensError as error:
        said = str(error)
        outcome = "refused" if said and "\n" not in said else f"FINDING message {said!r}"
    except Exception as error:
        return f"FINDING {type(error).__name__}: {error}"
    else:
        whole = all(np.isfinite(dW).all() for dW in updates.values())
        outcome = "loaded" if whole and updates else "FINDING not finite, or nothing"
        if outcome == "loaded" and kind == "peft" and not agrees(updates, files):
            outcome = "FINDING a wrong number"
    took = time.perf_counter() - begun
    return f"FINDING {took:.1f} s" if took > SLOW else outcome


def agrees(updates: Mapping[str, np.ndarray], files: Files) -> bool:
    """Against the official reader and `alpha / r * B @ A`, where the config is the valid one."""
    if files["adapter_config.json"] != sources()["peft"]["adapter_config.json"]:
        return True
    try:
        tensors = load(files["adapter_model.safetensors"])
    except Exception:
        return False  # we read what the official reader refuses
    for path, dW in updates.items():
        ends = [[n for n in tensors if n.endswith(f"{path}.lora_{x}.weight")] for x in "BA"]
        if [len(names) for names in ends] != [1, 1]:
            return True  # a mutated name that we read and this plain look-up does not
        B, A = (tensors[names[0]].astype(np.float64) for names in ends)
        if not np.allclose(dW, 2.0 * B @ A, rtol=1e-6, atol=0.0):
            return False
    return True


def in_memory(seed: int, seconds: float) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Mutate and judge until the time is over."""
    draw, every = random.Random(seed), sources()
    counts: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(dir="/dev/shm") as home:
        places = {kind: Path(home) / kind for kind in every}
        for place in places.values():
            place.mkdir()
        while time.monotonic() < until:
            for _ in range(200):
                kind = draw.choice(list(every))
                files = changed(every[kind], draw)
                outcome = judge(written(places[kind], files), files, kind)
                counts[f"{kind} {outcome.split()[0]}"] += 1
                if outcome.startswith("FINDING"):
                    findings.append(_kept(kind, outcome, files))
    return counts, findings


def as_command(seed: int, times: int) -> tuple[Counter[str], list[dict[str, Any]]]:
    """The same through the command, each in a process with little address space."""
    draw, every = random.Random(seed), sources()
    counts: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as home:
        for i in range(times):
            kind = draw.choice(list(every))
            files = changed(every[kind], draw)
            folder = Path(home) / str(i)
            folder.mkdir()
            command = [
                sys.executable,
                "-m",
                "deltalens",
                "inspect",
                str(written(folder, files)),
                "--json",
            ]
            done = subprocess.run(
                command, capture_output=True, timeout=60, preexec_fn=_limit, check=False
            )
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            good = (done.returncode == 0 and bool(json.loads(done.stdout))) or (
                done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: ")
            )
            counts[f"{kind} {'exit ' + str(done.returncode)}"] += 1
            if not good:
                findings.append(_kept(kind, f"FINDING exit {done.returncode} {lines[-1:]}", files))
    return counts, findings


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _kept(kind: str, outcome: str, files: Files) -> dict[str, Any]:
    return {"kind": kind, "outcome": outcome, "files": {n: d.hex() for n, d in files.items()}}


def main() -> None:
    """Run both ways and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--commands", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz.json"))
    args = parser.parse_args()
    begun = time.monotonic()
    totals: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    jobs: list[tuple[Callable[..., Any], int, float]] = [
        (in_memory, args.seed + i, args.seconds) for i in range(args.workers)
    ]
    each = args.commands // args.workers
    jobs += [(as_command, args.seed + 1000 + i, each) for i in range(args.workers)]
    with ProcessPoolExecutor(args.workers) as pool:
        for counts, found in pool.map(_run, jobs):
            totals += counts
            findings += found
    record = {"seconds": time.monotonic() - begun, "inputs": sum(totals.values()),
              "counts": dict(sorted(totals.items())), "findings": findings}  # fmt: skip
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({**record, "findings": [f["outcome"] for f in findings[:20]]}, indent=1))


def _run(job: tuple[Callable[..., Any], int, float]) -> Any:
    way, seed, amount = job
    return way(seed, amount)


if __name__ == "__main__":
    main()
