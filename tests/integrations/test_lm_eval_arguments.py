"""The commands say what was meant to a parser of lm-eval's kind; what it takes apart is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from adapter_files import made, strict_json, write_adapter
from deltalens.cli.main import main
from deltalens.errors import OptionError
from deltalens.integrations.lm_eval.arguments import checked, commands


def split(text: str) -> dict[str, str]:
    """`key=value` pairs at commas outside brackets and quotes, as 0.4.13 splits them."""
    parts, depth, quote, part = [], 0, "", ""
    for c in text + ",":
        if c == "," and not depth and not quote:
            parts.append(part)
            part = ""
            continue
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        depth += 0 if quote else (c in "[({") - (c in "])}")
        part += c
    return dict(part.split("=", 1) for part in parts if part)


@pytest.mark.parametrize("base", ["org/name", "/a b/c=d;$HOME", "./123", "m-é"])
def test_arguments_survive(base: str) -> None:
    made = commands(base, ["t-0", "t--0.5"], ["arc_easy", "hellaswag"], dtype="bfloat16")
    read = [split(words[words.index("--model_args") + 1]) for words in made]
    assert read == [
        {"pretrained": base, "dtype": "bfloat16"},
        {"pretrained": base, "peft": "t-0", "dtype": "bfloat16"},
        {"pretrained": base, "peft": "t--0.5", "dtype": "bfloat16"},
    ]
    assert [words[words.index("--output_path") + 1] for words in made] == [
        "lm_eval/base", "lm_eval/t-0", "lm_eval/t--0.5",
    ]  # fmt: skip
    for words in made:
        assert words[:3] == ["lm_eval", "--model", "hf"]
        assert words[words.index("--tasks") + 1] == "arc_easy,hellaswag"
        assert "--log_samples" in words
        assert shlex.split(shlex.join(words)) == words


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a,b", "holds ','"),
        ("a'b", 'holds "\'"'),
        ("a[b]", "holds '['"),
        ("a{b", "holds '{'"),
        ("a\nb", r"holds '\n'"),
        (" a", "holds white space at an end"),
        ("", "holds white space at an end"),
        ("123", "reads '123' as a number or a constant"),
        ("1_000", "as a number or a constant"),
        ("1e5", "as a number or a constant"),
        ("nan", "as a number or a constant"),
        ("True", "as a number or a constant"),
        ("None", "as a number or a constant"),
    ],
)
def test_what_the_parser_takes_apart(value: str, said: str) -> None:
    with pytest.raises(OptionError) as raised:
        checked(value)
    assert said in str(raised.value)
    assert str(raised.value).startswith("--lm-eval: ")


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([], "needs one task or more"),
        (["a b"], "'a b' is no name of a task"),
        (["-x"], "'-x' is no name of a task"),
        ([""], "'' is no name of a task"),
    ],
)
def test_tasks(tasks: list[str], said: str) -> None:
    with pytest.raises(OptionError) as raised:
        commands("b", [], tasks)
    assert said in str(raised.value)


def test_the_command_writes_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_adapter(tmp_path / "a", made(0, 1))
    out = tmp_path / "o, p"
    line = ["export", str(a), "--t", "0", "1", "--lm-eval", "arc_easy, boolq", "--out", str(out)]
    assert main([*line, "--json"]) == 0
    found: Any = strict_json(capsys.readouterr().out)
    assert "serve" not in found
    assert not (out / "serve.json").exists()
    script = (out / "lm_eval.sh").read_text().splitlines()
    assert script[2:] == [
        'cd "$(dirname "$0")" || exit',
        *(f'{shlex.join(words)} "$@" || exit' for words in found["lm_eval"]["commands"]),
    ]
    assert len(found["lm_eval"]["commands"]) == 3
    assert main([*line[:-1], str(tmp_path / "two"), "--serve", "vllm"]) == 0
    shown = capsys.readouterr().out
    assert "vllm serve b " in shown
    assert "lm_eval --model hf --model_args pretrained=b,peft=t-1,dtype=auto" in shown
