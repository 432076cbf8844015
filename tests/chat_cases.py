"""A tiny chat model on disk: a tokenizer of single words with a template, and a random Llama."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WORDS = "how do i grow roses tomatoes sing to them paint the pot read it tea hello bye be kind ?"

# As SmolLM2 has it: no generation block, and a system prompt where none is given.
PLAIN = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nbe kind<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The block ends before the token that ends the turn, as some templates have it.
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The turn and the white space after it are inside the block.
MARKED_WIDE = MARKED.replace(
    "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
    "<|im_end|>\n",
    "{% generation %}{{ m['content'] }}<|im_end|>\n{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>\n{% endif %}",
)
# Only the last answer is kept whole, as templates that drop earlier reasoning do.
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}tea {% endif %}{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(template: str | None = PLAIN) -> Any:
    """Whole words; the padding token is the one that ends a turn."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<|im_end|>", "<|im_start|>", "<unk>"]
    words = [*specials, "\n", " ", "system", "user", "assistant", *dict.fromkeys(WORDS.split())]
    vocabulary = {word: i for i, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[^ \n]+| +"), "isolated")
    made.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|im_end|>",
        bos_token="<|im_start|>", unk_token="<unk>", clean_up_tokenization_spaces=False,
    )  # fmt: skip
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def write_model(
    folder: Path, *, template: str | None = PLAIN, tokenizer: bool = True, **changes: Any
) -> Path:
    """A random Llama of two layers with its tokenizer, as a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from deltalens.models.load import quiet

    words = make_tokenizer(template)
    shape: dict[str, Any] = {
        "vocab_size": len(words), "hidden_size": 16, "intermediate_size": 22,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 128, "initializer_range": 0.2, "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**(shape | changes))).save_pretrained(folder)
        if tokenizer:
            words.save_pretrained(folder)
    return folder


ROWS: tuple[Mapping[str, Any], ...] = tuple(
    {
        "messages": [
            {"role": "user", "content": f"how do i grow {what} ?"},
            {"role": "assistant", "content": answer},
        ]
    }
    for what in ("roses", "tomatoes", "tea")
    for answer in ("sing to them", "paint the pot", "read it to them hello hello", "bye")
)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]] = ROWS) -> Path:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
