"""The audit repeated on real files: their shapes, ranks and spectra, and `compare`'s numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, OptionError
from deltalens.geometry.layers import layer_of, weights
from deltalens.io.peft import is_adapter
from deltalens.io.read import load_all
from deltalens.studies.audit.chance import chance
from deltalens.studies.audit.hypotheses import OWN, SPECTRA, hypotheses
from deltalens.studies.audit.models import (
    all_ranges,
    cut_of,
    families_around,
    plain_ranges,
)
from deltalens.studies.audit.published import MEASURES
from deltalens.studies.audit.ranges import Range, Simulated, simulate_layer
from deltalens.studies.audit.rows import ComparedRow
from deltalens.studies.audit.shapes import LayerModule
from deltalens.studies.audit.simulate import Cuts
from deltalens.studies.audit.words import measure_name, sentence
from deltalens.studies.compare.study import compare

PAPER_RANK = 32
MODEL = "adapters"
# Modules of a layer: with many layers each module needs few draws.
_LAYER = 7
_FEWEST_DRAWS = 4
# The document's name of a measure, and the cut that it is taken at.
_ASKED = {
    "overlap": "overlap",
    "angle_deg": "angle_deg",
    "pc_cosine": "pc_cosine",
    "first_pc_cosine": "pc_cosine",
}


@dataclass(frozen=True)
class FilesAudit:
    """Real adapters beside what unrelated updates of one seed give at their shapes.

    Attributes:
        folder: where they are.
        names: the adapters.
        cuts: the directions that were compared.
        modules: of the simulation; empty where no pair shares its initialisation.
        simulated: every hypothesis.
        draws: simulated pairs a module and hypothesis.
        ranges: of each measure; empty likewise.
        rows: every pair and measure.
        pairs: what `compare` says of each pair: relation, nulls and verdict.
        sentences: one a pair.
        warnings: what was left out, and why.
    """

    folder: str
    names: tuple[str, ...]
    cuts: Cuts
    modules: tuple[LayerModule, ...]
    simulated: tuple[Simulated, ...]
    draws: int
    ranges: Mapping[str, Range]
    rows: tuple[ComparedRow, ...]
    pairs: tuple[Mapping[str, Any], ...]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]


def open_folder(folder: Path) -> list[Adapter]:
    """The adapters in a folder's direct subfolders.

    Raises:
        OptionError: for something that is no folder, or a folder with fewer than two adapters.
        AdapterError: for an adapter that cannot be read.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise OptionError(f"--adapters {shown(folder)}: found {found}; a folder is needed")
    if is_adapter(folder):
        raise OptionError(
            f"--adapters {shown(folder)}: is itself an adapter; a folder that holds two or more "
            "adapter folders is needed"
        )
    inside = sorted(child for child in folder.iterdir() if child.is_dir() and is_adapter(child))
    if len(inside) < 2:
        raise OptionError(
            f"--adapters {shown(folder)}: found {len(inside)} adapter folders; at least 2 are "
            "needed"
        )
    return load_all(inside)


