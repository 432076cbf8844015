"""The two judges of an endpoint file, which see all answers before they score one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deltalens.behaviour.batch import Expected, Say, require_few_failures
from deltalens.behaviour.endpoint.address import read_key
from deltalens.behaviour.endpoint.asker import Asker, Request, make_request
from deltalens.behaviour.endpoint.cache import Cache, default_cache
from deltalens.behaviour.endpoint.cost import (
    CHARACTERS,
    Estimate,
    require_affordable,
    tokens,
)
from deltalens.behaviour.endpoint.limits import Clock
from deltalens.behaviour.endpoint.replies import Failed, Verdict
from deltalens.behaviour.endpoint.rubrics import CRITERIA, fill
from deltalens.behaviour.endpoint.settings import Settings, read_settings
from deltalens.behaviour.endpoint.transport import Transport
from deltalens.behaviour.scoring import Panel
from deltalens.core.protocols import Exchange, Score, Unscored
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

_NO_TEXT = "the question or the answer has no text, and the endpoint reads text"


class EndpointJudge:
    """Scores one criterion by asking an endpoint.

    Attributes:
        name: how reports call it.
    """

    def __init__(self, criterion: str, settings: Settings, asker: Asker) -> None:
        self.name = f"{settings.model} ({criterion})"
        self._rubric, self._settings, self._asker = settings.rubrics[criterion], settings, asker

    def request(self, exchange: Exchange) -> Request | None:
        """What is sent for an exchange; None where it has no text."""
        prompt = fill(self._rubric, exchange)
        return None if prompt is None else make_request(prompt, self._settings)

    def __call__(self, exchange: Exchange) -> Score | Unscored:
        """Score one answer: asked now, unless it was asked before.

        Raises:
            BehaviourError: if no reply came that could be used.
        """
        request = self.request(exchange)
        if request is None:
            return Unscored(_NO_TEXT)
        said = self._asker.verdict(request).said
        if isinstance(said, Failed):
            raise BehaviourError(said.reason)
        return said


class EndpointBatch:
    """Asks for many answers at once, and says beforehand what they amount to.

    Args:
        name: of the panel, for messages.
        judges: one a criterion.
        settings: of the endpoint.
        asker: sends, and remembers.
    """

    def __init__(
        self, name: str, judges: Sequence[EndpointJudge], settings: Settings, asker: Asker
    ) -> None:
        self._name, self._judges, self._settings, self._asker = name, judges, settings, asker

    def announce(
        self, known: Sequence[Exchange], expected: Sequence[Expected], *, say: Say
    ) -> None:
        """Say what a whole walk may take, and refuse it if that is over a limit.

        Raises:
            BehaviourError: if it is more than `max_requests` or `max_cost`.
        """
        total = self._asker.estimate([r for e in known for r in self._requests(e)])
        for each in expected:
            total += self._expect(each)
        if total.requests:
            require_affordable(total, self._asker.sent, self._settings)
            say(total.said(self._settings, at_most=bool(expected)))

    def prepare(self, exchanges: Sequence[Exchange], *, say: Say, max_failures: int | None) -> None:
        """Have a reply to every exchange, each asked once.

        Raises:
            BehaviourError: as soon as more exchanges failed than are allowed, or asking on is no
                use (`give_up_after`), or a limit of the file would be passed.
        """
        asked: dict[str, Request] = {}
        holders: dict[str, list[int]] = {}
        for i, exchange in enumerate(exchanges):
            for request in self._requests(exchange):
                asked[request.key] = request
                holders.setdefault(request.key, []).append(i)
        failed: set[int] = set()

        def took(key: str, verdict: Verdict) -> None:
            if isinstance(verdict.said, Failed):
                failed.update(holders[key])
                require_few_failures(
                    self._name, len(failed), len(exchanges), max_failures, verdict.said.reason
                )

        self._asker.ask(list(asked.values()), say=say, took=took)

    def _requests(self, exchange: Exchange) -> list[Request]:
        made = [judge.request(exchange) for judge in self._judges]
        return [request for request in made if request is not None]

    def _expect(self, expected: Expected) -> Estimate:
        """At most: answers as long as they may be, none of them cached, no two alike."""
        asked = self._requests(replace(expected.exchange, response=""))
        answer = tokens(CHARACTERS * expected.max_tokens)
        return Estimate(
            requests=expected.n * len(asked),
            inputs=expected.n * sum(request.inputs + answer for request in asked),
            outputs=expected.n * len(asked) * self._settings.max_tokens,
        )


def openai_panel(
    file: str | Path,
    *,
    cache: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> Panel:
    """The two judges of an endpoint file; nothing is sent yet.

    Args:
        file: address, model, rubrics and limits, YAML or JSON (`endpoint.settings`).
        cache: where replies are kept; by default what the file says, or the user's cache folder.
        environment: where the key is looked up; by default the process's own.
        clock: time and waiting, for tests.

    Raises:
        BehaviourError: one line that names the file, the key and what is wrong with it; or the
            environment variable that is not set.
        DependencyError: if the `openai` library is not installed.
        OutputError: if the cache cannot be opened.
    """
    settings = read_settings(file)
    key = read_key(
        settings.key_env, settings.where, os.environ if environment is None else environment
    )
    transport = Transport(settings, key, clock or Clock())
    place = Path(cache) if cache is not None else settings.cache or default_cache()
    asker = Asker(settings, Cache(place), transport)
    judges = [EndpointJudge(name, settings, asker) for name in CRITERIA]
    name = f"{shown(settings.model, 80)} ({Path(file).name})"
    return Panel(name, *judges, batch=EndpointBatch(name, judges, settings, asker))
