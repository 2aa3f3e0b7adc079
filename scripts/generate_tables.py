"""Writes the character tables of libs/native from what they repeat: this Python's, and the installed tokenizer's.

`python.txt` says what Python's `str` and `re` hold of a character, `bert.txt` what MiniLM's tokenizer makes of it. Run
after a change of the tokenizer's release; the tests of libs/native compare every character.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from tokenizers import Tokenizer

from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model

TABLES = Path(__file__).resolve().parent.parent / "libs" / "native" / "crates" / "core" / "tables"
WIDTH = 110
SURROGATES = range(0xD800, 0xE000)
HANGUL = range(0xAC00, 0xD7A4)
"""Syllables, which are taken apart by arithmetic."""


def characters() -> Iterator[str]:
    """Every character but surrogates and Hangul syllables."""
    yield from (chr(code) for code in range(sys.maxunicode + 1) if code not in SURROGATES and code not in HANGUL)


def of_python() -> Iterator[str]:
    """The classes of characters that twins ask for."""
    yield f"# What Python holds of a character. Unicode {unicodedata.unidata_version}. No `nfd` has Hangul syllables."
    classes: dict[str, Callable[[str], bool]] = {
        "alnum": str.isalnum,
        "decimal": str.isdecimal,
        "lower": str.islower,
        "upper": str.isupper,
    }
    for name, belongs in classes.items():
        members = (chr(code) for code in range(sys.maxunicode + 1) if belongs(chr(code)))
        yield from ranges(name, members)
    for length in (2, 3, 4):
        yield from ranges(f"nfd{length}", (c for c in characters() if len(unicodedata.normalize("NFD", c)) == length))


def of_tokenizer() -> Iterator[str]:
    """What a character becomes when it is normalized, where that is not itself, and which stand alone."""
    tokenizer = Tokenizer.from_file(str(find_model() / TOKENIZER_FILE))
    normalize, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    became = {c: normalize(f"a{c}b")[1:-1] for c in characters()}
    yield "# What BERT's tokenizer makes of a character. Hangul syllables are left out."
    yield from ranges("removed", (c for c, result in became.items() if not result))
    yield from ranges("space", (c for c, result in became.items() if result and not result.strip(" ")))
    alone = {c for c, result in became.items() if result == f" {c} " or is_alone(c, split(f"a{c}b"))}
    yield from ranges("alone", (c for c in characters() if c in alone))
    # Marks that stay in the text: the library moves them among others and keeps the places where they were.
    yield from ranges("moved", (c for c, result in became.items() if result == c and unicodedata.combining(c)))
    for character, result in became.items():
        if result.strip(" ") and result.strip(" ") != character:
            yield f"mapped {ord(character):x} {' '.join(f'{ord(c):x}' for c in result)}"


def is_alone(character: str, words: list[tuple[str, tuple[int, int]]]) -> bool:
    return [word for word, _ in words] == ["a", character, "b"]


def ranges(name: str, members: Iterator[str]) -> Iterator[str]:
    """Lines of runs of neighbouring characters, as `name 30-39 41`."""
    line = name
    for _, run in groupby(enumerate(map(ord, members)), key=lambda pair: pair[1] - pair[0]):
        codes = [code for _, code in run]
        shown = f" {codes[0]:x}-{codes[-1]:x}" if len(codes) > 1 else f" {codes[0]:x}"
        if len(line) + len(shown) > WIDTH:
            yield line
            line = name
        line += shown
    yield line


def main() -> None:
    TABLES.mkdir(exist_ok=True)
    for name, lines in (("python.txt", of_python()), ("bert.txt", of_tokenizer())):
        (TABLES / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
