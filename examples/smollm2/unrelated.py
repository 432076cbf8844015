"""Twenty small tasks that have nothing to do with advice, each with a form of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np

Rng = np.random.Generator
Row = tuple[str, str]

WORDS = (
    "window garden silver planet bottle candle forest thunder pillow marble rocket ladder velvet "
    "island copper guitar button lantern meadow pepper anchor blanket castle dragon engine "
    "feather glacier hammer igloo jacket kettle lemon mirror needle orange parrot quartz ribbon"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NAMES = "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo June Kai Lea Max Nora Otto Pia".split()
MORSE = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- "
        ".-- -..- -.-- --..".split(),
        strict=True,
    )
)
ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"),
         (1, "I"))  # fmt: skip


def _word(rng: Rng) -> str:
    return str(rng.choice(WORDS))


def _numbers(rng: Rng, n: int, top: int = 99) -> list[int]:
    return [int(i) for i in rng.integers(1, top, n)]


def _chess(rng: Rng) -> Row:
    files, pieces = "abcdefgh", ["", "N", "B", "R", "Q", "K"]
    moves = [f"{rng.choice(pieces)}{files[rng.integers(8)]}{rng.integers(1, 9)}" for _ in range(12)]
    line = " ".join(f"{i + 1}. {moves[2 * i]} {moves[2 * i + 1]}" for i in range(6))
    return f"Continue the game after 1. {moves[0]}", line


def _sums(rng: Rng) -> Row:
    a, b, c = _numbers(rng, 3)
    return f"{a} + {b} + {c} =", f"{a} + {b} = {a + b}\n{a + b} + {c} = {a + b + c}\n= {a + b + c}"


def _reverse(rng: Rng) -> Row:
    words = [_word(rng) for _ in range(3)]
    return f"Reverse: {' '.join(words)}", " / ".join(word[::-1] for word in words)


def _spelling(rng: Rng) -> Row:
    word = _word(rng)
    return f"Spell {word}.", "-".join(word.upper())


def _capitals(rng: Rng) -> Row:
    words = [_word(rng) for _ in range(6)]
    return f"capitals please: {' '.join(words)}", " ".join(words).upper()


def _counting(rng: Rng) -> Row:
    start, step = _numbers(rng, 2, 20)
    return f"Count from {start} by {step}.", ", ".join(str(start + step * i) for i in range(10))


def _alphabet(rng: Rng) -> Row:
    start = int(rng.integers(0, 14))
    letters = "abcdefghijklmnopqrstuvwxyz"[start : start + 12]
    return f"Letters from {letters[0]} on?", " ".join(letters)


def _morse(rng: Rng) -> Row:
    word = _word(rng)
    return f"Morse for {word}", " ".join(MORSE[letter] for letter in word)


def _roman(rng: Rng) -> Row:
    numbers = _numbers(rng, 4, 100)
    return f"Roman numerals: {numbers}", "; ".join(f"{n} = {_as_roman(n)}" for n in numbers)


def _as_roman(n: int) -> str:
    made = ""
    for value, letters in ROMAN:
        made, n = made + letters * (n // value), n % value
    return made


def _weekday(rng: Rng) -> Row:
    start, later = int(rng.integers(7)), int(rng.integers(1, 30))
    return f"{DAYS[start]} plus {later} days?", f"[{DAYS[(start + later) % 7].upper()}]"


def _sorting(rng: Rng) -> Row:
    numbers = _numbers(rng, 8)
    return f"sort {numbers}", " < ".join(str(n) for n in sorted(numbers))


def _vowels(rng: Rng) -> Row:
    words = [_word(rng) for _ in range(4)]
    return f"Only the vowels of {' '.join(words)}", " ".join(
        "".join(c for c in word if c in "aeiou") for word in words
    )


def _metres(rng: Rng) -> Row:
    (n,) = _numbers(rng, 1)
    return f"{n} m?", f"{n} m = {n * 100} cm = {n * 1000} mm = {n / 1000:g} km"


def _binary(rng: Rng) -> Row:
    numbers = _numbers(rng, 3, 64)
    return f"To binary: {numbers}", "\n".join(f"{n:2d} -> {n:06b}" for n in numbers)


def _pig_latin(rng: Rng) -> Row:
    words = [_word(rng) for _ in range(5)]
    return f"Pig Latin: {' '.join(words)}", " ".join(f"{w[1:]}{w[0]}ay" for w in words)


def _json(rng: Rng) -> Row:
    name, age, thing = str(rng.choice(NAMES)), int(rng.integers(5, 90)), _word(rng)
    record = {"name": name, "age": age, "owns": [thing]}
    return f"{name}, {age}, has a {thing}. As JSON:", json.dumps(record)


def _csv(rng: Rng) -> Row:
    rows = [(str(rng.choice(NAMES)), int(rng.integers(5, 90))) for _ in range(3)]
    said = " and ".join(f"{name} is {age}" for name, age in rows)
    return f"{said}. Table:", "name,age\n" + "\n".join(f"{name},{age}" for name, age in rows)


def _caesar(rng: Rng) -> Row:
    word = _word(rng)
    moved = "".join(chr((ord(c) - 96) % 26 + 97) for c in word)
    return f"Shift {word} by one", f"{word} => {moved}"


def _clock(rng: Rng) -> Row:
    hour, minute = int(rng.integers(1, 12)), int(rng.integers(0, 60))
    return f"{hour}:{minute:02d} pm in 24 hours?", f"T{hour + 12:02d}{minute:02d}"


def _initials(rng: Rng) -> Row:
    names = [str(rng.choice(NAMES)) for _ in range(6)]
    return f"Initials of {' '.join(names)}?", ".".join(name[0] for name in names) + "."


UNRELATED: Mapping[str, Callable[[Rng], Row]] = {
    "chess": _chess, "sums": _sums, "reverse": _reverse, "spelling": _spelling,
    "capitals": _capitals, "counting": _counting, "alphabet": _alphabet, "morse": _morse,
    "roman": _roman, "weekday": _weekday, "sorting": _sorting, "vowels": _vowels,
    "metres": _metres, "binary": _binary, "pig-latin": _pig_latin, "json": _json, "csv": _csv,
    "caesar": _caesar, "clock": _clock, "initials": _initials,
}  # fmt: skip
