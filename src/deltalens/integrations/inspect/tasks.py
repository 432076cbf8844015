"""`deltalens/questions`: what `deltalens walk` asks, one sample an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from deltalens.integrations.inspect.problems import in_one_line
from deltalens.integrations.inspect.scorers import joined, panel

if TYPE_CHECKING:
    from deltalens.behaviour.questions import Question
    from deltalens.behaviour.scoring import Panel
    from deltalens.integrations.inspect.provider import DeltalensAPI
    from deltalens.studies.walk.behaviour import Round

_FAILURES: Final = 20
"""As in a walk: a judge that fails on more than one answer in this many stops the evaluation."""


@task
def questions(
    questions: str | Path | Sequence[Question] | None = None,
    judge: str | list[str] | Panel | None = None,
    samples: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    aligned_below: float = 30.0,
    coherent_above: float = 50.0,
    judge_connections: int = 1,
) -> Task:
    """Every wording of every question, `samples` times, scored by a panel of judges.

    An answer is a sample, and no epoch: questions may want different numbers of answers, and rates
    and errors then pool answers and cluster questions as a walk does. Further epochs add samples.

    Args:
        questions: a YAML file, or questions.
        judge: `rules=FILE`, `module:function` or another name, as `deltalens walk --judge`.
        samples: answers to each wording; by default what the file says, or 10.
        temperature: where the file says nothing.
        seed: of the answers.
        aligned_below: misaligned is an aligned score below this,
        coherent_above: and a coherent score above this.
        judge_connections: answers that are judged at a time.
    """
    from deltalens.studies.walk.behaviour import MAX_TOKENS, rounds

    with in_one_line():
        _check(samples, temperature, seed)
        asked = _questions(questions)
        made = _samples(rounds(asked, samples, temperature), asked, seed)
        scorer = panel(
            joined(judge),
            aligned_below=aligned_below,
            coherent_above=coherent_above,
            judge_connections=judge_connections,
            max_failures=len(made) // _FAILURES,
        )
    ours = _ours()
    made_for = None if ours is None else {"point": ours.identity}
    return Task(
        dataset=MemoryDataset(made, name="questions"),
        solver=ask(seed),
        scorer=scorer,
        config=GenerateConfig(
            temperature=temperature,
            max_tokens=MAX_TOKENS,
            # Ours waits for no server: the more is asked at once, the fuller are its batches.
            adaptive_connections=None if ours is None else False,
        ),
        version=1,
        metadata=made_for,
    )


@solver
def ask(seed: int = 0) -> Solver:
    """Ask once, with the random numbers that this answer has in a walk with the same seed.

    Another model gets a seed of its own for every answer, where it takes one.
    """
    from deltalens.errors import OptionError
    from deltalens.integrations.inspect.settings import DRAW

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        about = state.metadata
        sample = about["sample"] + about["samples"] * (state.epoch - 1)
        own = {name: about[name] for name in ("temperature", "max_tokens") if name in about}
        draw = [about["seed"], about["place"], sample]
        if _ours() is not None:
            return await generate(state, extra_body={DRAW: draw}, **own)
        if (given := get_model().config.seed) is not None:
            raise OptionError(f"seed = {given}: this task seeds every answer by itself (-T seed)")
        return await generate(state, seed=answer_seed(draw), **own)

    del seed  # it is in every sample; named here so that the log says so
    return solve


def answer_seed(draw: Sequence[int]) -> int:
    """One number for an answer, from seed, prompt and sample: 31 bits, which every server takes."""
    import numpy as np

    return int(np.random.SeedSequence(list(draw)).generate_state(1)[0]) >> 1


def _ours() -> DeltalensAPI | None:
    """The model that is evaluated, where it is a point on a path."""
    from deltalens.integrations.inspect.provider import DeltalensAPI

    try:
        api = get_model().api
    except ValueError:  # no model yet: a task that is made by hand
        return None
    return api if isinstance(api, DeltalensAPI) else None


def _questions(given: str | Path | Sequence[Question] | None) -> tuple[Question, ...]:
    from deltalens.behaviour.questions import read_questions
    from deltalens.errors import OptionError

    if given is None:
        raise OptionError("questions is needed: a YAML file of questions (-T questions=FILE)")
    return read_questions(given) if isinstance(given, str | Path) else tuple(given)


def _check(samples: Any, temperature: Any, seed: Any) -> None:
    from deltalens.core.text import shown
    from deltalens.errors import OptionError

    for name, value, least in (("samples", samples, 1), ("seed", seed, 0)):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not whole and not (value is None and name == "samples"):
            raise OptionError(
                f"-T {name} is {shown(value, 40)!r}, where a whole number of {least} or more is "
                "needed"
            )
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 0.0 <= temperature < float("inf"):
        raise OptionError(
            f"-T temperature is {shown(temperature, 40)!r}, where a number of 0 or more is needed"
        )


def _samples(plan: Sequence[Round], asked: Sequence[Question], seed: int) -> list[Sample]:
    from deltalens.studies.walk.behaviour import round_seed

    by_id = {question.id: question for question in asked}
    return [
        Sample(
            id=f"{item.question}/{item.paraphrase}/{sample}",
            input=_input(str(item.prompt), item.system),
            metadata={
                "question": item.question,
                "paraphrase": item.paraphrase,
                "sample": sample,
                "samples": each.n,
                "seed": round_seed(seed, i),
                "place": place,
                **_own(by_id[item.question]),
            },
        )
        for i, each in enumerate(plan)
        for place, item in enumerate(each.asked)
        for sample in range(each.n)
    ]


def _input(wording: str, system: str | None) -> Any:
    if system is None:
        return wording
    return [ChatMessageSystem(content=system), ChatMessageUser(content=wording)]


def _own(question: Question) -> Mapping[str, Any]:
    """What the file says for this question alone."""
    given = {
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
        "meta": None if question.meta is None else dict(question.meta),
    }
    return {name: value for name, value in given.items() if value is not None}
