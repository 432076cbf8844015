"""The model provider: what it honours, what it refuses, and that it leaves the model alone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import anyio
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("inspect_ai")

from inspect_ai import Epochs, Task
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.tool import ToolInfo
from inspect_cases import Files, make_files

from deltalens.connectivity.paths import linear
from deltalens.errors import AdapterError, BaseModelError, GeometryError, OptionError
from deltalens.integrations.inspect.batcher import Batcher, Request
from deltalens.integrations.inspect.points import open_point
from deltalens.integrations.inspect.settings import DRAW
from deltalens.io.read import load
from deltalens.models.hf import HFModel


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    yield make_files(tmp_path_factory.mktemp("provider"))
    gc.collect()  # what Inspect left open is closed while its warning is still known


@pytest.fixture(scope="module")
def held(files: Files) -> HFModel:
    return HFModel.load(files.model, device="cpu")


def made(files: Files, **options: Any) -> Model:
    return get_model(f"deltalens/{files.model}", memoize=False, **options)


def ask(model: Model, *prompts: str | list[ChatMessage], **config: Any) -> list[ModelOutput]:
    async def all_at_once() -> list[ModelOutput]:
        settings = GenerateConfig(**({"max_tokens": 6} | config))
        return list(await asyncio.gather(*(model.generate(p, config=settings) for p in prompts)))

    return asyncio.run(all_at_once())


def tokens_of(outputs: list[ModelOutput]) -> list[tuple[int, ...]]:
    return [tuple(each) for output in outputs for each in (output.metadata or {})["tokens"]]


def drawn(held: HFModel, prompt: Any, draws: list[Any], **options: Any) -> list[tuple[int, ...]]:
    options = {"max_new_tokens": 6} | options
    answers = held.generate([prompt] * len(draws), draws=draws, **options)
    return [answer.tokens for answer in answers]


def test_a_point_answers_as_the_model_does_there(files: Files, held: HFModel) -> None:
    model = made(files, a=files.ends[0], b=files.ends[1], t=0.25)
    given = {"extra_body": {DRAW: [5, 0, 3]}, "temperature": 0.9}
    (output,) = ask(model, "which big hat", **given)
    path = linear(load(files.ends[0]), load(files.ends[1]))
    with held.adapted(path(0.25)):
        there = held.generate(["which big hat"], n=4, seed=5, temperature=0.9, max_new_tokens=6)
    assert tokens_of([output]) == [there[3].tokens]
    assert output.completion == there[3].text
    assert output.stop_reason == ("stop" if there[3].finished else "max_tokens")
    assert output.usage is not None
    assert output.usage.input_tokens == 3


def test_a_single_adapter_in_either_place_is_t_1(files: Files) -> None:
    one, other, base = (
        made(files, **{end: files.ends[0]} if end else {}) for end in ("a", "b", None)
    )
    prompts = ["which hat when it rains", "a hat", "it snows"]
    answers = tokens_of(ask(one, *prompts))
    assert answers == tokens_of(ask(other, *prompts))
    assert answers != tokens_of(ask(base, *prompts))


def test_choices_and_the_seed_are_honoured(files: Files) -> None:
    model = made(files)
    (output,) = ask(model, "a hat", num_choices=4, seed=1)
    assert len(output.choices) == 4
    assert len(set(tokens_of([output]))) > 1
    assert output.usage is not None
    assert output.usage.input_tokens == 2
    assert output.usage.output_tokens == sum(map(len, tokens_of([output])))
    again, other = made(files), made(files)
    assert tokens_of(ask(again, "a hat", num_choices=4, seed=1)) == tokens_of([output])
    assert tokens_of(ask(other, "a hat", num_choices=4, seed=2)) != tokens_of([output])


def test_temperature_0_takes_the_likeliest(files: Files, held: HFModel) -> None:
    (output,) = ask(made(files), "a hat", temperature=0.0, max_tokens=3)
    (expected,) = held.generate(["a hat"], temperature=0.0, max_new_tokens=3)
    assert tokens_of([output]) == [expected.tokens]


def test_asking_twice_gives_two_answers_whatever_is_asked_beside(files: Files) -> None:
    both = tokens_of(ask(made(files), "a hat", "it rains", "a hat", "it rains"))
    assert both[0] != both[2]
    model = made(files)
    assert tokens_of([*ask(model, "a hat"), *ask(model, "a hat")]) == [both[0], both[2]]


def test_epochs_of_any_task_differ_and_come_again(files: Files, tmp_path: Path) -> None:
    task = Task(dataset=[Sample(input="which hat", id=1)], epochs=Epochs(4, "mean"))

    def texts() -> list[str]:
        (log,) = inspect_eval(
            task, made(files), max_tokens=6, log_dir=str(tmp_path), display="none"
        )
        assert log.samples is not None
        return [sample.output.completion for sample in log.samples]

    first = texts()
    assert len(set(first)) > 1
    assert texts() == first


def test_messages_go_through_the_chat_template(files: Files, held: HFModel) -> None:
    parts = [ContentText(text="which"), ContentText(text="hat")]
    turns: list[ChatMessage] = [
        ChatMessageSystem(content="a red hat"),
        ChatMessageUser(content="big"),
        ChatMessageAssistant(content="blue"),
        ChatMessageUser(content=list(parts)),
    ]
    (output,) = ask(made(files), turns, extra_body={DRAW: [0, 0, 0]})
    said = [{"role": turn.role, "content": turn.text} for turn in turns]
    assert tokens_of([output]) == drawn(held, said, [(0, 0, 0)])


def test_the_model_is_the_base_again_after_every_answer(files: Files, held: HFModel) -> None:
    before = {name: tensor.clone() for name, tensor in held.model.state_dict().items()}
    expected = drawn(held, "a hat", [(0, 0, 0)])
    models = [get_model("deltalens/words", memoize=False, loaded=held, b=end) for end in files.ends]

    async def both() -> list[ModelOutput]:
        asked = [model.generate("a hat") for model in models for _ in range(3)]
        return list(await asyncio.gather(*asked))

    assert len(asyncio.run(both())) == 6
    assert drawn(held, "a hat", [(0, 0, 0)]) == expected
    assert not any(module._forward_hooks for module in held.model.modules())
    for name, tensor in held.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name].numpy())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"top_p": 0.9}, "cannot take top_p = 0.9; allowed: max_tokens, num_choices, seed"),
        ({"stop_seqs": ["red"]}, "cannot take stop_seqs"),
        ({"top_k": 5, "frequency_penalty": 1.0}, "cannot take frequency_penalty = 1.0, top_k = 5"),
        ({"logprobs": True}, "cannot take logprobs"),
        ({"num_choices": 0}, "num_choices is 0, where 1 or more"),
        ({"temperature": -1.0}, "temperature is -1.0, where 0 or more"),
        ({"seed": -1}, "seed is -1, where 0 or more"),
        ({"extra_body": {"x": 1}}, r"extra_body holds \['x'\], where 'deltalens_draw' with three"),
        ({"extra_body": {DRAW: [0, 0, 0]}, "seed": 3}, "seed = 3: this task seeds every answer"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    files: Files, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        ask(made(files), "a hat", **config)


def test_settings_that_ask_for_nothing_are_no_problem(files: Files) -> None:
    idle = {"top_p": 1.0, "stop_seqs": [], "frequency_penalty": 0.0, "max_retries": 2}
    assert tokens_of(ask(made(files), "a hat", **idle)) == tokens_of(ask(made(files), "a hat"))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (
            [ChatMessageUser(content=[ContentImage(image="data:image/png;base64,aa")])],
            "holds image",
        ),
        ([ChatMessageUser(content="a"), ChatMessageTool(content="b")], "has no tools"),
        ([], "no message"),
    ],
)
def test_other_messages_are_refused(files: Files, messages: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        asyncio.run(made(files).api.generate(messages, [], "auto", GenerateConfig()))


def test_tools_are_refused(files: Files) -> None:
    tool = ToolInfo(name="look", description="looks")
    with pytest.raises(OptionError, match="has no tools; found 1"):
        asyncio.run(made(files).api.generate([], [tool], "auto", GenerateConfig()))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"b": "nowhere"}, AdapterError, "nowhere: no such file or folder"),
        ({"b": "W1", "t": "half"}, OptionError, "t is 'half', where a finite number is needed"),
        ({"b": "W1", "t": float("nan")}, OptionError, "t is 'nan', where a finite number"),
        ({"b": "W1", "t": True}, OptionError, "t is 'True', where a finite number"),
        ({"t": 0.5}, OptionError, "t = 0.5 without b: a position needs an adapter"),
        ({"a": "W1", "t": 0.5}, OptionError, "t = 0.5 without b: give a=base"),
        ({"a": "base", "b": "base"}, OptionError, "both ends are the base"),
        ({"b": ["x", "y"]}, OptionError, r"b is .*where one adapter's path, or 'base'"),
        ({"b": "W1", "path": "round"}, OptionError, "'round' is not known; known are linear"),
        ({"b": "W1", "quick": True}, OptionError, "-M quick is not known; known are a, b, t, path"),
    ],
)
def test_bad_arguments_are_one_line_that_inspect_prints_as_it_is(
    files: Files, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    given = {name: files.ends[0] if v == "W1" else v for name, v in options.items()}
    with pytest.raises(kind, match=message) as caught:
        made(files, **given)
    assert isinstance(caught.value, PrerequisiteError)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model_and_the_toy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        get_model(f"deltalens/{tmp_path}", memoize=False)
    with pytest.raises(OptionError, match="reads symbols, and Inspect asks in text"):
        get_model("deltalens/toy", memoize=False)


def test_an_adapter_that_does_not_fit_says_so(files: Files, tmp_path: Path) -> None:
    from adapter_files import write_adapter

    modules = {"model.layers.0.mlp.up_proj": (np.ones((5, 2)), np.ones((2, 5)))}
    wrong = write_adapter(tmp_path / "wrong", modules)
    with pytest.raises(AdapterError, match="up_proj"):
        ask(made(files, b=str(wrong)), "a hat")
    with pytest.raises(GeometryError, match="equal shapes"):
        made(files, a=files.ends[0], b=str(wrong), t=0.5)


def test_a_point_is_known_by_its_files_path_and_t(files: Files) -> None:
    a, b = files.ends
    points = [
        open_point(a, b, 0.5),
        open_point(a, b, 0.25),
        open_point(b, a, 0.5),
        open_point("base", b, 0.5),
        open_point(a, b, 0.5, "factor_scaling"),
        open_point(),
    ]
    assert len({point.identity() for point in points}) == len(points)
    assert open_point(a, b, 0.5).identity() == points[0].identity()


def test_one_bad_prompt_fails_alone(held: HFModel) -> None:
    batcher = Batcher(lambda act: act(held))

    async def both() -> list[Any]:
        asked = [Request(prompt, (0, 0, 0), 1.0, 3) for prompt in ([99], [3, 9])]
        return await asyncio.gather(
            *(batcher.ask([request]) for request in asked), return_exceptions=True
        )

    bad, good = asyncio.run(both())
    assert isinstance(bad, OptionError)
    assert good[0].read == 2


def test_a_request_that_is_cancelled_leaves_the_others_alone(held: HFModel) -> None:
    batcher = Batcher(lambda act: act(held))

    async def one_goes() -> Any:
        first, second = (
            asyncio.ensure_future(batcher.ask([Request([3], (0, 0, i), 1.0, 3)])) for i in (0, 1)
        )
        await asyncio.sleep(0)
        first.cancel()
        return await second, await asyncio.gather(first, return_exceptions=True)

    answers, gone = asyncio.run(one_goes())
    assert len(answers) == 1
    assert isinstance(gone[0], asyncio.CancelledError)


@pytest.mark.parametrize("natively", [False, True])
def test_who_is_cancelled_while_answering_stops_and_the_others_go_on(
    files: Files, natively: bool
) -> None:
    model = HFModel.load(files.model, device="cpu", batch_size=1)
    batches: list[Any] = []
    alone = Lock()

    def use(act: Any) -> None:
        with alone:
            act(model)

    async def first_goes() -> list[Any]:
        loop, plain, started = asyncio.get_running_loop(), model.generate, asyncio.Event()

        def generate(*given: Any, **options: Any) -> Any:
            batches.append(options["draws"])
            loop.call_soon_threadsafe(started.set)
            return plain(*given, **options)

        model.generate = generate  # pyright: ignore[reportAttributeAccessIssue]
        batcher, scopes = Batcher(use), [anyio.CancelScope() for _ in range(9)]

        async def ask_one(i: int) -> Any:
            with scopes[i]:
                return await batcher.ask([Request([3], (0, 0, i), 1.0, 5)])

        asked = [asyncio.ensure_future(ask_one(i)) for i in range(9)]
        await started.wait()
        asked[0].cancel() if natively else scopes[0].cancel()
        return await asyncio.gather(*asked, return_exceptions=True)

    gone, *found = asyncio.run(first_goes())
    assert isinstance(gone, asyncio.CancelledError) if natively else gone is None
    assert all(len(answers) == 1 for answers in found)
    assert sorted(batches) == [[(0, 0, i)] for i in range(9)]  # none twice
