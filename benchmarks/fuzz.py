"""Mutated adapters by the hundred thousand: loaded right, or refused in one line, in bounded time.

Two ways. In memory (a RAM disk): every file is opened and every module read in this process. As a
command: `deltalens inspect --json` in a process of its own under a limit of address space.
What counts as a finding: any exception that is not ours, a message of more than one line, an input
that takes longer than a second, numbers that are not finite, and a number that differs from what
the official safetensors reader and the plain formula give (`fuzz_sources.py`).

    python benchmarks/fuzz.py --inputs 100000 --workers 2 --commands 100 --seed 0 --out fuzz.json
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import deltalens
from deltalens.errors import DeltalensError
from deltalens.io.base import open_base
from fuzz_sources import Files, agreement, sources

SLOW = 1.0  # seconds
HANG = 20.0  # seconds, after which an input is given up
MEMORY = 4 << 30  # bytes of address space of the command
TOKENS = [b"-1", b"NaN", b"1e999", b'"', b"{", b"[", b"}", b"null", b"true", b"\xff", b"\0", b"0"]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to three changes: overwritten, inserted, removed, repeated, cut, a bit turned.

    Two in five keep the length, so that more of them are files that load.
    """
    kinds = (0, 5) if draw.random() < 0.4 else tuple(range(6))
    for _ in range(draw.randint(1, 3)):
        i = draw.randrange(len(data) + 1) if draw.random() < 0.5 else draw.randrange(8, 400)
        new = draw.choice(TOKENS) if draw.random() < 0.5 else draw.randbytes(draw.randint(1, 9))
        n = draw.randint(1, 40)
        kind = draw.choice(kinds)
        if kind == 0:
            data = data[:i] + new[: len(data) - i] + data[i + len(new) :] if i < len(data) else data
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
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder if len(files) > 1 else folder / next(iter(files))


def judge(path: Path, files: Files, kind: str) -> str:
    """What happened: `checked`, `read`, `refused`, or a finding that begins with `FINDING`."""
    begun = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, HANG)
    try:
        base = open_base(path / "base") if _has_base(files) else None
        adapter = deltalens.load(path, base=base)
        updates = {str(key): adapter[key].B @ adapter[key].A for key in adapter}
    except DeltalensError as error:
        said = str(error)
        outcome = "refused" if said and "\n" not in said else f"FINDING message {said!r}"
    except Exception as error:
        return f"FINDING {type(error).__name__}: {error}"
    else:
        whole = all(np.isfinite(dW).all() for dW in updates.values())
        outcome = (
            agreement(kind, updates, files) if whole and updates else "FINDING not finite, or none"
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.perf_counter() - begun
    return f"FINDING {took:.1f} s" if took > SLOW else outcome


def _has_base(files: Files) -> bool:
    return any(name.startswith("base/") for name in files)


def _given_up(*_: object) -> NoReturn:
    raise TimeoutError(f"more than {HANG} s")


def in_memory(seed: int, times: int) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Mutate and judge, so often; the same seed gives the same inputs."""
    draw, every = random.Random(seed), sources()
    counts: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    signal.signal(signal.SIGALRM, _given_up)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as home:
        places = {kind: Path(home) / kind for kind in every}
        for place in places.values():
            place.mkdir()
        for _ in range(times):
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
            path = str(written(folder, files))
            command = [sys.executable, "-m", "deltalens", "inspect", path, "--json"]
            command += ["--base", f"{path}/base"] if _has_base(files) else []
            done = subprocess.run(
                command, capture_output=True, timeout=60, preexec_fn=_limit, check=False
            )
            shutil.rmtree(folder)
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
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--commands", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz.json"))
    args = parser.parse_args()
    begun = time.monotonic()
    totals: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    each = args.inputs // args.workers
    jobs: list[tuple[Callable[..., Any], int, int]] = [
        (in_memory, args.seed + i, each) for i in range(args.workers)
    ]
    each = args.commands // args.workers
    jobs += [(as_command, args.seed + 1_000_000 + i, each) for i in range(args.workers)]
    with ProcessPoolExecutor(args.workers) as pool:
        for counts, found in pool.map(_run, jobs):
            totals += counts
            findings += found
    record = {"seconds": time.monotonic() - begun, "inputs": sum(totals.values()),
              "counts": dict(sorted(totals.items())), "findings": findings}  # fmt: skip
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({**record, "findings": [f["outcome"] for f in findings[:20]]}, indent=1))


def _run(job: tuple[Callable[..., Any], int, int]) -> Any:
    way, seed, amount = job
    return way(seed, amount)


if __name__ == "__main__":
    main()
