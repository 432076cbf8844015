"""The comparison of a set of adapters, from paths to a `Result`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.result import LazyTables, Result
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.geometry.memory import GIB, workers_within
from deltalens.geometry.survey import Survey, survey
from deltalens.io.base import BaseModel, open_base
from deltalens.io.provenance import provenance
from deltalens.io.read import load_all
from deltalens.studies.compare.activation import beside
from deltalens.studies.compare.bank import NO_BANK, Ranked, first, rank_pairs
from deltalens.studies.compare.bank_files import Members, open_bank
from deltalens.studies.compare.base_pairs import (
    BaseSurvey,
    base_module_rows,
    base_pair,
    survey_base,
)
from deltalens.studies.compare.corrections import out_of_reach
from deltalens.studies.compare.document import (
    adapter_documents,
    init_groups,
    pair_documents,
    pair_rows,
)
from deltalens.studies.compare.inputs import Inputs, check_inputs
from deltalens.studies.compare.modules import module_rows, spectrum_rows
from deltalens.studies.compare.moments import RotationDraws, draw_rotations, haar_by_module
from deltalens.studies.compare.pairs import build_pair, context, gauge_note
from deltalens.studies.compare.rows import ModuleRow, Pair
from deltalens.studies.compare.rungs import ladder

Progress = Callable[[str], None]


def compare(
    adapters: Sequence[Adapter | str | Path],
    *,
    base: str | Path | None = None,
    top_k: int | None = None,
    seed: int = 0,
    draws: int = 0,
    bank: Sequence[Adapter | str | Path] = (),
    covariances: str | Path | None = None,
    groups: Mapping[str, Sequence[Adapter | str | Path]] | None = None,
    design: str | Path | None = None,
    memory: float | None = None,
    full_provenance: bool = True,
    progress: Progress | None = None,
) -> Result:
    """Compare all pairs of adapters, each measure beside the null that applies.

    Args:
        adapters: adapters, or paths to them; at least two (one with a base).
        base: folder of the base model, or `"toy"` or `"toy-qwen2"`; adds a row of each adapter
            against the base.
        top_k: the cut of every subspace measure; min(16, half the smallest rank) by default.
        seed: of every draw.
        draws: rotations per module; 0 gives closed forms only.
        bank: unrelated adapters of the same initialisation and recipe, or paths to them: the rank
            test that supports claims.
        covariances: file of `deltalens covariances`: gives the activation-matched rotation and the
            activation-weighted cosine.
        groups: label -> adapters, compared too where `adapters` lacks them: adds every within and
            between comparison.
        design: CSV table (path, task, seed, harm, style, base) of adapters, compared too: adds how
            much of each similarity is which.
        memory: GiB that the comparison may take; three quarters of what is free by default. Only
            updates of high rank (full checkpoints) come near.
        full_provenance: whether versions and the SHA-256 of every input are looked up (0.2 s a
            large pair) for the result's provenance; its settings are always there.
        progress: called with a line about what is being done.

    Returns:
        A `Result` whose document follows the contract, with tables `pairs` and `modules`.

    Raises:
        DeltalensError: for input that cannot be read or compared.
    """
    if draws < 0:
        raise OptionError(f"--draws must be 0 or more; found {draws}")
    if memory is not None and not memory > 0:
        raise OptionError(f"--memory must be above 0 GiB; found {memory:g}")
    if seed < 0:
        raise OptionError(f"--seed must be 0 or more; found {seed}")
    planned, steps = None, None
    if any("checkpoint" in str(a) or "step" in str(a) for a in adapters):
        adapters, steps = _by_step(adapters)
    if groups or design is not None:
        from deltalens.studies.compare.plan import plan

        planned = plan(adapters, groups or {}, design)
    model = None if base is None else open_base(base_folder(base))
    opened = _open(adapters if planned is None else planned.adapters, model)
    checked = check_inputs(opened, top_k, with_base=base is not None)
    say = progress or _silent
    members = open_bank(bank, checked) if bank else None
    say(f"reading {len(opened) + len(bank)} adapters, {len(checked.keys)} modules")
    s, ranked = _survey(checked, members, memory)
    result = _result(
        checked,
        s,
        ranked,
        model,
        seed=seed,
        draws=draws,
        covariances=covariances,
        full_provenance=full_provenance,
        say=say,
    )
    if steps is not None and planned is None:
        result = _with_trajectory(result, s, steps)
    return result if planned is None else planned.lay_over(result, checked.adapters)


def _by_step(
    adapters: Sequence[Adapter | str | Path],
) -> tuple[Sequence[Adapter | str | Path], list[int] | None]:
    """The checkpoints of one run in order, with their steps; anything else as it is."""
    from deltalens.studies.compare.trajectory import in_order, is_one_run, step_of

    if not is_one_run(adapters):
        return adapters, None
    ordered = in_order(adapters)
    return ordered, [step_of(str(a)) or 0 for a in ordered]


def _with_trajectory(result: Result, s: Survey, steps: Sequence[int]) -> Result:
    from deltalens.studies.compare.trajectory import trajectory, trajectory_document

    rows = trajectory(s, steps)
    tables = LazyTables(
        {
            **{n: partial(result.tables.__getitem__, n) for n in result.tables},
            "trajectory": lambda: rows,
        }
    )
    document = {**result.document, "trajectory": trajectory_document(rows)}
    return replace(result, document=document, tables=tables)


def base_folder(base: str | Path) -> Path:
    """The folder of a base model; `"toy"` and `"toy-qwen2"` are the shipped ones."""
    if str(base).startswith("hf:"):
        from deltalens.io.hub import local_folder

        return local_folder(base)
    if str(base).startswith("toy"):
        from deltalens.organisms import base as toys

        return toys.base_folder(base)
    return Path(base)


def require_its_base(adapter: Adapter, model: BaseModel) -> None:
    """Refuse an adapter of one toy base on the other: all shapes are equal.

    Raises:
        BaseModelError: naming the adapter and both bases.
    """
    if (adapter.base_model or "").startswith("deltalens/"):
        from deltalens.organisms.toys import require_its_toy

        require_its_toy(adapter.name, adapter.base_model, model.path)


def _open(adapters: Sequence[Adapter | str | Path], model: BaseModel | None) -> list[Adapter]:
    paths = [a for a in adapters if not isinstance(a, Adapter)]
    loaded = iter(load_all(paths, base=model))
    opened = [a if isinstance(a, Adapter) else next(loaded) for a in adapters]
    if model is not None:
        for adapter in opened:
            require_its_base(adapter, model)
            if adapter.provenance.details.get("layers"):
                raise OptionError(
                    f"{shown(adapter.name)}: its layers are those of a model of replicated layers "
                    "(layer_replication), which --base has not; leave --base out"
                )
    return [a.renamed(a.name.encode("utf-8", "backslashreplace").decode()) for a in opened]


def _silent(_: str) -> None:
    return None


def _survey(inputs: Inputs, members: Members | None, memory: float | None) -> tuple[Survey, Ranked]:
    """The survey of the adapters, and where their pairs stand in the bank."""
    every = inputs.adapters if members is None else (*inputs.adapters, *members.usable)
    allowed = None if memory is None else memory * GIB
    workers = workers_within(every, inputs.keys, allowed)
    s = survey(every, inputs.keys, inputs.k, workers=workers)
    if members is None:
        return s, NO_BANK
    n = len(inputs.adapters)
    return first(s, n), rank_pairs(s, n, members, list(combinations(range(n), 2)))


def _result(
    inputs: Inputs,
    s: Survey,
    ranked: Ranked,
    model: BaseModel | None,
    *,
    seed: int,
    draws: int,
    covariances: str | Path | None,
    full_provenance: bool,
    say: Progress,
) -> Result:
    by_module = haar_by_module(s, draws, seed=seed)
    ends = list(combinations(range(len(s.names)), 2))
    drawn = _draw(inputs, s, ends, draws, seed, say)
    folder = model and model.path
    extra = beside(inputs.adapters, s, ends, covariances=covariances, base=folder, say=say)
    notes = tuple(gauge_note(a) for a in inputs.adapters)
    shared = context(s, by_module, drawn, notes, activation=extra.nulls, bank=ranked.nulls)
    pairs = {(i, j): build_pair(shared, i, j) for i, j in ends}
    against = _against_base(inputs, s, model, seed, say)
    base_rows = [] if against is None else _base_pairs(s, against, by_module)
    found = list(pairs.values())
    every = [*found, *base_rows]

    def modules() -> list[ModuleRow]:
        rows = module_rows(s, pairs, by_module)
        return rows if against is None else rows + base_module_rows(s, against, by_module)

    document: dict[str, Any] = {
        "top_k": s.k,
        "pairs": extra.extend(ranked.extend(pair_documents(found), ends), ends),
        "base": pair_documents(base_rows),
        "base_residual": None if against is None else against.residual,
        "groups": [],
        "adapters": adapter_documents(s),
        "init_groups": init_groups(s, shared.init),
        "bank": ranked.document,
        "ladder": ladder(),
        **extra.document,
        "warnings": [
            *inputs.warnings,
            *ranked.warnings,
            *out_of_reach(found),
            *extra.warnings,
        ],
    }
    settings: dict[str, Any] = {"top_k": s.k, "seed": seed, "draws": draws}
    settings["base"] = model and str(model.path)
    if covariances is not None:
        settings["covariances"] = str(covariances)
    if ranked.document is not None:
        settings["bank"] = list(ranked.document["members"])
    read = (*inputs.adapters, *ranked.members)
    files = [Path(f) for a in read for f in a.provenance.inputs]
    return Result(
        kind="compare",
        document=document,
        tables=LazyTables(
            {
                "pairs": lambda: pair_rows(every),
                "modules": modules,
                "spectra": lambda: spectrum_rows(s),
                **({"bank": lambda: ranked.rows} if ranked.rows else {}),
            }
        ),
        provenance=provenance(settings, files) if full_provenance else {"settings": settings},
    )


def _draw(
    inputs: Inputs, s: Survey, ends: list[tuple[int, int]], draws: int, seed: int, say: Progress
) -> RotationDraws | None:
    if draws == 0 or not ends:
        return None
    say(f"{draws} rotations of {len(ends)} pairs in {len(s.keys)} modules")
    usable = s.numerical_rank >= s.k
    defined = usable[:, :, None] & usable[:, None, :]
    return draw_rotations(inputs.adapters, s, ends, defined, draws, seed)


def _against_base(
    inputs: Inputs, s: Survey, model: BaseModel | None, seed: int, say: Progress
) -> BaseSurvey | None:
    if model is None:
        return None
    say(f"leading vectors of {len(s.keys)} matrices of {shown(model.path)}")
    return survey_base(inputs.adapters, s, model, seed=seed)


def _base_pairs(s: Survey, found: BaseSurvey, by_module: Mapping[str, Any]) -> list[Pair]:
    return [base_pair(s, found, i, by_module) for i in range(len(s.names))]
