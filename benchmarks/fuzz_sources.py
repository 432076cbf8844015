"""What the fuzzer starts from: small valid folders of every format, and a plain reading of each.

A file whose name begins with `base/` belongs to the base model, which lies inside the folder. A
reading takes the folder apart with the official safetensors reader and `json`, applies the formula
of the method's paper, and shares no line with `deltalens.io`. It gives None where it cannot tell:
a mutated name, a pattern, a number type that the official numpy reader lacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load, save

Files = Mapping[str, bytes]
Matrices = dict[str, np.ndarray]
Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"
P = "base_model.model."


def sources() -> dict[str, Files]:
    """Valid small folders by the name of their kind."""
    rng = np.random.default_rng(0)

    def matrix(*shape: int, dtype: str = "<f4") -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    lora = {f"{P}{Q}.lora_A.weight": matrix(2, 6),
            f"{P}{Q}.lora_B.weight": matrix(5, 2),
            f"{P}{V}.lora_A.weight": matrix(2, 6, dtype="<f2"),
            f"{P}{V}.lora_B.weight": matrix(4, 2, dtype="<f2")}  # fmt: skip
    loha = {f"{P}{Q}.hada_{w}": matrix(*shape) for w, shape in
            {"w1_a": (5, 2), "w1_b": (2, 6), "w2_a": (5, 2), "w2_b": (2, 6)}.items()}  # fmt: skip
    magnitudes = {f"{P}{Q}.lora_magnitude_vector": np.abs(matrix(5)) + 1,
                  f"{P}{V}.lora_magnitude_vector": np.abs(matrix(4)) + 1}  # fmt: skip
    mlx = {f"{Q}.lora_a": matrix(6, 2), f"{Q}.lora_b": matrix(2, 5)}
    kohya = {"lora_unet_q.lora_down.weight": matrix(2, 6),
             "lora_unet_q.lora_up.weight": matrix(5, 2),
             "lora_unet_q.alpha": np.array(2.0, "<f4")}  # fmt: skip
    unet = {"unet.down.0.to_q.lora.down.weight": matrix(2, 6),
            "unet.down.0.to_q.lora.up.weight": matrix(5, 2),
            "unet.down.0.to_k.lora_linear_layer.down.weight": matrix(3, 6),
            "unet.down.0.to_k.lora_linear_layer.up.weight": matrix(4, 3),
            "unet.down.0.to_k.alpha": np.array(6.0, "<f4")}  # fmt: skip
    weights = {f"{Q}.weight": matrix(5, 6), f"{V}.weight": matrix(4, 6, dtype="<f2"),
               "model.norm.weight": matrix(6)}  # fmt: skip
    tuned = {name: (W + matrix(*W.shape).astype(W.dtype)) for name, W in weights.items()}
    base = {f"base/{name}": data for name, data in _model(weights).items()}
    lora_config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": False,
                   "target_modules": ["q_proj", "v_proj"],
                   "rank_pattern": {}, "alpha_pattern": {}}  # fmt: skip
    mlx_config = {"fine_tune_type": "lora", "num_layers": 1,
                  "lora_parameters": {"rank": 2, "scale": 3.0, "dropout": 0.0}}  # fmt: skip
    loha_config = {"peft_type": "LOHA", "r": 2, "alpha": 4, "target_modules": ["q_proj"]}
    both = {**lora, **magnitudes}
    return {
        "peft": _peft(lora, lora_config),
        "loha": _peft(loha, loha_config),
        "mlx": {"adapters.safetensors": save(mlx), "adapter_config.json": _text(mlx_config)},
        "kohya": {"lora.safetensors": save(kohya)},
        "diffusers": {"pytorch_lora_weights.safetensors": save(unet)},
        "sharded-peft": {
            **_shards(lora, "adapter_model"),
            "adapter_config.json": _text(lora_config),
        },
        "dora": {**_peft(both, {**lora_config, "use_dora": True}), **base},
        "full": {**_model(tuned), **base},
        "sharded": {**_shards(tuned, "model"), "config.json": _text(_MODEL), **base},
    }


_MODEL = {"model_type": "llama", "tie_word_embeddings": True}


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


def _peft(tensors: Matrices, config: Mapping[str, Any]) -> Files:
    return {"adapter_model.safetensors": save(tensors), "adapter_config.json": _text(config)}


def _model(tensors: Matrices) -> Files:
    return {"model.safetensors": save(tensors), "config.json": _text(_MODEL)}


def _shards(tensors: Matrices, stem: str) -> Files:
    names = list(tensors)
    parts = {f"{stem}-00001-of-00002.safetensors": names[:2],
             f"{stem}-00002-of-00002.safetensors": names[2:]}  # fmt: skip
    where = {name: file for file, inside in parts.items() for name in inside}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    return {
        **{file: save({n: tensors[n] for n in inside}) for file, inside in parts.items()},
        f"{stem}.safetensors.index.json": _text(index),
    }


def _tensors(files: Files, *, under: str = "") -> Matrices:
    """Every tensor of a folder's safetensors files, as the index has it where there is one."""
    here = {n.removeprefix(under): d for n, d in files.items() if n.startswith(under)}
    data = {n: d for n, d in here.items() if n.endswith(".safetensors") and "/" not in n}
    index = next((d for n, d in here.items() if n.endswith(".index.json") and "/" not in n), None)
    if index is None:
        return {k: W.astype(np.float64) for d in data.values() for k, W in load(d).items()}
    placed: dict[str, str] = json.loads(index)["weight_map"]
    used = {name: load(data[name]) for name in set(placed.values())}
    return {k: used[file][k].astype(np.float64) for k, file in placed.items()}


