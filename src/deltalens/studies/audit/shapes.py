"""The modules of one layer: shapes, ranks, and how many there are of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerModule:
    """One kind of module in the mean over a layer.

    Attributes:
        name: for people.
        d_in: inputs, the width of `lora_A`.
        d_out: outputs, the height of `lora_B`.
        rank: of the update.
        count: modules of the layer with these shapes; each has its own initial `lora_A`.
    """

    name: str
    d_in: int
    d_out: int
    rank: int
    count: int = 1


def decoder_layer(
    width: int, key_value: int, hidden: int, *, rank: int = 32
) -> tuple[LayerModule, ...]:
    """The seven projections of a decoder layer with grouped queries and a gated MLP.

    Args:
        width: of the residual stream; q and o are square.
        key_value: outputs of k and v together with all their heads.
        hidden: width of the MLP.
        rank: of the adapters.
    """
    return (
        LayerModule("q, o", width, width, rank, 2),
        LayerModule("k, v", width, key_value, rank, 2),
        LayerModule("gate, up", width, hidden, rank, 2),
        LayerModule("down", hidden, width, rank, 1),
    )


# Published model -> its layer and its depth. Sizes are those of the models' own config.json.
MODELS = {
    "Llama-3.1-8B": decoder_layer(4096, 1024, 14336),
    "Qwen2.5-7B": decoder_layer(3584, 512, 18944),
}
DEPTH = {"Llama-3.1-8B": 32, "Qwen2.5-7B": 28}
