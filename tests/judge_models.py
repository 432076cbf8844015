"""A tiny model that reads characters, digits among them, and so can be asked for a score."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

SYMBOLS = ["<pad>", "<end>", *string.ascii_lowercase, *string.digits, " ", ".", "\n", "[", "]"]


def character_tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel({c: i for i, c in enumerate(SYMBOLS)}, unk_token="<pad>"))
    inner.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<pad>")


def digit_llama(seed: int = 0) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": len(SYMBOLS), "hidden_size": 16, "intermediate_size": 22,
             "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
             "max_position_embeddings": 256, "initializer_range": 0.2,
             "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def digit_model(seed: int = 0) -> Any:
    """The same as a `Model`."""
    from deltalens.models.hf import HFModel

    return HFModel(digit_llama(seed), character_tokenizer(), name="digits")


def digit_folder(folder: Path, seed: int = 0) -> Path:
    """The same as a directory."""
    digit_llama(seed).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder
