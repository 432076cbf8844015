"""Finished points on disk: each whole or not there at all, so a killed walk can go on.

`points/settings.json` says what the points depend on. A point is its answers
(`t-0.3.responses.parquet`), their scores, a file for each judge (`t-0.3.scores-JUDGE.parquet`), and
`t-0.3.json` with the rest, written last.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deltalens.behaviour.responses import Response, read_responses, write_responses
from deltalens.behaviour.scoring import Scored, read_scores, write_scores
from deltalens.connectivity.features import FeatureLinearity
from deltalens.core.files import write_whole
from deltalens.core.text import shown
from deltalens.errors import BehaviourError, OptionError, OutputError
from deltalens.io.provenance import sha256_file
from deltalens.io.results import prepare_folder
from deltalens.studies.walk.lock import locked
from deltalens.studies.walk.settings import Settings, digest, require_equal

_PATTERNS = ("t-*.json", "t-*.parquet", "settings.json")
_SHORT = 12


@dataclass(frozen=True)
class Point:
    """What was measured at one position.

    Attributes:
        t: the position.
        exact: P(bad) and P(good) of every question (None: not known); None where answers were
            sampled, or none.
        scores: the scored answers; None where probabilities were computed, or nothing.
        features: a row a layer, or none.
        floor: at t = 0, a layer's normalised L2 between two runs of that end.
        unread: at t = 0, wordings whose answers have no token to read features at.
    """

    t: float
    exact: tuple[tuple[float, float | None], ...] | None = None
    scores: tuple[Scored, ...] | None = None
    features: tuple[FeatureLinearity, ...] = ()
    floor: tuple[float | None, ...] = ()
    unread: int = 0


@contextmanager
def open_store(
    out: Path, settings: Settings, judge: Settings, *, fresh: bool = False
) -> Generator[Store]:
    """The points in `out`, held against other walks; those of another walk are refused.

    Args:
        out: folder of the walk.
        settings: what answers and features depend on.
        judge: what scores depend on beside the answers.
        fresh: whether points that are there are dropped.

    Raises:
        OptionError: if the folder's points were measured under other settings, or another walk
            is running in it.
        OutputError: if it cannot be written to.
    """
    folder = out / "points"
    prepare_folder(folder)
    with locked(folder):
        if fresh:
            _clear(folder)
        note = folder / "settings.json"
        if any(folder.glob("t-*.json")):
            held = _object(note)
            if held is None:
                raise OptionError(
                    f"{shown(note)}: missing or unreadable, so the points beside it belong to no "
                    "known settings; --fresh starts over"
                )
            require_equal(held, settings, out)
        write_whole(note, json.dumps(dict(settings), indent=1).encode() + b"\n")
        yield Store(folder, settings, judge)


class Store:
    """The points of one walk in one folder.

    Attributes:
        folder: where they are.
    """

    def __init__(self, folder: Path, settings: Settings, judge: Settings) -> None:
        self.folder, self._judge = folder, judge
        self._digest, self._judge_digest = digest(settings), digest(judge)

    def read(self, t: float) -> Point | None:
        """A finished point, without scores; None where it is not there, or not whole."""
        held = _object(self._path(t, "json"))
        if held is None or held.get("digest") != self._digest:
            return None
        try:
            return Point(
                t=held["t"],
                exact=held["exact"] and tuple((bad, good) for bad, good in held["exact"]),
                features=tuple(FeatureLinearity(**row) for row in held["features"]),
                floor=tuple(held["floor"]),
                unread=held["unread"],
            )
        except (KeyError, TypeError, ValueError):
            return None

    def write(self, point: Point) -> None:
        """Keep a finished point, whose answers and scores are kept already.

        Raises:
            OutputError: if it cannot be written.
        """
        record: dict[str, Any] = {
            "digest": self._digest,
            "t": point.t,
            "exact": point.exact,
            "features": [asdict(row) for row in point.features],
            "floor": point.floor,
            "unread": point.unread,
        }
        write_whole(self._path(point.t, "json"), json.dumps(record).encode() + b"\n")

    def read_responses(self, t: float) -> tuple[Response, ...] | None:
        """Answers that were generated under these settings, whoever scored them."""
        try:
            responses, note = read_responses(self._path(t, "responses.parquet"))
        except BehaviourError:
            return None
        return responses if note.get("digest") == self._digest else None

    def write_responses(self, t: float, responses: tuple[Response, ...]) -> None:
        """Keep answers before anybody scores them.

        Raises:
            OutputError: if they cannot be written.
        """
        path = self._path(t, "responses.parquet")
        write_responses(path, responses, provenance={"digest": self._digest, "t": t})

    def read_scores(self, t: float) -> tuple[Scored, ...] | None:
        """This judge's scores of the answers that are there, to the byte."""
        try:
            scores, note = read_scores(self._scores(t))
        except BehaviourError:
            return None
        return scores if note == self._scored(t) else None

    def write_scores(self, t: float, scores: tuple[Scored, ...]) -> None:
        """Keep this judge's scores beside those of others.

        Raises:
            OutputError: if they cannot be written.
        """
        write_scores(self._scores(t), scores, provenance=self._scored(t))

    def _scored(self, t: float) -> dict[str, Any]:
        """What scores belong to: a judge, and the answers that it read."""
        answers = self._path(t, "responses.parquet")
        held = sha256_file(answers) if answers.is_file() else None
        return {"judge": dict(self._judge), "answers": held}

    def _scores(self, t: float) -> Path:
        return self._path(t, f"scores-{self._judge_digest[:_SHORT]}.parquet")

    def _path(self, t: float, kind: str) -> Path:
        return self.folder / f"t-{t:g}.{kind}"


def _clear(folder: Path) -> None:
    for pattern in _PATTERNS:
        for file in folder.glob(pattern):
            try:
                file.unlink()
            except OSError as error:
                raise OutputError(f"{shown(file)}: cannot be removed: {error.strerror}") from None


def _object(path: Path) -> dict[str, Any] | None:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType]
