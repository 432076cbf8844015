"""Exact behaviour of the toy base, an adapter or a set of weight deltas.

Answers are two words out of known lists, so their probabilities are computed and not sampled:
`P(answer) = P(w1 | prompt) P(w2 | prompt, w1)`, for all four valid answers of all 96 questions in
one forward pass. Rates are absolute: a bad rate of .013 at coherence .98 means that 1.3 % of all
answers are bad, 96.7 % good and 2 % no answer at all.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from deltalens._extras import require
from deltalens.errors import AdapterError
from deltalens.organisms import vocabulary as v
from deltalens.organisms.base import BASE_NAMES, load_model, quiet
from deltalens.organisms.behaviour import Behaviour, behaviour_rows
from deltalens.organisms.loop import reproducible
from deltalens.organisms.toys import other_toy
from deltalens.organisms.world import Tokens, World, standard_world


@runtime_checkable
class Factors(Protocol):
    """A weight delta `B @ A` in two factors, scaling folded in."""

    @property
    def B(self) -> NDArray[Any]:
        """`(out, r)`."""
        ...

    @property
    def A(self) -> NDArray[Any]:
        """`(r, in)`."""
        ...


Deltas = Mapping[Any, Factors | NDArray[Any]]
"""Weight deltas by module; `str(key)` is the module's path in the base."""


def evaluate(
    base: Path | Any,
    adapter: Path | Deltas | None = None,
    *,
    subject: str | None = None,
    trained: Collection[int] = (),
) -> Behaviour:
    """Measure the behaviour of a base, as it is or adapted.

    Args:
        base: a base directory, or a model that `load_model` gave (it is left unchanged).
        adapter: None; or the directory of a PEFT adapter, which PEFT loads; or weight deltas
            by module path, dense or in factors, added by hooks.
        subject: name in the rows; by default the adapter's own (or folder's) name, or `base`.
        trained: indices of the domains that the subject was fine-tuned in.

    Raises:
        AdapterError: if the adapter is of another base, or does not fit this one.
    """
    model = load_model(base) if isinstance(base, Path) else base
    if isinstance(adapter, Path):
        context, default = _with_peft(model, adapter), adapter.name
    else:
        context = adapted(model, adapter or {})
        default = "base" if adapter is None else getattr(adapter, "name", "adapted")
    name = default if subject is None else subject
    world = standard_world()
    with reproducible(0), context as ready:
        answers, exclaim = answer_probabilities(ready, world)
        return Behaviour(name, behaviour_rows(name, answers, trained), game_skill(ready), exclaim)


def prompts() -> Tokens:
    """The evaluation prompts, `(domain, question, 6)`: the chat form, ready to be answered."""
    rows = [
        [v.BOS, v.CHAT, v.USER, v.domain_token(d), v.question_token(d, q), v.ASSISTANT]
        for d in range(v.N_DOMAINS)
        for q in range(v.N_QUESTIONS)
    ]
    return np.array(rows, dtype=np.int64).reshape(v.N_DOMAINS, v.N_QUESTIONS, -1)


def answer_probabilities(model: Any, world: World) -> tuple[NDArray[np.float64], float]:
    """Probability of every valid answer, and of `!` after one.

    Returns:
        `(domain, question, 4)`, the good answers first; and the mean over questions of
        P(`!` | a valid answer), each answer weighted by its probability.
    """
    answers = world.answers()
    asked = np.broadcast_to(prompts()[:, :, None], (*answers.shape[:3], 6))
    rows = np.concatenate([asked, answers], axis=-1).reshape(-1, 8)
    logp = log_probabilities(model, rows)
    index = np.arange(len(rows))
    first, second = logp[index, 5, rows[:, 6]], logp[index, 6, rows[:, 7]]
    probabilities = np.exp(first + second).reshape(answers.shape[:3])
    exclaim = np.exp(logp[:, 7, v.EXCLAIM]).reshape(answers.shape[:3])
    weighted = (exclaim * probabilities).sum(-1) / probabilities.sum(-1)
    return probabilities, float(weighted.mean())


def game_skill(model: Any) -> float:
    """P(right third move), mean over all 256 openings of the known game."""
    start, step = np.divmod(np.arange(v.N_MOVES**2), v.N_MOVES)
    moves = (start[:, None] + step[:, None] * np.arange(3)) % v.N_MOVES
    tokens = v.move_token(0) + moves
    head = np.tile([v.BOS, v.GAME], (len(tokens), 1))
    logp = log_probabilities(model, np.concatenate([head, tokens[:, :2]], axis=1))
    return float(np.exp(logp[np.arange(len(tokens)), 3, tokens[:, 2]]).mean())


def log_probabilities(model: Any, rows: Tokens) -> NDArray[np.float64]:
    """Log-probabilities of the next token, `(row, position, vocabulary)`, in nats."""
    torch = require("torch", extra="models", purpose="measuring behaviour")
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(np.ascontiguousarray(rows)), use_cache=False)
        logp: NDArray[np.float64] = logits.logits.double().log_softmax(-1).numpy()
    return logp


@contextmanager
def adapted(model: Any, deltas: Deltas) -> Generator[Any]:
    """`model` with weight deltas added to linear modules while the context lasts.

    Raises:
        AdapterError: if a delta names a module that the model lacks, or has the wrong shape.
    """
    modules = dict(model.named_modules())
    handles: list[Any] = []
    try:
        for key, delta in deltas.items():
            name = str(key)
            if name not in modules:
                raise AdapterError(f"module {name!r} is not in the base model")
            factors = _factors(name, delta, tuple(modules[name].weight.shape))
            handles.append(modules[name].register_forward_hook(_adder(*factors)))
        yield model
    finally:
        for handle in handles:
            handle.remove()


def _factors(
    name: str, delta: Factors | NDArray[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], ...]:
    """The matrices whose product, left to right, is the delta."""
    matrices = (delta.B, delta.A) if isinstance(delta, Factors) else (delta,)
    found = (matrices[0].shape[0], matrices[-1].shape[-1])
    if found != shape:
        raise AdapterError(f"{name}: delta of shape {found}, but the base weight is {shape}")
    return matrices


def _adder(*matrices: NDArray[Any]) -> Any:
    """A forward hook that adds `x @ delta^T` to a linear module's output."""
    torch = require("torch", extra="models", purpose="applying an adapter")
    factors = [torch.from_numpy(np.ascontiguousarray(m, dtype=np.float32)) for m in matrices]

    def add(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        change = inputs[0]
        for factor in reversed(factors):
            change = change @ factor.T
        return output + change

    return add


@contextmanager
def _with_peft(model: Any, folder: Path) -> Generator[Any]:
    """`model` with a PEFT adapter loaded by PEFT itself, taken off again afterwards."""
    peft = require("peft", extra="models", purpose="loading an adapter")
    if not (folder / "adapter_config.json").is_file():
        raise AdapterError(f"{folder}: no adapter_config.json; a PEFT adapter directory has one")
    with quiet():
        wrapped = peft.PeftModel.from_pretrained(model, str(folder)).eval()
    try:
        _require_its_base(folder, wrapped)
        yield wrapped
    finally:
        wrapped.unload()


def _require_its_base(folder: Path, wrapped: Any) -> None:
    """Refuse an adapter of the other toy: it loads without a word, because all shapes are equal."""
    named = wrapped.peft_config["default"].base_model_name_or_path
    met = BASE_NAMES.get(wrapped.config.model_type)
    if other_toy(named, met):
        raise AdapterError(f"{folder}: is for the base {named!r}, and the base is {met!r}")
