"""What Inspect may ask of a model here, and a refusal of the rest: nothing is passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inspect_ai.model import ChatMessage, ContentText, GenerateConfig

from deltalens.core.protocols import Prompt
from deltalens.core.text import shown
from deltalens.errors import OptionError

DRAW: Final = "deltalens_draw"
"""Key of `extra_body` under which a task says which random numbers an answer is drawn with."""

_HONOURED = frozenset(
    ("temperature", "max_tokens", "seed", "num_choices", "system_message", "extra_body")
)
# Inspect's own affairs, or without effect on a model that has no tools and does not think aloud.
_INSPECTS = frozenset(
    (
        *("max_retries", "timeout", "attempt_timeout", "stream_idle_timeout", "max_connections"),
        *("adaptive_connections", "cache", "cache_prompt", "fail_on_refusal", "max_tool_output"),
        *("parallel_tool_calls", "internal_tools", "reasoning_history"),
    )
)
# Values that ask for nothing.
_IDLE: Mapping[str, Any] = {
    "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "best_of": 1, "stop_seqs": [],
    "logit_bias": {}, "logprobs": False, "batch": False, "modalities": [], "extra_headers": {},
}  # fmt: skip


def require_known(config: GenerateConfig) -> None:
    """Refuse settings that would change the answers of another model, and here would not.

    Raises:
        OptionError: naming the settings.
    """
    given = config.model_dump(exclude_none=True)
    refused = [
        f"{name} = {shown(value, 40)}"
        for name, value in given.items()
        if name not in _HONOURED | _INSPECTS and not (name in _IDLE and value == _IDLE[name])
    ]
    if refused:
        raise OptionError(
            f"a deltalens model samples from its own distribution and cannot take "
            f"{', '.join(refused)}; allowed: {', '.join(sorted(_HONOURED - {'extra_body'}))}"
        )
    for name in ("num_choices", "max_tokens"):
        if given.get(name, 1) < 1:
            raise OptionError(f"{name} is {given[name]}, where 1 or more is needed")
    for name in ("temperature", "seed"):
        if not 0 <= given.get(name, 0) < float("inf"):
            raise OptionError(f"{name} is {given[name]}, where 0 or more is needed")


def draw_of(config: GenerateConfig) -> tuple[int, int, int] | None:
    """Seed, prompt and sample that a task has set for this answer; None where it has not.

    Raises:
        OptionError: if there is anything else in `extra_body`, or a seed beside it.
    """
    body = config.extra_body
    if not body:
        return None
    numbers = body.get(DRAW)
    if set(body) != {DRAW} or not isinstance(numbers, Sequence) or len(numbers) != 3:
        raise OptionError(
            f"extra_body holds {shown(sorted(body), 80)}, where {DRAW!r} with three numbers is "
            "allowed, and nothing else"
        )
    if config.seed is not None:
        raise OptionError(
            f"seed = {config.seed}: this task seeds every answer by itself; its seed is -T seed"
        )
    seed, prompt, sample = (int(number) for number in numbers)
    return seed, prompt, sample


def prompt_of(messages: Sequence[ChatMessage]) -> Prompt:
    """What the model reads: one user turn as text, so that no chat template is needed for it.

    Raises:
        OptionError: for anything but text of the system, the user and the assistant.
    """
    turns = [{"role": message.role, "content": _text(message)} for message in messages]
    if not turns:
        raise OptionError("no message: a deltalens model answers at least one")
    return turns[0]["content"] if [turn["role"] for turn in turns] == ["user"] else turns


def _text(message: ChatMessage) -> str:
    if message.role == "tool" or getattr(message, "tool_calls", None):
        raise OptionError("a deltalens model has no tools, and a message calls one or speaks of it")
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if not isinstance(part, ContentText):
            raise OptionError(f"a deltalens model reads text; a message holds {part.type}")
    return message.text