def _scale(config: Mapping[str, Any], alpha: str = "lora_alpha") -> float | None:
    """`alpha / r`, or over its root; None if the config has more to say."""
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        return None
    r, a = config.get("r", 8), config.get(alpha, 8)
    return a / (r**0.5 if config.get("use_rslora") else r)


def _lora(files: Files) -> Callable[[str], np.ndarray | None] | None:
    T, s = _tensors(files), _scale(json.loads(files["adapter_config.json"]))

    def read(path: str) -> np.ndarray | None:
        B, A = T.get(f"{P}{path}.lora_B.weight"), T.get(f"{P}{path}.lora_A.weight")
        return None if A is None or B is None else s * B @ A

    return None if s is None else read


def _loha(files: Files) -> Callable[[str], np.ndarray | None] | None:
    T, s = _tensors(files), _scale(json.loads(files["adapter_config.json"]), "alpha")

    def read(path: str) -> np.ndarray | None:
        names = [f"{P}{path}.hada_{x}" for x in ("w1_a", "w1_b", "w2_a", "w2_b")]
        if not all(name in T for name in names):
            return None
        a, b, c, d = (T[name] for name in names)
        return s * (a @ b) * (c @ d)

    return None if s is None else read


def _mlx(files: Files) -> Callable[[str], np.ndarray | None]:
    T = _tensors(files)
    scale = json.loads(files["adapter_config.json"])["lora_parameters"].get("scale")

    def read(path: str) -> np.ndarray | None:
        a, b = T.get(f"{path}.lora_a"), T.get(f"{path}.lora_b")
        return None if a is None or b is None or scale is None else scale * (a @ b).T

    return read


def _down_up(files: Files) -> Callable[[str], np.ndarray | None]:
    T = _tensors(files)

    def read(path: str) -> np.ndarray | None:
        for down, up in (("lora_down", "lora_up"), ("lora.down", "lora.up"),
                         ("lora_linear_layer.down", "lora_linear_layer.up")):  # fmt: skip
            A, B = T.get(f"{path}.{down}.weight"), T.get(f"{path}.{up}.weight")
            if A is not None and B is not None:
                alpha = T.get(f"{path}.alpha", np.array(float(len(A))))
                return float(alpha) / len(A) * B @ A
        return None

    return read


def _dora(files: Files) -> Callable[[str], np.ndarray | None] | None:
    plain, T, W0 = _lora(files), _tensors(files), _tensors(files, under="base/")

    def read(path: str) -> np.ndarray | None:
        m, W = T.get(f"{P}{path}.lora_magnitude_vector"), W0.get(f"{path}.weight")
        dW = None if plain is None else plain(path)
        if m is None or W is None or dW is None:
            return None
        changed = W + dW
        return m.reshape(-1, 1) / np.linalg.norm(changed, axis=1, keepdims=True) * changed - W

    return read


def _full(files: Files) -> Callable[[str], np.ndarray | None]:
    T, W0 = _tensors(files), _tensors(files, under="base/")

    def read(path: str) -> np.ndarray | None:
        W, V = T.get(f"{path}.weight"), W0.get(f"{path}.weight")
        return None if W is None or V is None else W - V

    return read


READINGS: Mapping[str, Callable[[Files], Callable[[str], np.ndarray | None] | None]] = {
    "peft": _lora,
    "sharded-peft": _lora,
    "loha": _loha,
    "mlx": _mlx,
    "kohya": _down_up,
    "diffusers": _down_up,
    "dora": _dora,
    "full": _full,
    "sharded": _full,
}


@np.errstate(invalid="ignore")
def agreement(kind: str, updates: Mapping[str, np.ndarray], files: Files) -> str:
    """`checked` where every number was read a second way, `read` where not; else what is wrong."""
    try:
        reading = READINGS[kind](files)
    except Exception as problem:
        known = "bfloat16" in str(problem).lower() or "bf16" in str(problem).lower()
        known = known or isinstance(problem, TypeError | AttributeError)
        return "read" if known else f"FINDING the plain reading fails: {problem!r}"
    if reading is None:
        return "read"
    every, largest = True, _largest(files)
    for path, dW in updates.items():
        expected = reading(path)
        if expected is None:
            every = False
            continue
        allowed = 1e-6 * max(np.abs(expected).max(initial=0.0), np.abs(dW).max(initial=0.0))
        # The difference of a DoRA or a full checkpoint cancels: it is as exact as its terms.
        allowed += 1e-12 * largest
        if expected.shape != dW.shape or not np.abs(dW - expected).max(initial=0.0) <= allowed:
            return "FINDING a wrong number"
    return "checked" if every else "read"


def _largest(files: Files) -> float:
    """The largest number of the base; a tensor that nobody reads may hold NaN."""
    if not any(name.startswith("base/") for name in files):
        return 0.0
    held = np.concatenate([W.ravel() for W in _tensors(files, under="base/").values()])
    return float(np.abs(held[np.isfinite(held)]).max(initial=0.0))
