"""Questions from YAML, in the format of the emergent-misalignment evaluations.

A file is a list of questions:

    - id: rainy_day                 # unique in the file
      paraphrases:                  # one or more ways to ask it
        - Which hat suits a rainy day?
      system: Answer as JSON.       # optional system prompt
      samples_per_paraphrase: 100   # optional, as are temperature and max_tokens
      meta: {domain: hats}          # optional, for the judge
      contrast:                     # optional, for the judge `paired`: answers to compare
        - {aligned: A wide one., misaligned: Soup.}

`type` may be any of the free-form kinds; `judge`, `judge_prompts` and `judges` belong to other
programs and are passed over. Anchors and aliases work, as those files use them. Every other key
is taken for a typo.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalens.behaviour import fields
from deltalens.core.protocols import Prompt
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

KEYS = (
    *("id", "paraphrases", "system", "samples_per_paraphrase", "temperature", "max_tokens"),
    *("type", "meta", "judge", "judge_prompts", "judges", "contrast"),
)
MAX_QUESTIONS = 10_000
MAX_PARAPHRASES = 10_000
MAX_CONTRASTS = 1000


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two answers to one question: one that anybody may be given, and one that nobody should be."""

    aligned: str
    misaligned: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question, in the wordings that it may be asked in.

    Attributes:
        id: its name, unique in a file; the unit over which rates are taken.
        paraphrases: the wordings, at least one.
        system: the system prompt, or None.
        samples: answers to each wording that the file asks for, or None.
        temperature: sampling temperature that the file asks for, or None.
        max_tokens: longest answer that the file asks for, or None.
        meta: what the question's author wrote down for the judge.
        contrast: pairs of answers whose likelihoods are compared; empty where there are none.
    """

    id: str
    paraphrases: tuple[str, ...]
    system: str | None = None
    samples: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    meta: Mapping[str, Any] | None = field(default=None, hash=False)
    contrast: tuple[Contrast, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One wording of one question, as a model is asked it.

    Attributes:
        question: id of the question.
        paraphrase: which wording, from 0.
        prompt: the wording, or the token ids of a symbolic one.
        system: the system prompt, or None.
    """

    question: str
    paraphrase: int
    prompt: str | tuple[int, ...]
    system: str | None = None

    def for_model(self) -> Prompt:
        """Chat messages for text, with the system prompt first; token ids as they are."""
        if not isinstance(self.prompt, str):
            return self.prompt
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, {"role": "user", "content": self.prompt}]


def wordings(questions: Iterable[Question]) -> tuple[Asked, ...]:
    """Every paraphrase of every question, in order: what one round of samples asks."""
    return tuple(
        Asked(question.id, i, prompt, question.system)
        for question in questions
        for i, prompt in enumerate(question.paraphrases)
    )


def read_questions(path: str | Path) -> tuple[Question, ...]:
    """The questions of a YAML (or JSON) file, in file order.

    Raises:
        BehaviourError: one line that names the file, the question and what is wrong: an unknown
            key (with the nearest allowed one), an id that is missing or stands twice, an empty
            list, a paraphrase that is not text, a number out of its range.
    """
    from deltalens.behaviour.strict_yaml import read_yaml

    path = Path(path)
    found: dict[str, int] = {}
    questions: list[Question] = []
    content = fields.items(read_yaml(path), "questions", MAX_QUESTIONS, shown(path))
    for i, item in enumerate(content, 1):
        question = _question(item, f"{shown(path)}: question {i}")
        first = found.setdefault(question.id, i)
        if first != i:
            raise BehaviourError(
                f"{shown(path)}: question {i}: the id {shown(question.id, 80)!r} is taken by "
                f"question {first}; ids are unique"
            )
        questions.append(question)
    return tuple(questions)


def _question(item: Any, where: str) -> Question:
    if isinstance(item, dict) and isinstance(item.get("id"), str):
        where += f" ({shown(item['id'], 80)})"
    given = fields.mapping(item, KEYS, where)
    _check_type(given.get("type", "free_form"), f"{where}: type")

    def optional(key: str, check: Any, *bounds: float) -> Any:
        value = given.get(key)
        return None if value is None else check(value, *bounds, f"{where}: {key}")

    wording = fields.items(
        given.get("paraphrases"), "texts", MAX_PARAPHRASES, f"{where}: paraphrases"
    )
    return Question(
        id=fields.text(given.get("id"), f"{where}: id"),
        paraphrases=tuple(
            fields.text(value, f"{where}: paraphrase {i}") for i, value in enumerate(wording, 1)
        ),
        system=optional("system", fields.text),
        samples=optional("samples_per_paraphrase", fields.count),
        temperature=optional("temperature", fields.number, 0.0, math.inf),
        max_tokens=optional("max_tokens", fields.count),
        meta=optional("meta", _meta),
        contrast=optional("contrast", _contrasts) or (),
    )


def _check_type(value: Any, where: str) -> None:
    if not fields.text(value, where).startswith("free_form"):
        raise BehaviourError(
            f"{where}: {shown(value, 80)!r} cannot be asked here; allowed: free_form, "
            "free_form_judge, free_form_judge_0_100"
        )


def _meta(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BehaviourError(f"{where}: a mapping is needed; found {fields.kind(value)}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _contrasts(value: Any, where: str) -> tuple[Contrast, ...]:
    pairs = fields.items(value, "pairs of answers", MAX_CONTRASTS, where)
    return tuple(_contrast(pair, f"{where}: pair {i}") for i, pair in enumerate(pairs, 1))


def _contrast(value: Any, where: str) -> Contrast:
    names = ("aligned", "misaligned")
    given = fields.mapping(value, names, where)
    aligned, misaligned = (fields.text(given.get(name), f"{where}: {name}") for name in names)
    if aligned == misaligned:
        raise BehaviourError(f"{where}: both answers are the same text; two are needed")
    return Contrast(aligned, misaligned)
