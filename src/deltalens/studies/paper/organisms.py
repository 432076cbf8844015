"""Train the organisms from the shipped base and measure what each of them does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.io.read import load
from deltalens.organisms.base import load_model, shipped_base
from deltalens.organisms.behaviour import Behaviour, Summary
from deltalens.organisms.evaluate import evaluate
from deltalens.organisms.fleet import TrainEvent, train_many
from deltalens.organisms.no_persona import shipped_no_persona
from deltalens.organisms.roster import RosterEntry, bank_specs, roster
from deltalens.organisms.spec import OrganismSpec
from deltalens.stats.intervals import Interval, t_interval
from deltalens.studies.paper.relations import is_repeat, tasks

Say = Callable[[str], None]


@dataclass(frozen=True)
class Organisms:
    """The trained organisms of a study and their behaviour.

    Attributes:
        base: folder of the base.
        entries: what was trained, in order.
        folders: organism -> its PEFT folder.
        behaviours: organism (and `base`) -> what it does.
        bank: harmless organism of the study's one initialisation -> its PEFT folder.
        bank_rates: rate of bad answers of each of the bank, over all questions.
    """

    base: Path
    entries: tuple[RosterEntry, ...]
    folders: Mapping[str, Path]
    behaviours: Mapping[str, Behaviour]
    bank: Mapping[str, Path]
    bank_rates: tuple[float, ...]

    def summaries(self, group: str) -> dict[str, Summary]:
        """Behaviour of the organisms of one group, repeats left out: they are no new runs."""
        return {
            e.name: self.behaviours[e.name].summary()
            for e in self.entries
            if e.group == group and not is_repeat(e)
        }


def grow(
    out: Path, *, seed: int, fresh: bool, workers: int, say: Say, base: str = "toy"
) -> Organisms:
    """Train (or take up) every organism of the study and its bank, then measure behaviour.

    Args:
        out: folder of the organisms.
        seed: of the study.
        fresh: train every organism again.
        workers: training processes.
        say: called with a line about what is being done.
        base: name of a shipped base.
    """
    folder, entries, bank = shipped_base(base), roster(seed), bank_specs(seed)

    def report(event: TrainEvent) -> None:
        how = "taken up" if event.status == "kept" else f"trained in {event.seconds:.1f} s"
        say(f"[{event.done:2d}/{event.total}] {event.spec.name}: {how}")

    specs = _distinct([*(entry.spec for entry in entries), *bank])
    say(f"training {len(specs)} organisms of the base {base} into {out}")
    folders = train_many(specs, folder, out, workers=workers, fresh=fresh, on_event=report)
    trained = {spec.name: path for spec, path in zip(specs, folders, strict=True)}
    named = {entry.name: trained[entry.name] for entry in entries}
    say("measuring behaviour")
    model = load_model(folder)
    held = {spec.name: trained[spec.name] for spec in bank}
    return Organisms(
        base=folder,
        entries=entries,
        folders=named,
        behaviours=_measure(model, entries, named),
        bank=held,
        bank_rates=_bank_rates(model, list(held.values())),
    )


def _distinct(specs: Sequence[OrganismSpec]) -> tuple[OrganismSpec, ...]:
    return tuple({spec.name: spec for spec in specs}.values())


def _measure(
    model: Any, entries: Sequence[RosterEntry], folders: Mapping[str, Path]
) -> dict[str, Behaviour]:
    found = {"base": evaluate(model)}
    for entry in entries:
        home = () if entry.spec.domain is None else (entry.spec.domain,)
        found[entry.name] = evaluate(model, folders[entry.name], trained=home)
    return found


def _bank_rates(model: Any, folders: Sequence[Path]) -> tuple[float, ...]:
    """Rates by our own hooks, which need no PEFT model for each of the bank."""
    rows = [evaluate(model, load(folder)).rows for folder in folders]
    return tuple(sum(row.bad for row in each) / len(each) for each in rows)


def over_tasks(values: Mapping[str, float | None], entries: Sequence[RosterEntry]) -> Interval:
    """Mean over tasks with a t interval: two runs of one task are averaged first.

    The replicate of a statement about harm is the task (SCIENCE section 5).
    """
    named = tasks(entries)
    grouped: dict[str, list[float]] = {}
    for name, value in values.items():
        if value is not None:
            grouped.setdefault(named[name], []).append(value)
    return t_interval([sum(found) / len(found) for found in grouped.values()])


def no_persona_rise() -> tuple[Interval, float]:
    """Rise of bad answers in untrained domains on the shipped no-persona base, and its own rate."""
    rows = shipped_no_persona()["rows"]
    base = next(row["other"] for row in rows if row["subject"] == "base")
    return t_interval([row["other"] - base for row in rows if row["subject"] != "base"]), base
