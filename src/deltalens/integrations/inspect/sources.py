"""Many points in one go: `deltalens/adapters` on one base, `deltalens/path` along one path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai import TaskSource, task_source

from deltalens.integrations.inspect.problems import in_one_line

if TYPE_CHECKING:
    from inspect_ai import Task

    from deltalens.models.hf import HFModel


@task_source
def adapters(
    model: str | None = None,
    adapters: str | Sequence[Any] | None = None,
    t: float = 1.0,
    **options: Any,
) -> TaskSource:
    """`deltalens/questions` for every adapter of a list or a pattern, one log each.

    Args:
        model: the base's folder.
        adapters: paths, or a pattern that matches adapters; `base` stands for the base.
        t: how far from the base.
        **options: those of `deltalens/questions`.
    """
    with in_one_line():
        points = [{"b": each, "t": t} for each in expand(adapters)]
        return _source([_from_base(point) for point in points], model, options)


@task_source
def path(
    model: str | None = None,
    a: Any = "base",
    b: Any = None,
    t: float | Sequence[float | str] = (0.0, 0.5, 1.0),
    path: str = "linear",
    **options: Any,
) -> TaskSource:
    """`deltalens/questions` at every position of a path, one log each.

    Args:
        model: the base's folder.
        a: the adapter at t = 0, or `base`.
        b: the adapter at t = 1.
        t: the positions.
        path: its kind.
        **options: those of `deltalens/questions`.
    """
    with in_one_line():
        return _source(along(a, b, t, path), model, options)


def along(a: Any, b: Any, t: Any, path: str) -> list[dict[str, Any]]:
    """The arguments of every point.

    Raises:
        OptionError: if there is no position, or one is no number.
    """
    from deltalens.core.text import shown
    from deltalens.errors import OptionError
    from deltalens.integrations.inspect.points import position

    given: list[Any] = list(t) if isinstance(t, Sequence) and not isinstance(t, str) else [t]
    if not given:
        raise OptionError(f"t is {shown(t, 40)}, where one position or more is needed")
    return [{"a": a, "b": b, "t": position(_number(each)), "path": path} for each in given]


def tasks_at(
    points: Sequence[Mapping[str, Any]], model: str | Path | HFModel, options: Mapping[str, Any]
) -> list[Task]:
    """One task a point, each with its own model; the base is loaded once for all.

    Raises:
        DeltalensError: if a point, the base, the questions or the judge cannot be opened.
    """
    from inspect_ai.model import GenerateConfig, get_model

    from deltalens.integrations.inspect.tasks import questions

    _require_known(options)
    folder = isinstance(model, str | Path)
    loaded: dict[str, Any] = {} if folder else {"loaded": model}
    name = str(model) if folder else model.name
    made: list[Task] = []
    for point in points:
        # Equal names are other models: adapters in memory do not tell them apart.
        own = get_model(
            f"deltalens/{name}",
            memoize=False,
            config=GenerateConfig(adaptive_connections=False),
            **point,
            **loaded,
        )
        # What the log says: of an adapter in memory its name, and not all of it.
        own.model_args = {name: getattr(value, "name", value) for name, value in point.items()}
        task = questions(**options)
        task.model = own
        task.metadata = {"point": getattr(own.api, "identity", None)}
        made.append(task)
    return made


def expand(adapters: Any) -> list[Any]:
    """A list as it is, and a pattern as what it matches, in order of name.

    Raises:
        OptionError: if nothing is given, or a pattern matches no adapter.
    """
    import glob

    from deltalens.core.text import shown
    from deltalens.errors import OptionError
    from deltalens.io.read import is_adapter

    given: list[Any] = [adapters] if isinstance(adapters, str | Path) else list(adapters or ())
    found: list[Any] = []
    for each in given:
        text = str(each)
        if not isinstance(each, str | Path) or text.startswith("hf:") or not glob.has_magic(text):
            found.append(each)
            continue
        # Path.glob refuses patterns from the root.
        matched = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
        kept = [name for name in matched if is_adapter(Path(name))]
        if not kept:
            seen = f"{len(matched)} paths, none of them an adapter" if matched else "nothing"
            raise OptionError(f"adapters {shown(text)}: matches {seen}")
        found += kept
    if not found:
        raise OptionError("adapters is needed: paths, or a pattern such as 'adapters/*'")
    return found


def _source(
    points: Sequence[Mapping[str, Any]], model: str | None, options: Mapping[str, Any]
) -> TaskSource:
    from deltalens.errors import OptionError

    if model is None:
        raise OptionError("-T model is needed: the folder of the base")
    return TaskSource.from_tasks(tasks_at(points, model, options))


def _require_known(options: Mapping[str, Any]) -> None:
    import inspect

    from deltalens.core.text import shown
    from deltalens.errors import OptionError
    from deltalens.integrations.inspect.tasks import questions

    known = inspect.signature(questions).parameters
    for name in options:
        if name not in known:
            raise OptionError(
                f"-T {shown(name, 40)} is not known; known for questions are {', '.join(known)}"
            )


def _from_base(point: Mapping[str, Any]) -> dict[str, Any]:
    return {} if str(point["b"]) == "base" else dict(point)


def _number(t: Any) -> Any:
    """A number that a comma list of the command line left as text."""
    try:
        return float(t) if isinstance(t, str) else t
    except ValueError:
        return t
