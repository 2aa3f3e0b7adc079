"""What is known of attacks on models' instructions: patterns, phrases, and harmless ones that look like them.

Written for this project, under its licence, in English, German, Spanish, French, Italian and Portuguese (the patterns
in Chinese, too). The texts of bench/labelled are others.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "known_texts"


@cache
def patterns() -> str:
    """Patterns of attacks as one, as RE2 takes it; it is meant for any case of letters."""
    return "|".join(f"(?:{pattern})" for pattern in _lines("patterns"))


@cache
def anchors() -> str:
    """What stands in a sentence at least where one of the patterns does, as RE2 takes it; for any case of letters."""
    return "|".join(_lines("anchors"))


@cache
def attacks() -> tuple[str, ...]:
    """Phrases of attacks."""
    return _lines("attacks")


@cache
def harmless() -> tuple[str, ...]:
    """Phrases that people say who attack nobody, with the words that attacks are made of."""
    return _lines("harmless")


def _lines(name: str) -> tuple[str, ...]:
    lines = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("# "))
