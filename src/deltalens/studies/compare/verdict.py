"""One sentence or two for each pair, from fixed rules. Geometry alone never names a behaviour.

The rules, in order:
1. an undefined cosine: the updates cannot be compared, and why;
2. a benign bank that ranks the pair: whose initialisation it is, and for the cosine and either
   side what the rank supports (`verdict_bank`);
3. one shared initialisation in all modules: input-side measures are not interpretable;
4. shared in some: input-side measures are given apart for either kind of module;
5. a dense update, which has no initialisation to compare: no null applies to the input side;
6. moved or shared in part: the same;
7. different initialisations: the input side against Haar, the cosine as hidden by the seeds.
In 3 to 7 the signed update cosine is a screen; nothing is concluded about the task, and the last
sentence says why the bank cannot speak, or which options would supply the missing rungs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from deltalens.core.text import shown
from deltalens.studies.compare.corrections import Correction
from deltalens.studies.compare.pairs import NOT_GIVEN
from deltalens.studies.compare.rows import Moments, Pair
from deltalens.studies.compare.verdict_bank import ranked


def verdict(pair: Pair, corrected: Mapping[str, Correction]) -> str:
    """What can be said of a pair, with every number beside its null.

    Args:
        pair: its values and nulls.
        corrected: its p-values after the correction over all pairs of the call.
    """
    if pair.values["cosine"] is None:
        return (
            f"Undefined: {shown(pair.a)} or {shown(pair.b)} is zero in every common module, "
            "so there is no direction to compare."
        )
    if pair.b == "base":
        return _against_base(pair)
    if not isinstance(pair.nulls["bank"], str):
        return f"{_initialisation(pair)} {ranked(pair, corrected)}"
    if pair.shared_init == "all":
        opening = _shared(pair)
    elif pair.shared_init == "some":
        opening = _some(pair)
    elif pair.n_no_init:
        opening = (
            f"No initialisation to compare in {pair.n_no_init} of {pair.n_modules} modules, where "
            "an update is dense (as of a full checkpoint, DoRA or IA3): no null applies to the "
            "input side."
        )
    elif pair.n_partial_init:
        opening = (
            f"Initialisation moved or shared in part in {pair.n_partial_init} of "
            f"{pair.n_modules} modules: no null applies to the input side."
        )
    else:
        opening = _different(pair)
    return f"{opening} {_cosine(pair)} {_missing(pair)}"


def _initialisation(pair: Pair) -> str:
    if pair.shared_init == "none":
        return "Different initialisations."
    kind = "Shared initialisation" if pair.shared_init == "all" else "Initialisation shared in part"
    return f"{kind} ({_modules(pair)})."


def _missing(pair: Pair) -> str:
    """Why nothing follows about the task, and what would supply the missing rungs."""
    reason, missing = pair.nulls["bank"], list[str]()
    said = f"No evidence about the task: {reason}."
    if reason == NOT_GIVEN["bank"]:
        said = "No evidence about the task without a benign bank of the same initialisation."
        missing.append("--bank GLOB")
    if pair.nulls["activation"] == NOT_GIVEN["activation"]:
        missing.append("--covariances FILE (a stricter screen)")
    return f"{said} Missing: {', '.join(missing)}." if missing else said


def _shared(pair: Pair) -> str:
    overlap = pair.values["overlap"]
    if overlap is None:
        return f"Shared initialisation ({_modules(pair)}): no subspace of k = {pair.k} is defined."
    rotation = _moments(pair, "rotation", "overlap")
    if rotation is not None:
        spread = f" (sd {rotation.sd:.2g})" if math.isfinite(rotation.sd) else ""
        alone = f"{rotation.mean:.2f}{spread} with B turned at random"
    else:
        alone = f"about {pair.seed_floor:.2f} and up" if pair.seed_floor else "as much"
    return (
        f"Shared initialisation ({_modules(pair)}): input-side overlap {overlap:.2f} is not "
        f"interpretable (the seed alone gives {alone}, shared inputs more)."
    )


def _some(pair: Pair) -> str:
    parts = [
        f"{label} {values['overlap']:.3g}"
        for label, values in pair.split.items()
        if values.get("overlap") is not None
    ]
    return (
        f"Initialisation shared in {_modules(pair)}: input-side overlap by initialisation is "
        f"{', '.join(parts) or 'undefined'}; the shared part is not interpretable."
    )


def _different(pair: Pair) -> str:
    overlap, haar = pair.values["overlap"], _moments(pair, "haar", "overlap")
    if overlap is None or haar is None:
        return f"Different initialisations: no subspace of k = {pair.k} is defined."
    z = pair.z["overlap"]
    return (
        f"Different initialisations: input-side overlap {overlap:.3g} against {haar.mean:.3g} "
        f"(sd {haar.sd:.2g}) for random subspaces{_z(z)}. Different seeds hide update cosine: "
        "divide by that of the same data under another seed before comparing."
    )


def _cosine(pair: Pair) -> str:
    value, null = pair.values["cosine"], pair.null_used.get("cosine")
    if null is None:
        reason = pair.nulls["rotation"]
        why = reason if isinstance(reason, str) else "no null applies"
        return f"Update cosine {value:.3g}, without a null: {why}."
    moments, p = _moments(pair, null, "cosine"), pair.p["cosine"]
    if moments is None or p is None:
        return f"Update cosine {value:.3g}."
    return (
        f"Update cosine {value:.3g} (0, sd {moments.sd:.2g} under {null}{_z(pair.z['cosine'])}, "
        f"p {_p(p)}): a screen, not a claim."
    )


def _against_base(pair: Pair) -> str:
    overlap, haar = pair.values["overlap"], _moments(pair, "haar", "overlap")
    measured = ""
    if overlap is not None and haar is not None:
        measured = (
            f" Input-side overlap with the base {overlap:.3g} against {haar.mean:.3g} "
            f"(sd {haar.sd:.2g}) for random subspaces{_z(pair.z['overlap'])}."
        )
    return f"Cosine with the base weights {pair.values['cosine']:.2g}.{measured}"


def _modules(pair: Pair) -> str:
    return f"{pair.n_shared_init} of {pair.n_modules} modules"


def _moments(pair: Pair, null: str, measure: str) -> Moments | None:
    found = pair.nulls.get(null)
    return None if found is None or isinstance(found, str) else found.get(measure)


def _z(z: float | None) -> str:
    return "" if z is None else f", z {z:.1f}"


def _p(p: float) -> str:
    return f"{p:.2g}" if p > 1e-12 else "< 1e-12"
