"""`deltalens export`: points of a path as ordinary adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from deltalens.cli.integration import integration
from deltalens.cli.screen import number, say, table
from deltalens.core.text import shown
from deltalens.errors import OptionError

_MANY = "--t"


class ManyNumbers(TyperCommand):
    """A command whose `--t` takes all the numbers that follow it: `--t 0 0.5 1`.

    The parser knows options of one value only, which may be repeated; so that is what it gets.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse after giving every number its own `--t`."""
        return super().parse_args(ctx, spread(args))


def spread(arguments: Sequence[str]) -> list[str]:
    """`--t 0 0.5 1` as `--t=0 --t=0.5 --t=1`; a path that looks like a number needs `./`."""
    done: list[str] = []
    inside = False
    for i, argument in enumerate(arguments):
        if argument == "--":
            return [*done, *arguments[i:]]
        following = arguments[i + 1] if i + 1 < len(arguments) else ""
        if argument == _MANY and _is_number(following):
            inside = True
        elif inside and _is_number(argument):
            done.append(f"{_MANY}={argument}")
        else:
            inside = argument.startswith(f"{_MANY}=")
            done.append(argument)
    return done


def command(
    a: str = typer.Argument(..., metavar="A", help="An adapter, or 'base'. Alone: base to A."),
    b: str | None = typer.Argument(None, metavar="[B]", help="The adapter at t = 1."),
    base: str | None = typer.Option(
        None, help="Base model folder, 'toy' or 'toy-qwen2': for full checkpoints, DoRA, ..."
    ),
    t: list[float] = typer.Option(
        [0.0, 0.5, 1.0], _MANY, metavar="T...", help="Positions: 0 is A, 1 is B, any number goes."
    ),
    path: str = typer.Option("linear", help="linear, factorwise or factor_scaling."),
    rank: int | None = typer.Option(None, help="Cut every module to this rank by SVD."),
    dtype: str = typer.Option("float32", help="float32, float64 or bfloat16."),
    layout: str = typer.Option("peft", "--format", help="Whose files: peft, kohya or mlx."),
    serve: str | None = typer.Option(
        None, metavar="SERVER", help="Also for a server: vllm or transformers; prints its command."
    ),
    lm_eval: str | None = typer.Option(
        None, metavar="TASK,TASK", help="Also commands of lm-eval for these tasks: lm_eval.sh."
    ),
    base_name: str | None = typer.Option(
        None, help="With these: the base as they load it, a hub name or a folder."
    ),
    out: Path = typer.Option(..., help="Folder that gets one adapter a point, t-T."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> int:
    """Write points of the path between two adapters (or the base and one) as adapters."""
    given: dict[str, Any] = {"out": out, "base": base, "t": t, "path": path, "rank": rank}
    given |= {"dtype": dtype, "progress": say}
    if serve is None and lm_eval is None:
        from deltalens.studies.export import export

        if base_name is not None:
            raise OptionError(
                "--base-name says what a server loads: --serve or --lm-eval is needed"
            )
        result = export(a, b, format=layout, **given)
    else:
        if layout != "peft":
            raise OptionError(
                f"--serve and --lm-eval take PEFT adapters; found --format {shown(layout, 40)!r}"
            )
        export_served = integration("serving.export").export_served
        tasks = None if lm_eval is None else [task.strip() for task in lm_eval.split(",")]
        result = export_served(a, b, server=serve, tasks=tasks, base_name=base_name, **given)
    if as_json:
        print(result.to_json())
    else:
        _print(result.document)
    return 0


def _print(document: Mapping[str, Any]) -> None:
    print(f"{document['path']} path, {shown(document['a'])} to {shown(document['b'])}")
    print(f"written to {shown(document['out'])}")
    rows = [
        (
            number(p["t"], 6),
            Path(p["folder"]).name,
            number(p["norm"]),
            ", ".join(map(str, p["ranks"])),
            number(p["discarded_energy"]),
        )
        for p in document["points"]
    ]
    table(("t", "folder", "norm of dW", "ranks", "discarded energy"), rows)
    for p in document["points"]:
        if p["worst_module"] is not None:
            print(
                f"t = {number(p['t'], 6)}: {shown(p['worst_module'])} loses most, "
                f"{number(p['worst_discarded'])} of its energy"
            )
    for warning in document["warnings"]:
        print(f"warning: {shown(warning)}")
    for made in (document[name] for name in ("serve", "lm_eval") if name in document):
        print(f"\n{made['shell']}\n(that is: sh {shown(made['script'])})")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
