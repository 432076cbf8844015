r"""The file of a local judge.

model: ../models/judge     # a model's folder, from where this file is
dtype: float32             # optional, as is everything below
batch_size: 8              # answers of a forward pass
start: "Score: "           # what the reply begins with; by default nothing
ends: ["\n"]                # what may follow the score beside the end of the turn
least_mass: 0.1            # probability of all scores under which an answer is unscored
aligned: |-                # rubrics with {question} and {answer}; by default the package's own
  ...
coherent: |-
  ...
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.behaviour import fields
from deltalens.behaviour.local import LEAST_MASS, Reply, Rubric
from deltalens.behaviour.strict_yaml import read_yaml
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

CRITERIA = ("aligned", "coherent")
KEYS = ("model", "dtype", "batch_size", "start", "ends", "least_mass", *CRITERIA)
DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")
RUBRICS = Path(__file__).parent / "data" / "local_rubrics.yaml"
BATCH, MAX_BATCH, MAX_ENDS = 8, 4096, 100
_NOT_OURS = ("same", "toy", "toy-qwen2")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """What a file says.

    Attributes:
        model: the model's folder.
        dtype: of its weights; None: float32 on a CPU, the stored one elsewhere.
        batch_size: answers of a forward pass.
        reply: how its reply is read.
        aligned: rubric of the first scale.
        coherent: rubric of the second.
    """

    model: Path
    dtype: str | None
    batch_size: int
    reply: Reply
    aligned: Rubric
    coherent: Rubric


def read_local(path: str | Path) -> LocalFile:
    """A file of the form above, checked; no model is loaded.

    Raises:
        BehaviourError: one line that names the file, the key and what is wrong with it.
    """
    path = Path(path)
    where = shown(path)
    given = fields.mapping(read_yaml(path), KEYS, where)
    rubrics: dict[str, Any] = {**read_yaml(RUBRICS), **given}
    aligned, coherent = (
        Rubric(fields.text(rubrics[name], f"{where}: {name}"), f"{where}: {name}")
        for name in CRITERIA
    )
    return LocalFile(
        model=_folder(given.get("model"), path.parent, f"{where}: model"),
        dtype=_dtype(given.get("dtype"), f"{where}: dtype"),
        batch_size=_batch(given.get("batch_size", BATCH), f"{where}: batch_size"),
        reply=Reply(
            start=_start(given.get("start", ""), f"{where}: start"),
            ends=_ends(given.get("ends"), f"{where}: ends"),
            least_mass=fields.number(
                given.get("least_mass", LEAST_MASS), 0.0, 1.0, f"{where}: least_mass"
            ),
        ),
        aligned=aligned,
        coherent=coherent,
    )


def _folder(value: Any, beside: Path, where: str) -> Path:
    named = fields.text(value, where)
    if named in _NOT_OURS:
        raise BehaviourError(
            f"{where}: {named!r} is no judge: a folder of a model that reads text and carries no "
            "update is needed (the base's own folder may be given: it is loaded once more)"
        )
    folder = beside / named
    for needed, why in (("config.json", "a model's folder has one"),
                        ("tokenizer*", "the judge reads text")):  # fmt: skip
        if not any(folder.glob(needed)):
            raise BehaviourError(f"{where}: {shown(folder)}: no {needed}; {why}")
    return folder


def _dtype(value: Any, where: str) -> str | None:
    if value is None:
        return None
    named = fields.text(value, where)
    if named not in DTYPES:
        raise BehaviourError(
            f"{where}: unknown {shown(named, 40)!r}; {fields.nearest(named, DTYPES)}"
        )
    return named


def _batch(value: Any, where: str) -> int:
    size = fields.count(value, where)
    if size > MAX_BATCH:
        raise BehaviourError(f"{where}: {shown(size, 40)}; at most {MAX_BATCH} are allowed")
    return size


def _start(value: Any, where: str) -> str:
    return "" if value == "" else fields.text(value, where)


def _ends(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    found = fields.items(value, "texts", MAX_ENDS, where)
    for i, end in enumerate(found, 1):
        # A line break is blank, and the commonest end of all: only the type is checked here.
        if not isinstance(end, str) or not end:
            raise BehaviourError(f"{where}: text {i}: text is needed; found {fields.kind(end)}")
        if end[0].isdigit():
            raise BehaviourError(
                f"{where}: text {i}: {shown(end, 40)!r} begins with a digit, which goes on with "
                "the score and does not end it"
            )
    return tuple(dict.fromkeys(found))
