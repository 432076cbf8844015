"""How likely each of many short texts is as the whole of an answer: one forward pass a prompt.

The texts share their beginnings ("8" with "85"), so their tokens are a tree. Its nodes stand behind
the prompt in one row: a mask lets every node see the prompt and its own ancestors, its position is
its depth, and the logits at each node say what follows it, another token or the end of the turn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deltalens.core.shapes import Array, Bool, Float, Int
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.models.runtime import Runtime
from deltalens.models.scoring import continuation_logprobs
from deltalens.models.tokens import Batch, Encoder, Row, batches

_MASKED = ("eager", "sdpa")  # attention that takes a mask as it is given


@dataclass(frozen=True, eq=False)
class Tree:
    """Rows of tokens with their common beginnings once; node 0 is what stands before them.

    Attributes:
        token: of each node but the first, hence one shorter than the rest.
        parent: node before each of these.
        depth: tokens from the root, 1 for the first.
        sees: whether node i may look at node j: its ancestors and itself; without the root.
        leaf: the node at which each row ends.
    """

    token: Int[Array, " node"]
    parent: Int[Array, " node"]
    depth: Int[Array, " node"]
    sees: Bool[Array, "node node"]
    leaf: Int[Array, " row"]


def tree_of(rows: Sequence[Row]) -> Tree:
    """The tree of rows that each have a token."""
    place: dict[tuple[int, ...], int] = {(): 0}
    for row in rows:
        for end in range(1, len(row) + 1):
            place.setdefault(tuple(row[:end]), len(place))
    nodes = list(place)[1:]
    sees = np.zeros((len(nodes), len(nodes)), dtype=bool)
    for i, node in enumerate(nodes):
        for end in range(1, len(node) + 1):
            sees[i, place[node[:end]] - 1] = True
    return Tree(
        token=np.array([node[-1] for node in nodes], dtype=np.int64),
        parent=np.array([place[node[:-1]] for node in nodes], dtype=np.int64),
        depth=np.array([len(node) for node in nodes], dtype=np.int64),
        sees=sees,
        leaf=np.array([place[tuple(row)] for row in rows], dtype=np.int64),
    )


def choice_rows(encoder: Encoder, choices: Sequence[str], start: str) -> tuple[Row, list[Row]]:
    """Token ids of `start`, and of each choice behind it, as one text is encoded.

    Raises:
        OptionError: if a choice changes how `start` is encoded, or two choices are encoded alike.
    """
    before: Row = encoder.continuations([start], 1)[0] if start else []
    whole = encoder.continuations([start + choice for choice in choices], len(choices))
    for choice, row in zip(choices, whole, strict=True):
        if row[: len(before)] != before or len(row) == len(before):
            raise OptionError(
                f"start {shown(start, 60)!r} and {shown(choice, 20)!r} share a token of the "
                "model's; a start that ends where a token ends is needed"
            )
    rows = [row[len(before) :] for row in whole]
    if len({tuple(row) for row in rows}) < len(rows):
        raise OptionError("two choices are the same tokens to the model's tokenizer")
    return before, rows


def end_tokens(encoder: Encoder, ends: Sequence[str]) -> frozenset[int]:
    """The token of each text that may end a choice.

    Raises:
        OptionError: if one is several tokens.
    """
    rows = encoder.continuations(ends, len(ends))
    for end, row in zip(ends, rows, strict=True):
        if len(row) != 1:
            raise OptionError(
                f"end {shown(repr(end), 60)} is {len(row)} tokens of the model's, where one is "
                "needed"
            )
    return frozenset(row[0] for row in rows)


def require_apart(choices: Sequence[str], rows: Sequence[Row], stop: Collection[int]) -> None:
    """That no choice with an end behind it is another one, or begins it: it would count twice.

    Raises:
        OptionError: as for "1" and "10" with an end "0".
    """
    begun = {tuple(row[:n]): choice for choice, row in zip(choices, rows, strict=True)
             for n in range(1, len(row) + 1)}  # fmt: skip
    for choice, row in zip(choices, rows, strict=True):
        for end in stop:
            if other := begun.get((*row, end)):
                raise OptionError(
                    f"{shown(choice, 20)!r} with an end behind it begins {shown(other, 20)!r}: an "
                    "end that no choice goes on with is needed"
                )


def choice_logprobs(
    runtime: Runtime,
    prompts: Sequence[Row],
    rows: Sequence[Row],
    stop: Collection[int],
    batch_size: int,
) -> Float[Array, "prompt choice"]:
    """`log P(row, then one of the tokens that end a turn | prompt)`, in nats.

    Without the end, "1" would hold all of "10" and "100".

    Raises:
        OptionError: if no token ends a turn, or a prompt is longer than the model reads.
    """
    if not stop:
        raise OptionError("the model has no end-of-turn token: '1' could not be told from '10'")
    _require_room(runtime.model, prompts, max(map(len, rows)) + 1)
    if not _takes_trees(runtime):
        return _one_by_one(runtime, prompts, rows, sorted(stop), batch_size)
    tree = tree_of(rows)
    found = np.zeros((len(prompts), len(rows)))
    for batch in batches(prompts, batch_size, side="left"):
        found[batch.index] = _batch(runtime, batch, tree, sorted(stop))
    return found


def _require_room(model: Any, prompts: Sequence[Row], more: int) -> None:
    most = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    longest = max(map(len, prompts), default=0)
    if isinstance(most, int) and longest + more > most:
        raise OptionError(
            f"a prompt of {longest} tokens, with {more} to follow: the model reads {most} in all"
        )


def _takes_trees(runtime: Runtime) -> bool:
    """Whether every layer attends as a given mask says; a sliding window or a state does not."""
    config = runtime.model.config.get_text_config(decoder=True)
    if getattr(runtime.model.config, "_attn_implementation", None) not in _MASKED:
        return False
    if "position_ids" not in runtime.options:
        return False
    layers = getattr(config, "layer_types", None)
    if layers is not None:
        return set(layers) == {"full_attention"}
    return not (getattr(config, "use_sliding_window", True) and _window(config))


def _window(config: Any) -> Any:
    return getattr(config, "sliding_window", None)


def _batch(
    runtime: Runtime, batch: Batch, tree: Tree, stop: list[int]
) -> Float[Array, "row choice"]:
    torch = runtime.torch
    logits = runtime.tree(batch, tree.token, tree.depth, tree.sees)
    found = np.zeros((len(batch.ids), len(tree.leaf)))
    child = torch.from_numpy(tree.token).to(logits.device)
    parent = torch.from_numpy(tree.parent).to(logits.device)
    ends = torch.tensor(stop, device=logits.device)
    for line in range(len(found)):  # one row at a time: a vocabulary in float64 is large
        logp = logits[line].double().log_softmax(-1)
        step = logp[parent, child].cpu().numpy()
        end = logp[:, ends].logsumexp(-1).cpu().numpy()
        total = np.zeros(len(tree.token) + 1)
        for i, before in enumerate(tree.parent):  # a parent stands before its children
            total[i + 1] = total[before] + step[i]
        found[line] = (total + end)[tree.leaf]
    return found


def _one_by_one(
    runtime: Runtime, prompts: Sequence[Row], rows: Sequence[Row], stop: list[int], size: int
) -> Float[Array, "prompt choice"]:
    """The same, with a row of its own for every prompt, choice and end: any model, slowly."""
    pairs = [(p, [*row, end]) for p in prompts for row in rows for end in stop]
    before, after = [p for p, _ in pairs], [row for _, row in pairs]
    each = continuation_logprobs(runtime, before, after, size)
    return np.logaddexp.reduce(each.reshape(len(prompts), len(rows), len(stop)), axis=2)
