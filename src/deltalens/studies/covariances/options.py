"""What shapes a covariance file, beside the model and the texts."""

from __future__ import annotations

from dataclasses import dataclass

from deltalens.core.moment import MOMENT_KINDS, MomentKind
from deltalens.core.text import shown
from deltalens.errors import OptionError


@dataclass(frozen=True)
class Options:
    """What shapes the numbers, beside the model and the texts; see `covariances`."""

    kind: MomentKind = "full"
    rank: int = 64
    centred: bool = False
    drop_first: int = 1
    modules: str | None = None
    max_tokens: int | None = None
    length: int | None = None
    seed: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.kind not in MOMENT_KINDS:
            raise OptionError(
                f"--kind {shown(self.kind, 40)!r} is not known; known are {', '.join(MOMENT_KINDS)}"
            )
        for name, least in (("rank", 1), ("drop_first", 0), ("max_tokens", 1), ("length", 1),
                            ("seed", 0), ("batch_size", 1)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(
                    f"--{name.replace('_', '-')} must be {least} or more; found {value}"
                )
