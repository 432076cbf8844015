"""The commands that evaluate the base and every point, and a script that runs them all.

`--model_args` is `key=value,key=value`: its parser splits at commas outside brackets and quotes,
and turns a value that looks like a number, a truth value or a Python literal into one. A base whose
name would not survive that is refused. Adapters are named relative to the script's own folder.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from deltalens.core.files import write_whole
from deltalens.core.text import shown
from deltalens.errors import OptionError

SCRIPT, RESULTS, BASE = "lm_eval.sh", "lm_eval", "base"
_SPLIT = re.compile(r"""[,()\[\]{}"'\x00-\x1f\x7f]""")
_TASK = re.compile(r"[A-Za-z0-9_.:+/-]+")


def commands(
    base: str, folders: Sequence[str], tasks: Sequence[str], *, dtype: str = "auto"
) -> list[list[str]]:
    """One command for the base and one for each adapter, for the folder that holds these.

    `--log_samples` keeps every document's score, so that points are compared document by document.

    Raises:
        OptionError: if a value would not survive the parser.
    """
    if not tasks:
        raise OptionError("--lm-eval needs one task or more, separated by commas")
    for task in tasks:
        if not _TASK.fullmatch(task) or task.startswith("-"):
            raise OptionError(f"--lm-eval: {shown(task, 80)!r} is no name of a task")
    made = [_command(BASE, {"pretrained": base, "dtype": dtype}, tasks)]
    for folder in folders:
        made.append(_command(folder, {"pretrained": base, "peft": folder, "dtype": dtype}, tasks))
    return made


def write_script(out: Path, made: Sequence[Sequence[str]]) -> Path:
    """A script that runs all commands, one after the other, with its own options added to each.

    Raises:
        OutputError: if it cannot be written.
    """
    lines = [
        "#!/bin/sh",
        "# Evaluates the base and every point; options that follow go to every command.",
        'cd "$(dirname "$0")" || exit',
        *(f'{shlex.join(words)} "$@" || exit' for words in made),
    ]
    return write_whole(out / SCRIPT, ("\n".join(lines) + "\n").encode())


def _command(label: str, arguments: dict[str, str], tasks: Sequence[str]) -> list[str]:
    given = ",".join(f"{name}={checked(value)}" for name, value in arguments.items())
    return [
        *("lm_eval", "--model", "hf", "--model_args", given, "--tasks", ",".join(tasks)),
        *("--batch_size", "8", "--log_samples", "--output_path", f"{RESULTS}/{label}"),
    ]


def checked(value: str) -> str:
    """A value that lm-eval's parser gives back as it is.

    Raises:
        OptionError: naming the value and why it cannot be given.
    """
    found = _SPLIT.search(value)
    if found is not None or value != value.strip() or not value:
        what = "white space at an end" if found is None else repr(found[0])
        raise OptionError(
            f"--lm-eval: {shown(value, 120)!r} holds {what}, which lm-eval's parser of "
            "--model_args takes apart; a link of another name will do"
        )
    if _literal(value):
        raise OptionError(
            f"--lm-eval: lm-eval reads {shown(value, 120)!r} as a number or a constant and not as "
            "a name; write it as a path, ./NAME"
        )
    return value


def _literal(value: str) -> bool:
    if value.lower() in ("true", "false", "none") or value.isnumeric():
        return True
    try:
        float(value)
    except ValueError:
        try:
            ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return False
    return True
