"""What is measured at every point of a walk."""

from __future__ import annotations

from dataclasses import dataclass

from deltalens.connectivity.paths import AdapterPath
from deltalens.studies.walk.behaviour import Round
from deltalens.studies.walk.judged import Judged
from deltalens.studies.walk.tokens import Answers, FeatureTokens


@dataclass(frozen=True)
class Plan:
    """What is measured at every point.

    Attributes:
        path: from t to an adapter.
        positions: rising, 0 and 1 among them.
        judged: how behaviour is measured.
        plan: what is asked, and how.
        seed: of the samples.
        read: where features are read; None where they are not.
        given: answers whose tokens are read, where they are known before; else they are sampled.
        one_thread: for models so small that a second thread costs more than it saves.
    """

    path: AdapterPath
    positions: tuple[float, ...]
    judged: Judged
    plan: tuple[Round, ...]
    seed: int
    read: FeatureTokens | None
    given: Answers | None = None
    one_thread: bool = False
