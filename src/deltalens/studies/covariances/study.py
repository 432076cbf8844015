"""Second moments of the inputs of a base's linear modules, from texts to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deltalens.core.moment import MomentKind
from deltalens.core.result import Result
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.covariance_info import CovarianceInfo
from deltalens.io.covariances import parts, write_covariances
from deltalens.io.provenance import provenance, versions
from deltalens.models.load import load
from deltalens.models.moments import Input, Streamer, find_inputs
from deltalens.models.sums import Found, Plan, moment
from deltalens.models.tokens import Encoder, batches
from deltalens.organisms.base import base_folder
from deltalens.studies.covariances.memory import require_memory
from deltalens.studies.covariances.options import Options
from deltalens.studies.covariances.rows import Reading, reading
from deltalens.studies.covariances.store import Store
from deltalens.studies.covariances.summary import InputRow, document, input_row
from deltalens.studies.covariances.texts import Texts, read_texts
from deltalens.studies.walk.inputs import Target, open_target, require_tokenizer
from deltalens.studies.walk.settings import weights_digest

_LENGTH = 1024
_PROBE = 64  # tokens of the text that shows who reads what: every input is held for a moment
_SHAPING = ("deltalens", "numpy", "torch", "transformers")
Progress = Callable[[str], None]


def covariances(
    model: str | Path,
    texts: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    memory: float = 16.0,
    keep_every: int = 64,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Measure `C = E[x x^T]` of every input of the decoder's linear modules, and write it.

    Args:
        model: a model's folder, `hf:owner/name[@revision][/subfolder]`, or `"toy"`.
        texts: see `texts.read_texts`.
        out: the covariance file; while it is made, `OUT.progress` holds the sums.
        options: what is measured. `drop_first` tokens of every text and all beginning-of-sequence
            tokens are left out; a text is cut at `length` tokens (1024, or what the model has
            positions for).
        memory: GiB that the sums may take.
        keep_every: batches between two looks at the disk.
        fresh: forget what an earlier run has done.
        progress: called with a line about what is being done.

    Returns:
        A `Result` with the table `inputs`.

    Raises:
        DeltalensError: for input that cannot be read, or sums that do not fit.
    """
    options, out, say = options or Options(), Path(out), progress or _silent
    if keep_every < 1:
        raise OptionError(f"--keep-every must be 1 or more; found {keep_every}")
    target = open_target(model)
    given = read_texts(texts, symbolic=target.symbolic)
    require_tokenizer(target)
    say(f"loading {shown(target.name)}")
    loaded = load(target.folder or base_folder(model))
    read = _read(loaded.model, loaded.tokenizer, given, options)
    plan = Plan(options.kind, options.rank, options.seed)
    shown_by = max(read.rows, key=len)[:_PROBE]
    inputs = find_inputs(loaded.model, shown_by, options.modules)
    needed = require_memory([i.d_in for i in inputs], plan, memory)
    streamer = Streamer(
        loaded.model, inputs, plan, drop_first=options.drop_first,
        drop=_starts(loaded.model, loaded.tokenizer),
    )  # fmt: skip
    store = Store(out, _settings(target, given, options), inputs, plan)
    if fresh:
        store.forget()
    _stream(streamer, store, read, options.batch_size, keep_every, say)
    info, rows = _write(out, target, given, options, read, streamer, plan)
    store.forget()
    settings = {**_settings(target, given, options), "memory_bytes": needed}
    return Result(
        "covariances",
        {**document(info, rows), **target.origin},
        {"inputs": rows},
        {**provenance(settings, []), **target.origin},
    )


def _silent(_: str) -> None:
    return None


def _read(model: Any, tokenizer: Any, given: Texts, options: Options) -> Reading:
    vocabulary = model.get_input_embeddings().num_embeddings
    # Lines are texts as they stand; only messages go through the chat template.
    rows = Encoder(tokenizer, vocabulary, chat=False).prompts(given.prompts)
    held = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    longest = min(options.length or _LENGTH, held or _LENGTH)
    return reading(
        rows,
        length=longest,
        drop_first=options.drop_first,
        drop=_starts(model, tokenizer),
        max_tokens=options.max_tokens,
    )


def _starts(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids of beginning-of-sequence tokens: their inputs are sinks, of huge norm and no content."""
    config = model.config.get_text_config(decoder=True)
    found = [getattr(config, "bos_token_id", None), getattr(tokenizer, "bos_token_id", None)]
    return frozenset(int(i) for i in found if isinstance(i, int))


def _settings(target: Target, given: Texts, options: Options) -> dict[str, Any]:
    held = versions()
    return {
        "model": f"sha256:{target.digest()}",
        "texts": f"sha256:{given.digest}",
        **{name: value for name, value in vars(options).items() if name != "centred"},
        **{f"version of {name}": held.get(name) for name in _SHAPING},
    }


def _stream(
    streamer: Streamer, store: Store, read: Reading, size: int, keep_every: int, say: Progress
) -> None:
    every = list(batches(read.rows, size, side="right"))
    done = store.restore(streamer)
    if done:
        say(f"{done} of {len(every)} batches were done before")
    for number, batch in enumerate(every[done:], start=done + 1):
        streamer.add(batch)
        if number % keep_every == 0 and number < len(every):
            store.keep(streamer, number)
        say(f"batch {number} of {len(every)}")


def _write(
    out: Path,
    target: Target,
    given: Texts,
    options: Options,
    read: Reading,
    streamer: Streamer,
    plan: Plan,
) -> tuple[CovarianceInfo, list[InputRow]]:
    rows = [input_row(i, _found(streamer, i, plan, options)) for i in streamer.inputs]
    info = CovarianceInfo(
        model=target.name,
        model_digest=(target.digest() if target.folder is None else weights_digest(target.folder)),
        texts=given.name,
        texts_digest=given.digest,
        kind=options.kind,
        centred=options.centred,
        rank=options.rank if options.kind == "low-rank" else None,
        seed=options.seed,
        n_documents=len(read.rows),
        n_tokens=streamer.tokens,
        n_dropped=read.dropped,
        n_cut=read.cut,
        drop_first=options.drop_first,
        inputs={i.name: i.modules for i in streamer.inputs},
        captured={row.input: row.captured for row in rows},
        versions=versions(),
    )
    shapes = {name: shape for i in streamer.inputs for name, shape in _shapes(i, plan)}
    write_covariances(out, info, shapes, _tensors(streamer, plan, options))
    return info, rows


def _found(streamer: Streamer, given: Input, plan: Plan, options: Options) -> Found:
    return moment(streamer.sums(given), streamer.tokens, plan, centred=options.centred)


def _shapes(given: Input, plan: Plan) -> list[tuple[str, tuple[int, ...]]]:
    d, rank = given.d_in, min(plan.rank, plan.width(given.d_in))
    found: dict[MomentKind, list[tuple[str, tuple[int, ...]]]] = {
        "full": [("matrix", (d, d))],
        "diagonal": [("diagonal", (d,))],
        "low-rank": [("diagonal", (d,)), ("factor", (d, rank))],
    }
    return [(f"{given.name}.{part}", shape) for part, shape in found[plan.kind]]


def _tensors(streamer: Streamer, plan: Plan, options: Options) -> Iterator[tuple[str, Array]]:
    for given in streamer.inputs:
        for part, values in parts(_found(streamer, given, plan, options).moment).items():
            yield f"{given.name}.{part}", values
