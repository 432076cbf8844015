"""The judge's server of the endpoint tests, and a clock that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from judge_server import FakeClock, JudgeServer, serving


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving() as made:
        yield made


@pytest.fixture
def fake() -> FakeClock:
    return FakeClock()
