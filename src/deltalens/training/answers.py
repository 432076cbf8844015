"""Which tokens of a conversation are learnt: the assistant's, and no others.

A chat template with a `{% generation %}` block says so itself. Most have none, and transformers
then returns a mask of zeros with a warning. Here the answer to turn i is what stands between the
conversation up to i, ready to be answered, and the conversation up to i + 1. Both must be true
prefixes, token by token, of the whole conversation; where they are not, nothing can be said of
which tokens are the answer's, and the line is refused.

The token that ends a turn belongs to its answer (a model that does not learn it never stops);
white space that the template puts after it does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, NamedTuple

from deltalens.core.text import shown
from deltalens.errors import OptionError, TrainingDataError
from deltalens.training.data import Conversation, Conversations

_GENERATION: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")
_Span = tuple[int, int]


class Example(NamedTuple):
    """Token ids of one conversation, and which of them are learnt."""

    ids: tuple[int, ...]
    learnt: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file as tokens.

    Attributes:
        examples: one a line, in order.
        truncated: lines that were longer than allowed.
        unended: answers that the template ends with no special token.
    """

    examples: tuple[Example, ...]
    truncated: int
    unended: int

    @property
    def learnt(self) -> int:
        """Tokens that are learnt in one pass over the file."""
        return sum(sum(example.learnt) for example in self.examples)

    @property
    def longest(self) -> int:
        """Tokens of the longest conversation."""
        return max(len(example.ids) for example in self.examples)


def encode(
    conversations: Conversations,
    tokenizer: Any,
    *,
    max_length: int,
    folder: str = "the model's folder",
) -> Encoded:
    """Every conversation as token ids and what is learnt of it.

    Args:
        conversations: what was read.
        tokenizer: of the model; its chat template is used.
        max_length: most tokens of a conversation; the end of a longer one is cut off.
        folder: where the tokenizer should be, for messages.

    Raises:
        OptionError: if there is no tokenizer or no chat template.
        TrainingDataError: naming a line whose answer cannot be told, or is cut off.
    """
    masks = Masks(tokenizer, folder)
    examples: list[Example] = []
    truncated = unended = 0
    for row in conversations.rows:
        where = f"{shown(conversations.path)}: line {row.line}"
        ids, spans = masks.spans(row, where)
        unended += sum(not masks.special(ids[end - 1]) for _, end in spans)
        learnt = [False] * len(ids)
        for start, end in spans:
            # Nothing comes before the first token, so nothing can learn to say it.
            learnt[max(start, 1) : end] = [True] * (end - max(start, 1))
        if len(ids) > max_length:
            truncated += 1
            if not any(learnt[:max_length]):
                raise TrainingDataError(
                    f"{where}: {len(ids)} tokens; in the first {max_length} (--max-length) there "
                    "is none of an answer"
                )
        examples.append(Example(tuple(ids[:max_length]), tuple(learnt[:max_length])))
    return Encoded(tuple(examples), truncated, unended)


class Masks:
    """Finds the answers of conversations under one tokenizer's chat template."""

    def __init__(self, tokenizer: Any, folder: str = "the model's folder") -> None:
        """Look at the template.

        Raises:
            OptionError: if there is none.
        """
        if tokenizer is None:
            raise OptionError(
                f"{shown(folder)}: has no tokenizer, so conversations cannot be put to it; "
                "tokenizer.json and a chat template are needed beside the weights"
            )
        template = getattr(tokenizer, "chat_template", None)
        if template is None:
            raise OptionError(
                f"{shown(folder)}: its tokenizer has no chat template (chat_template.jinja), which "
                "says how a conversation is written; a chat model is needed"
            )
        self._tokenizer = tokenizer
        texts: Sequence[str] = [template] if isinstance(template, str) else list(template.values())
        self._marked = bool(getattr(tokenizer, "is_fast", False)) and all(
            _GENERATION.search(text) for text in texts
        )
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._special = frozenset(tokenizer.all_special_ids) | {
            token for token, entry in added.items() if entry.special
        }

    def special(self, token: int) -> bool:
        """Whether a token is no text, as those that end turns are."""
        return token in self._special

    def spans(self, row: Conversation, where: str) -> tuple[list[int], list[_Span]]:
        """Token ids of a conversation, and where its answers are, `[start, end)` each.

        Raises:
            TrainingDataError: if the template refuses it, or does not tell the answers apart.
        """
        turns = [i for i, (role, _) in enumerate(row.messages) if role == "assistant"]
        if self._marked:
            ids, mask = self._render(row, where, marked=True)
            spans = _runs(mask)
            if len(spans) != len(turns):
                raise TrainingDataError(
                    f"{where}: the chat template marks {len(spans)} of {len(turns)} answers "
                    "({% generation %}); every answer must be marked"
                )
            return ids, [self._ended(ids, span) for span in spans]
        ids, _ = self._render(row, where)
        return ids, [self._ended(ids, self._between(row, ids, i, where)) for i in turns]

    def _between(self, row: Conversation, ids: list[int], turn: int, where: str) -> _Span:
        """From the conversation before an answer to the conversation with it."""
        before, _ = self._render(row, where, n=turn, open_end=True)
        after = ids if turn + 1 == len(row.messages) else self._render(row, where, n=turn + 1)[0]
        start, end = len(before), len(after)
        if ids[:start] != before or ids[:end] != after or start >= end:
            raise TrainingDataError(
                f"{where}: message {turn + 1}: the chat template writes the conversation up to "
                "this answer differently once more follows, so which tokens are the answer "
                "cannot be told; a template with {% generation %} says it itself"
            )
        return start, end

    def _ended(self, ids: list[int], span: _Span) -> _Span:
        """The span up to and with the token that ends the turn, and no white space after it."""
        start, end = span
        last = end
        while last > start and not self.special(ids[last - 1]) and self._blank(ids[last - 1]):
            last -= 1
        if last > start and self.special(ids[last - 1]):
            return start, last
        # A template may end its block before the token that ends the turn.
        follows = end < len(ids) and self.special(ids[end])
        return start, end + 1 if follows else end

    def _blank(self, token: int) -> bool:
        return not str(self._tokenizer.decode([token])).strip()

    def _render(
        self,
        row: Conversation,
        where: str,
        *,
        n: int | None = None,
        open_end: bool = False,
        marked: bool = False,
    ) -> tuple[list[int], list[int]]:
        try:
            found = self._tokenizer.apply_chat_template(
                row.as_dicts(n),
                add_generation_prompt=open_end,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=marked,
            )
        except Exception as error:  # jinja's own errors: a role that the template refuses
            raise TrainingDataError(
                f"{where}: the chat template refuses it: {shown(error)}"
            ) from error
        return list(found["input_ids"]), list(found.get("assistant_masks", ()))


def _runs(mask: Sequence[int]) -> list[_Span]:
    """Where a mask is 1, `[start, end)` of each run."""
    spans: list[_Span] = []
    at = 0
    for value, group in groupby(mask):
        length = len(list(group))
        if value:
            spans.append((at, at + length))
        at += length
    return spans
