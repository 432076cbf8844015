"""Are these covariances of the base that the adapters were trained from?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.shapes import Array, Bool
from deltalens.core.text import shown
from deltalens.errors import BaseModelError
from deltalens.geometry.survey import Survey
from deltalens.io.covariances import Covariances


def require_base(held: Covariances, adapters: Sequence[Adapter], base: Path | None) -> None:
    """Refuse covariances of another base: by digest where one is given, else by name.

    Raises:
        BaseModelError: naming both.
    """
    info, where = held.info, f"--covariances {shown(held.path)}"
    if base is not None:
        from deltalens.studies.walk.settings import weights_digest

        digest = weights_digest(base)
        if digest != info.model_digest:
            raise BaseModelError(
                f"{where}: is of {shown(info.model)} ({shown(info.model_digest[:12])}), and the "
                f"base {shown(base)} is another ({digest[:12]}); one base is needed"
            )
        return
    for adapter in adapters:
        named = adapter.base_model
        if named is not None and _tail(named) != _tail(info.model):
            raise BaseModelError(
                f"{where}: is of {shown(info.model, 80)}, and {shown(adapter.name)} names "
                f"{shown(named, 80)}; --base with the model's folder tells whether they are one"
            )


def _tail(name: str) -> str:
    return Path(name).name.casefold()


def require_widths(held: Covariances, s: Survey, covered: Bool[Array, " m"]) -> None:
    """Refuse covariances whose inputs are not as wide as the adapters'.

    Raises:
        BaseModelError: naming the module and both widths.
    """
    for m in np.flatnonzero(covered):
        width, d_in = held.width(str(s.keys[m])), int(s.shapes[m, 1])
        if width != d_in:
            raise BaseModelError(
                f"--covariances {shown(held.path)}: the input of {shown(s.keys[m])} is {width} "
                f"wide there and {d_in} in the adapters; covariances of their own base are needed"
            )
