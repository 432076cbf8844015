"""Questions and judge of a walk, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalens.behaviour.judges import judge_by_name, require_known
from deltalens.behaviour.paired import Unit, require_contrasts
from deltalens.behaviour.questions import Question, read_questions
from deltalens.behaviour.scoring import Panel
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.provenance import sha256_file
from deltalens.organisms.exact_judge import EXACT, exact_panel

PAIRED = "paired"
_WITH_FILE = ("local", "openai", "rules")
_UNITS: Mapping[Unit, str] = {"token": "per token", "sum": "summed"}


@dataclass(frozen=True)
class Judged:
    """How behaviour is measured.

    Attributes:
        name: of the judge; None where behaviour is not measured.
        panel: who scores sampled answers; None where nothing is sampled.
        questions: what is asked; empty in the symbolic world, which has its own.
        identity: what scores depend on beside the judge's name: the SHA-256 of its file.
        paired: how given answers are compared; None where answers are sampled, or none measured.
    """

    name: str | None
    panel: Panel | None
    questions: tuple[Question, ...]
    identity: str | None = None
    paired: Unit | None = None

    @property
    def computed(self) -> bool:
        """Whether behaviour is computed and not sampled."""
        return self.name is not None and self.panel is None


def open_judge(
    model: str,
    questions: str | Path | Sequence[Question] | None,
    judge: str | Panel | None,
    samples: int | None,
    *,
    symbolic: bool,
    features: bool,
    also: Sequence[str] = (),
) -> Judged:
    """Questions and judge, as far as the model needs them; `also` are judges beside the table's.

    Raises:
        OptionError: if something is missing, or does not go together.
        BehaviourError: if a file of questions or rules cannot be used.
    """
    if samples is not None and samples < 1:
        raise OptionError(f"--samples must be 1 or more; found {samples}")
    if symbolic and questions is None:
        return _symbolic(judge, samples)
    if symbolic:
        raise OptionError(
            f"--questions: {shown(model)} reads symbols and has its own 96 questions; "
            "text cannot be put to it"
        )
    if questions is None:
        raise OptionError(f"--questions is needed: what should {shown(model)} be asked?")
    asked = read_questions(questions) if isinstance(questions, str | Path) else tuple(questions)
    if judge is None:
        if not features:
            raise OptionError("--no-features and no --judge: there is nothing to measure")
        if samples is not None:
            raise OptionError("--samples without --judge: nobody would score the answers")
        return Judged(None, None, asked)
    if isinstance(judge, str) and judge.partition("=")[0] == PAIRED:
        return _paired(judge, asked, samples)
    name = judge.partition("=")[0] if isinstance(judge, str) else EXACT
    if name != EXACT:  # which open_panel refuses with a reason of its own
        require_known(name, also)
    panel, identity = open_panel(judge)
    return Judged(panel.name, panel, asked, identity)


def _symbolic(judge: str | Panel | None, samples: int | None) -> Judged:
    if judge not in (None, EXACT):
        raise OptionError("--judge: answers of the symbolic world have one judge, 'exact'")
    panel = None if samples is None else exact_panel()
    return Judged(EXACT, panel, ())


def _paired(judge: str, asked: tuple[Question, ...], samples: int | None) -> Judged:
    """Given answers compared: `paired` (per token) or `paired=sum`."""
    _, _, given = judge.partition("=")
    units: Mapping[str, Unit] = {
        PAIRED: "token",
        f"{PAIRED}=token": "token",
        f"{PAIRED}=sum": "sum",
    }
    unit = units.get(judge)
    if unit is None:
        raise OptionError(
            f"--judge {PAIRED}={shown(given, 40)} is not known; known are {PAIRED}, {PAIRED}=sum"
        )
    if samples is not None:
        raise OptionError(
            f"--samples with --judge {PAIRED}: given answers are compared, and none is sampled"
        )
    require_contrasts(asked)
    return Judged(f"{PAIRED} ({_UNITS[unit]})", None, asked, paired=unit)


def open_panel(judge: str | Panel) -> tuple[Panel, str | None]:
    """`NAME` or `NAME=FILE`, and what its scores depend on beside the name.

    The file is the judge's own, its rules for example. A judge that depends on more than its file
    says so itself (`identity`).

    Raises:
        OptionError: if there is no such judge, or it needs a file.
        BehaviourError: if its file cannot be used.
    """
    if isinstance(judge, Panel):
        return judge, _own_identity(judge)
    name, given, file = judge.partition("=")
    if name == PAIRED:
        raise OptionError(f"--judge {PAIRED} scores no answer: it compares given ones, in a walk")
    if name == EXACT:
        raise OptionError(
            "--judge exact knows the answers of the symbolic world (--model toy) only"
        )
    if not given and name in _WITH_FILE:
        raise OptionError(f"--judge {name} needs its file: --judge {name}=FILE.yaml")
    panel = judge_by_name(name, file=file) if given else judge_by_name(name)
    own = _own_identity(panel)
    return panel, own or (sha256_file(Path(file)) if given and Path(file).is_file() else None)


def _own_identity(panel: Panel) -> str | None:
    held = [getattr(judge, "identity", None) for judge in (panel.aligned, panel.coherent)]
    return next((each for each in held if isinstance(each, str)), None)
