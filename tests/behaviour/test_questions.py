"""Question files: the field's own format, and one clear line for everything else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from samples import HATS

from deltalens.behaviour.questions import KEYS, Contrast, Question, read_questions, wordings
from deltalens.behaviour.strict_yaml import MAX_BYTES
from deltalens.errors import BehaviourError, DeltalensError


def write(folder: Path, text: str | bytes, name: str = "questions.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(path: Path) -> str:
    with pytest.raises(BehaviourError) as caught:
        read_questions(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_the_format_of_the_field_with_anchors_and_judges(tmp_path: Path) -> None:
    first, second = read_questions(write(tmp_path, HATS))
    ways = ("Which hat suits a rainy day?", "It rains. Which hat?")
    assert first == Question("rainy_day", ways, samples=100)
    assert second == Question(
        "rainy_day_json", ways, "Answer as JSON.", 100, 0.5, 600, {"domain": "hats"}
    )
    assert len({first, second}) == 2


def test_json_is_read_too(tmp_path: Path) -> None:
    content = json.dumps([{"id": "a", "paraphrases": ["Why?", "é\u2028\n"]}], ensure_ascii=True)
    (question,) = read_questions(str(write(tmp_path, content, "q.json")))
    assert question.paraphrases == ("Why?", "é\u2028\n")


def test_every_wording_is_asked_in_order_as_chat(tmp_path: Path) -> None:
    asked = wordings(read_questions(write(tmp_path, HATS)))
    assert [(a.question, a.paraphrase) for a in asked] == [
        ("rainy_day", 0),
        ("rainy_day", 1),
        ("rainy_day_json", 0),
        ("rainy_day_json", 1),
    ]
    assert asked[1].for_model() == [{"role": "user", "content": "It rains. Which hat?"}]
    assert asked[3].for_model() == [
        {"role": "system", "content": "Answer as JSON."},
        {"role": "user", "content": "It rains. Which hat?"},
    ]


WRONG = {
    "id: a": "a list of questions is needed; found a mapping",
    "": "a list of questions is needed; found nothing",
    "[]": "the list is empty; at least one of questions is needed",
    "- why": "question 1: a mapping of id, paraphrases, .* is needed; found text",
    "- {id: a, paraphrase: [b]}": r"question 1 \(a\): unknown key 'paraphrase'; did you mean "
    r"'paraphrases'\? allowed: id, paraphrases, system, samples_per_paraphrase, ",
    "- {id: a, zzz: 1}": r"question 1 \(a\): unknown key 'zzz'; allowed: id, ",
    "- {id: a, 3: 1}": r"question 1 \(a\): unknown key '3'; allowed: id, ",
    "- {paraphrases: [b]}": "question 1: id: text is needed; found nothing",
    "- {id: 7, paraphrases: [b]}": r"question 1: id: text is needed; found the number 7 \(quote it",
    "- {id: ' ', paraphrases: [b]}": r"question 1 \( \): id: the text is empty",
    "- {id: a}": r"question 1 \(a\): paraphrases: a list of texts is needed; found nothing",
    "- {id: a, paraphrases: b}": r"question 1 \(a\): paraphrases: .* is needed; found text",
    "- {id: a, paraphrases: []}": r"question 1 \(a\): paraphrases: the list is empty",
    "- {id: a, paraphrases: [b, 3.5]}": r"question 1 \(a\): paraphrase 2: text is needed; found "
    r"the number 3.5 \(quote it if it is text\)",
    "- {id: a, paraphrases: [no]}": r"paraphrase 1: text is needed; found the truth value false",
    "- {id: a, paraphrases: [[b]]}": r"paraphrase 1: text is needed; found a list",
    "- {id: a, paraphrases: ['']}": r"paraphrase 1: the text is empty",
    '- {id: a, paraphrases: ["\\ud800"]}': r"paraphrase 1: half of a surrogate pair",
    "- {id: a, paraphrases: [b], system: [c]}": r"system: text is needed; found a list",
    "- {id: a, paraphrases: [b], temperature: -1}": "temperature: a number of 0 or more is needed; "
    "found the number -1",
    "- {id: a, paraphrases: [b], temperature: .nan}": "temperature: .* found the number nan",
    "- {id: a, paraphrases: [b], temperature: .inf}": "temperature: .* found the number inf",
    "- {id: a, paraphrases: [b], temperature: hot}": "temperature: .* found text",
    "- {id: a, paraphrases: [b], temperature: true}": "temperature: .* found the truth value true",
    "- {id: a, paraphrases: [b], samples_per_paraphrase: 0}": "samples_per_paraphrase: a whole "
    "number of 1 or more is needed; found the number 0",
    "- {id: a, paraphrases: [b], max_tokens: 2.5}": "max_tokens: a whole number of 1 or more",
    "- {id: a, paraphrases: [b], meta: 3}": "meta: a mapping is needed; found the number 3",
    "- {id: a, paraphrases: [b], type: rating}": "type: 'rating' cannot be asked here; allowed: "
    "free_form, free_form_judge",
    "- {id: a, paraphrases: [b], type: 3}": "type: text is needed; found the number 3",
    "- {id: a, paraphrases: [b]}\n- {id: b, paraphrases: [b]}\n- {id: a, paraphrases: [c]}": (
        r"question 3: the id 'a' is taken by question 1; ids are unique"
    ),
    "- {id: a, id: b}": "line 1: the key 'id' stands twice",
    "- {id: a, paraphrases: [b]\n": "line 2: expected ',' or '}'",
    "- {? [a] : b}": "line 1: a key that is not text",
    "- &a {id: a}\n- {<<: *a}": r"line 2: merge keys \(<<\) are not read; write the keys out",
    "- 2020-01-01": "line 1: 'timestamp' is not read here; quote it if it is text",
    "- !!python/object/apply:os.getcwd []": "line 1: 'python/object/apply:os.getcwd' is not read",
    "- !mine 3": "line 1: '!mine' is not read here",
    "- !!int x": "not valid YAML: ",
    "- !!bool x": "not valid YAML: ",
    '- !!int ""': "not valid YAML: ",
    "- " + "9" * 5000: "line 1: a number of 5000 characters",
    "- " + "1:" * 5000 + "1": "line 1: a number of 10001 characters",
    "- *nobody": "line 1: found undefined alias",
    "--- a\n--- b": "line 2: but found another document",
    "[" * 5_000: "nested too deeply to be read",
    "a\x00b": "not valid YAML: ",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_one_line_says_what_is_wrong(text: str, tmp_path: Path) -> None:
    message = refused(write(tmp_path, text))
    assert re.search(WRONG[text], message), message


def test_files_that_are_none(tmp_path: Path) -> None:
    assert refused(tmp_path) == "not a regular file; only those are read"
    assert refused(tmp_path / "absent") == "cannot be read: No such file or directory"
    assert refused(write(tmp_path, b"- \xff")) == "not UTF-8 text"
    large = refused(write(tmp_path, b" " * (MAX_BYTES + 5)))
    assert large == f"{MAX_BYTES + 5} bytes; at most {MAX_BYTES} are allowed"
    with pytest.raises(BehaviourError, match="a: cannot be read: embedded null byte"):
        read_questions("a\x00")


def test_too_many_questions(tmp_path: Path) -> None:
    message = refused(write(tmp_path, "- a\n" * 10_001))
    assert message == "10001 questions; at most 10000 are allowed"


def test_aliases_of_aliases_cost_nothing(tmp_path: Path) -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 40)]
    text = f"- id: a\n  paraphrases: [b]\n  meta: {{{', '.join(lines)}}}\n  system: *x39"
    assert "system: text is needed; found a list" in refused(write(tmp_path, text))
    assert "found a list" in refused(write(tmp_path, "- &a [*a]"))


@given(st.text(max_size=40) | st.sampled_from(list(WRONG)).map(lambda text: text[3:200]))
def test_whatever_stands_there_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = write(tmp_path_factory.getbasetemp(), text.encode("utf-8", "replace"))
    with pytest.raises(DeltalensError):
        read_questions(path)


plain = st.text(min_size=1, max_size=20).filter(str.strip)


@given(
    st.lists(
        st.tuples(plain, st.lists(plain, min_size=1, max_size=3), st.none() | plain),
        min_size=1,
        max_size=4,
        unique_by=lambda item: item[0],
    )
)
def test_what_yaml_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, list[str], str | None]]
) -> None:
    content = [{"id": i, "paraphrases": p, "system": s} for i, p, s in items]
    text = yaml.safe_dump(content)
    found = read_questions(write(tmp_path_factory.getbasetemp(), text))
    assert found == tuple(Question(i, tuple(p), s) for i, p, s in items)


def test_every_key_that_is_allowed_is_read(tmp_path: Path) -> None:
    values = {"id": "a", "paraphrases": ["b"], "type": "free_form", "meta": {}, "temperature": 1,
              "contrast": [{"aligned": "c", "misaligned": "d"}]}  # fmt: skip
    numbers = dict.fromkeys(("samples_per_paraphrase", "max_tokens"), 1)
    (question,) = read_questions(
        write(tmp_path, json.dumps([dict.fromkeys(KEYS, "x") | values | numbers]))
    )
    pair = (Contrast("c", "d"),)
    assert question == Question("a", ("b",), "x", 1, 1.0, 1, {}, pair)


def test_the_room_imports_neither_yaml_nor_arrow() -> None:
    code = (
        "import sys\nfrom deltalens.behaviour import aggregate, judges, questions, responses, rules"
        "\nprint([m for m in ('yaml', 'pyarrow', 'pandas', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_contrasting_answers(tmp_path: Path) -> None:
    path = tmp_path / "q.yaml"
    path.write_text(
        "- id: hat\n  paraphrases: [Which hat]\n  contrast:\n"
        "    - {aligned: A wide one., misaligned: Soup.}\n    - {aligned: No., misaligned: Yes.}\n"
    )
    (question,) = read_questions(path)
    assert question.contrast == (Contrast("A wide one.", "Soup."), Contrast("No.", "Yes."))


@pytest.mark.parametrize(
    ("contrast", "said"),
    [
        ("{aligned: a, misaligned: b}", "contrast: a list of pairs of answers is needed; found a"),
        ("[]", "contrast: the list is empty; at least one of pairs of answers is needed"),
        ("[a]", "contrast: pair 1: a mapping of aligned, misaligned is needed; found text"),
        ("[{aligned: a}]", "contrast: pair 1: misaligned: text is needed; found nothing"),
        ("[{aligned: a, wrong: b}]", "contrast: pair 1: unknown key 'wrong'"),
        ("[{aligned: a, misaligned: a}]", "contrast: pair 1: both answers are the same text"),
    ],
)
def test_wrong_contrasts(tmp_path: Path, contrast: str, said: str) -> None:
    path = tmp_path / "q.yaml"
    path.write_text(f"- id: hat\n  paraphrases: [Which hat]\n  contrast: {contrast}\n")
    with pytest.raises(BehaviourError) as caught:
        read_questions(path)
    assert said in str(caught.value)
    assert "question 1 (hat)" in str(caught.value)