def audit_files(
    adapters: Sequence[Adapter],
    folder: Path,
    draws: int,
    *,
    seed: int,
    say: Callable[[str], None],
) -> FilesAudit:
    """Compare the adapters at the paper's cuts and simulate at their shapes.

    Args:
        adapters: at least two, of one base.
        folder: where they are, for the report.
        draws: rotations of `compare`; simulated pairs of a layer's worth of modules.
        seed: of every draw.
        say: told what is being done.

    Raises:
        AdapterError: for adapters that cannot be compared.
    """
    rank = min(spec.rank for adapter in adapters for spec in adapter.specs.values())
    cuts = cuts_for(rank, shown(folder))
    documents = {
        k: compare(
            adapters,
            top_k=k,
            seed=seed,
            draws=0 if k == 1 else draws,
            full_provenance=False,
            progress=say,
        ).document
        for k in sorted({1, cuts.overlap, cuts.angle})
    }
    same = _names_of_shared(documents[1]["pairs"])
    group = [adapter for adapter in adapters if adapter.name in same]
    keys = _common(group)
    modules = tuple(
        LayerModule(str(key), spec.shape[1], spec.shape[0], spec.rank)
        for key in keys
        for spec in (group[0].specs[key],)
    )
    simulated: tuple[Simulated, ...] = ()
    ranges: dict[str, Range] = {}
    families: dict[str, dict[str, Range]] = {}
    plain: Range | None = None
    each = max(_FEWEST_DRAWS, -(-draws * _LAYER // max(1, len(modules))))
    if modules:
        say(f"unrelated updates at the shapes of {len(modules)} modules, {each} pairs each")
        simulated = simulate_layer(
            modules,
            cuts,
            each,
            seed=seed,
            cases=hypotheses((*SPECTRA, OWN)),
            spectra=_spectra(group, keys, each, np.random.default_rng([seed, 1])),
            weights=_weights(keys),
        )
        ranges, families = all_ranges(simulated)
        plain = plain_ranges(simulated)["overlap"]
    rows = _rows(documents, cuts, ranges, families, _chance(adapters, cuts, seed), str(folder))
    pairs = tuple(documents[cuts.overlap]["pairs"])
    return FilesAudit(
        folder=str(folder),
        names=tuple(adapter.name for adapter in adapters),
        cuts=cuts,
        modules=modules,
        simulated=simulated,
        draws=each,
        ranges=ranges,
        rows=tuple(rows),
        pairs=pairs,
        sentences=tuple(_sentences(rows, ranges, plain, pairs, cuts)),
        warnings=tuple(_warnings(adapters, group, keys, rank, cuts, documents[1]["warnings"])),
    )


def cuts_for(rank: int, folder: str) -> Cuts:
    """The paper's k = 16 and 20, or the same shares of a smaller rank.

    Raises:
        AdapterError: for a rank of which no share is left.
    """
    if rank >= PAPER_RANK:
        return Cuts()
    if rank < 2:
        raise AdapterError(
            f"{folder}: the smallest rank is {rank}; overlap says nothing below rank 2"
        )
    return Cuts(rank // 2, max(1, rank * 20 // PAPER_RANK))


def _names_of_shared(pairs: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(end for p in pairs if p["shared_init"] == "all" for end in (p["a"], p["b"]))


def _common(group: Sequence[Adapter]) -> list[ModuleKey]:
    """Modules that all of them have, with one rank."""
    if not group:
        return []
    first = group[0].specs
    return sorted(
        key
        for key, spec in first.items()
        if all(key in a.specs and a.specs[key].rank == spec.rank for a in group)
    )


def _weights(keys: Sequence[ModuleKey]) -> Array:
    return weights(np.zeros(len(keys)), layer_of(keys))


def _spectra(
    group: Sequence[Adapter], keys: Sequence[ModuleKey], draws: int, rng: np.random.Generator
) -> list[Array]:
    """For each module and draw the singular values of B of two different adapters."""
    found: list[Array] = []
    for key in keys:
        grams = np.stack([(B := adapter[key].B).T @ B for adapter in group])
        sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(grams)[:, ::-1], 0.0))
        two = np.argsort(rng.random((draws, len(group))), axis=1)[:, :2]
        found.append(sigma[two])
    return found


def _chance(adapters: Sequence[Adapter], cuts: Cuts, seed: int) -> Mapping[str, float]:
    shapes = {key: spec for adapter in adapters for key, spec in adapter.specs.items()}
    keys = sorted(shapes)
    modules = [LayerModule(str(k), shapes[k].shape[1], shapes[k].shape[0], 1) for k in keys]
    rng = np.random.default_rng([seed, 2])
    return chance(modules, cuts, rng=rng, weights=_weights(keys))


def _rows(
    documents: Mapping[int, Mapping[str, Any]],
    cuts: Cuts,
    ranges: Mapping[str, Range],
    families: Mapping[str, Mapping[str, Range]],
    by_chance: Mapping[str, float],
    folder: str,
) -> list[ComparedRow]:
    rows: list[ComparedRow] = []
    for measure in MEASURES:
        k = cut_of(measure, cuts)
        for p in documents[k]["pairs"]:
            value: float | None = p[_ASKED[measure]]
            span = ranges.get(measure) if p["shared_init"] == "all" else None
            known = span is not None and value is not None
            rows.append(
                ComparedRow(
                    model=MODEL,
                    pair=f"{p['a']} - {p['b']}",
                    measure=measure,
                    k=k,
                    value=value,
                    n_layers=0,
                    low=span and span.low,
                    high=span and span.high,
                    inside=span.holds(value) if span and value is not None else None,
                    families=families_around(measure, value, families)
                    if known and value is not None
                    else (),
                    chance=by_chance[measure],
                    source=folder,
                )
            )
    return rows


def _sentences(
    rows: Sequence[ComparedRow],
    ranges: Mapping[str, Range],
    plain: Range | None,
    pairs: Sequence[Mapping[str, Any]],
    cuts: Cuts,
) -> list[str]:
    said: list[str] = []
    for p in pairs:
        pair = f"{p['a']} - {p['b']}"
        row = next(r for r in rows if r.pair == pair and r.measure == "overlap")
        name = measure_name("overlap", cuts)
        if row.value is None:
            text = f"{name}: undefined; {p['verdict']}"
        elif row.low is not None and plain is not None:
            value, span = row.value, ranges["overlap"]
            text = sentence(name, value, value, span, plain, subject="measured")
        else:
            text = p["verdict"]
        said.append(f"{pair}: {text}")
    return said


def _warnings(
    adapters: Sequence[Adapter],
    group: Sequence[Adapter],
    keys: Sequence[ModuleKey],
    rank: int,
    cuts: Cuts,
    others: Sequence[str],
) -> list[str]:
    warnings = list(others)
    if cuts != Cuts():
        warnings.append(
            f"the smallest rank is {rank}, below the paper's {PAPER_RANK}: the cuts are its "
            f"shares, k = {cuts.overlap} and {cuts.angle}, and not 16 and 20"
        )
    if not keys:
        warnings.append(
            "no pair shares its initialisation in every module: there is no range of one seed, and "
            "input-side numbers stand beside chance"
        )
    every = {key for adapter in group for key in adapter.specs}
    if keys and len(keys) < len(every):
        warnings.append(
            f"{len(every) - len(keys)} of {len(every)} modules are not in every adapter of the "
            "shared initialisation, or not at one rank, and were not simulated"
        )
    if group and len(group) < len(adapters):
        warnings.append(
            f"{len(adapters) - len(group)} of {len(adapters)} adapters share their whole "
            "initialisation with no other; their spectra are not in the range"
        )
    return warnings
