"""The entry point: parse, run a verb, turn what went wrong into one line and an exit status.

0 done; 1 a finding that the user asked to fail on; 2 bad input; 3 a fault of ours; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback

# One BLAS thread, said before numpy loads: modules run in parallel, and two threaded libraries on
# shared cores cost fifty times more than they save.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import typer  # noqa: E402

from deltalens.cli import (  # noqa: E402
    agreement,
    audit_paper,
    capability,
    compare,
    covariances,
    export,
    inspect,
    reproduce,
    train,
    walk,
)
from deltalens.core.text import shown  # noqa: E402
from deltalens.errors import DeltalensError  # noqa: E402

# The parser's own error type; typer publishes only its descendants.
_ParserError = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="deltalens",
    help="The weight-space geometry of fine-tuning, with the right null beside every number.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("inspect")(inspect.command)
app.command("compare")(compare.command)
app.command("walk")(walk.command)
app.command("export", cls=export.ManyNumbers)(export.command)
app.command("train")(train.command)
app.command("covariances")(covariances.command)
app.command("agreement")(agreement.command)
app.command("capability")(capability.command)
app.command("audit-paper")(audit_paper.command)
app.command("reproduce")(reproduce.command)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from deltalens import __version__

        print(f"deltalens {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status; `--debug` may stand anywhere."""
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        status = app(arguments, prog_name="deltalens", standalone_mode=False)
    except Exception as error:
        return _report(error, debug)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as ended:
        # The parser answers a reader that left with 1, which means a finding here.
        if isinstance(ended.__context__, BrokenPipeError):
            return _report(ended.__context__, debug)
        raise
    return status if isinstance(status, int) else 0


def _report(error: Exception, debug: bool) -> int:
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):
        # The reader of our output left; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, _ParserError):
        message = getattr(error, "format_message", error.__str__)()
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message)
            return 0
        return _fail(message, 2, debug)
    if isinstance(error, DeltalensError):
        return _fail(str(error), 2, debug)
    if isinstance(error, OSError):
        return _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 2, debug)
    if isinstance(error, MemoryError):
        return _fail(
            f"more memory is needed than there is: {str(error) or 'none is left'}", 2, debug
        )
    name = type(error).__name__
    message = f"a fault of deltalens, not of your input: {name}: {error} (--debug shows it)"
    return _fail(message, 3, debug)


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {shown(message, 2000)}", file=sys.stderr)
    return status


def run() -> None:
    """What the `deltalens` script calls."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
