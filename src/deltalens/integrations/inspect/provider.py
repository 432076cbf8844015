"""A point on a path as a model of Inspect: `deltalens/FOLDER` with `-M a, b, t, path`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import Any, Final
from weakref import WeakKeyDictionary

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.solver import TaskState
from inspect_ai.solver._task_state import sample_state
from inspect_ai.tool import ToolChoice, ToolInfo

from deltalens.core.protocols import Prompt
from deltalens.errors import OptionError
from deltalens.integrations.inspect.bases import open_base
from deltalens.integrations.inspect.batcher import Answer, Batcher, Request
from deltalens.integrations.inspect.points import open_point
from deltalens.integrations.inspect.problems import in_one_line
from deltalens.integrations.inspect.settings import draw_of, prompt_of, require_known
from deltalens.models.hf import HFModel
from deltalens.studies.walk.behaviour import MAX_TOKENS

AT_ONCE: Final = 128
"""Requests that Inspect keeps open: those that can be generated in one go."""

TOKENS: Final = "tokens"
"""Key of an output's metadata: the token ids of every choice."""

logger = getLogger(__name__)


class DeltalensAPI(ModelAPI):
    """A base model in a folder, at a point of a path between two of its fine-tunes.

    Adapters and folder are checked when it is made; weights are loaded when it is first asked.

    Attributes:
        identity: SHA-256 of adapters, path and t.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - Inspect's own signature
        *,
        a: Any = "base",
        b: Any = None,
        t: Any = None,
        path: Any = "linear",
        loaded: HFModel | None = None,
        **options: Any,
    ) -> None:
        """Open the point.

        Args:
            model_name: the base's folder.
            base_url: not used: it is set to what identifies the point, for Inspect's cache.
            api_key: not used.
            config: Inspect's settings.
            a: the adapter at t = 0, or `"base"`.
            b: the adapter at t = 1; without it, `a` is the adapter.
            t: the position, by default 1.
            path: `"linear"`, `"factorwise"` or `"factor_scaling"`.
            loaded: a model to be used in place of the folder's.
            **options: `batch_size`, `dtype`, `device`, `device_map`, as `HFModel.load` takes them.
        """
        del base_url
        with in_one_line():
            point = open_point(a, b, t, path)
            base = open_base(model_name if loaded is None else loaded, options)
            for warning in point.warnings(base.target):
                logger.warning(warning)
            self.identity = point.identity()
            # Inspect's cache knows a model by its name, its settings and this.
            super().__init__(model_name, f"deltalens:{self.identity}", api_key, [], config)

        def use(act: Callable[[HFModel], None]) -> None:
            with base.at(point) as model:
                act(model)

        self._batcher = Batcher(use)
        self._asked: Counter[int] = Counter()
        self._asked_by: WeakKeyDictionary[TaskState, Counter[int]] = WeakKeyDictionary()

    def max_tokens(self) -> int | None:
        """Longest answer where nothing else is said: a walk's."""
        return MAX_TOKENS

    def max_connections(self) -> int:
        """Requests at a time."""
        return AT_ONCE

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Sample answers, each with its own random numbers.

        Raises:
            OptionError: if there are tools, or a setting that cannot be honoured.
            AdapterError: if the adapters do not fit the model.
        """
        del tool_choice
        if tools:
            raise OptionError(f"a deltalens model has no tools; found {len(tools)}")
        require_known(config)
        prompt = prompt_of(input)
        requests = [
            Request(
                prompt,
                draw,
                1.0 if config.temperature is None else config.temperature,
                MAX_TOKENS if config.max_tokens is None else config.max_tokens,
            )
            for draw in self._draws(prompt, config)
        ]
        return self._output(await self._batcher.ask(requests))

    def _draws(self, prompt: Prompt, config: GenerateConfig) -> list[tuple[int, ...]]:
        """One for each choice; those of other tasks belong to the prompt, the epoch and the call.

        So an answer depends neither on what is asked beside it nor on the order of requests.
        """
        n, given = config.num_choices or 1, draw_of(config)
        if given is not None:
            seed, place, sample = given
            return [(seed, place, sample * n + choice) for choice in range(n)]
        text = json.dumps(prompt, sort_keys=True)
        words = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        state = sample_state()
        asked = self._asked if state is None else self._asked_by.setdefault(state, Counter())
        asked[words] += 1
        epoch = 0 if state is None else state.epoch
        return [(config.seed or 0, words, epoch, asked[words], choice) for choice in range(n)]

    def _output(self, answers: Sequence[Answer]) -> ModelOutput:
        tokens = [list(answer.generated.tokens or ()) for answer in answers]
        read, made = answers[0].read, sum(map(len, tokens))
        return ModelOutput(
            model=self.model_name,
            choices=[self._choice(answer) for answer in answers],
            usage=ModelUsage(input_tokens=read, output_tokens=made, total_tokens=read + made),
            metadata={TOKENS: tokens},
        )

    def _choice(self, answer: Answer) -> ChatCompletionChoice:
        return ChatCompletionChoice(
            message=ChatMessageAssistant(
                content=answer.generated.text or "", model=self.model_name, source="generate"
            ),
            stop_reason="stop" if answer.generated.finished else "max_tokens",
        )
