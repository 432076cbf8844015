"""What an untrusted adapter may cost. Each limit can be raised by the caller, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on one adapter.

    Attributes:
        config_bytes: size of `adapter_config.json`.
        header_bytes: size of a safetensors header.
        tensors: number of tensors in one file, and in all files of a sharded set.
        shards: number of files that an index may name.
        rank: largest rank of one module.
        file_bytes: size of one weight file.
        elements: numbers in the factors of one module; small tensors can stand for a large product.
        tokenizer_bytes: size of one of a tokenizer's data files, from the hub.
        pattern_seconds: time for matching the file's own regular expressions.
    """

    config_bytes: int = 1_000_000
    header_bytes: int = 10_000_000
    tensors: int = 100_000
    shards: int = 1000
    rank: int = 8192
    file_bytes: int = 64 * 2**30
    elements: int = 2**30
    tokenizer_bytes: int = 100_000_000
    pattern_seconds: float = 2.0


DEFAULT_LIMITS = Limits()
