"""`deltalens covariances`: second moments of a base's inputs, for what they explain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from deltalens.cli.screen import number, say, table
from deltalens.core.text import shown

if TYPE_CHECKING:
    from deltalens.core.moment import MomentKind


def command(
    model: str = typer.Option(
        ..., metavar="DIR|hf:OWNER/NAME|toy", help="The base model, never changed."
    ),
    texts: str = typer.Option(
        ..., metavar="FILE|toy", help="UTF-8 text, a document a line, or .jsonl; toy: its own."
    ),
    out: Path = typer.Option(..., metavar="FILE", help="Covariance file to write."),
    kind: str = typer.Option("full", help="full, low-rank or diagonal."),
    rank: int = typer.Option(64, help="Directions of the low-rank form."),
    centred: bool = typer.Option(False, "--centred/--raw", help="About the mean, or raw."),
    drop_first: int = typer.Option(1, help="Tokens left out at the start of every text."),
    modules: str | None = typer.Option(None, metavar="PATTERN", help="Glob on module paths."),
    max_tokens: int | None = typer.Option(None, help="Stop after so many tokens."),
    length: int | None = typer.Option(None, help="Cut every text here; 1024, or the model's own."),
    seed: int = typer.Option(0, help="Seed of the low-rank form's test matrix."),
    batch_size: int = typer.Option(16, help="Texts of a forward pass."),
    memory: float = typer.Option(16.0, help="GiB that the sums may take."),
    keep_every: int = typer.Option(64, help="Batches after which progress is kept on disk."),
    fresh: bool = typer.Option(False, "--fresh", help="Forget an unfinished run."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> int:
    """Measure C = E[x x^T] of the inputs of every linear module, for compare --covariances."""
    from deltalens.studies.covariances.study import Options, covariances

    options = Options(
        kind=cast("MomentKind", kind),
        rank=rank,
        centred=centred,
        drop_first=drop_first,
        modules=modules,
        max_tokens=max_tokens,
        length=length,
        seed=seed,
        batch_size=batch_size,
    )
    result = covariances(
        model, texts, out, options, memory=memory, keep_every=keep_every, fresh=fresh, progress=say
    )
    if as_json:
        print(result.to_json())
    else:
        _print(result.document)
        print(f"\ncovariances: {out}")
    return 0


def _print(document: Mapping[str, Any]) -> None:
    about = "covariance (about the mean)" if document["centred"] else "raw second moment"
    print(
        f"{shown(document['model'])}: {document['kind']} {about} of "
        f"{document['n_tokens']} tokens in {document['n_documents']} texts "
        f"({shown(document['texts'], 80)})"
    )
    print(
        f"left out: {document['n_dropped']} tokens (the first {document['drop_first']} of every "
        f"text and beginning-of-sequence tokens); {document['n_cut']} texts were cut"
    )
    rows = [
        (
            row["input"],
            row["n_modules"],
            row["d_in"],
            number(row["effective_rank"]),
            number(row["largest_share"]),
            number(row["captured"]),
        )
        for row in document["inputs"]
    ]
    heads = ("input of", "modules", "width", "effective rank", "largest share", "captured")
    table(heads, rows, title="Inputs (effective rank: participation ratio)")
