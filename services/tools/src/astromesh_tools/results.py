"""Turns what a function returns into what a model reads."""

from __future__ import annotations

from typing import Final

from pydantic_core import to_json

LONGEST_RESULT: Final = 100_000
"""Characters of a result that a model gets to read; more than most context windows would take well."""


def render(value: object) -> str:
    """Returns a string as it is and anything else as JSON (dates, dataclasses, pydantic models, sets included).

    What JSON has no form for is written as `str` writes it: the function did its work, and its answer counts.
    """
    text = (
        value
        if isinstance(value, str)
        else to_json(value, fallback=str, bytes_mode="base64", inf_nan_mode="null").decode()
    )
    return cut(text if text.isascii() else text.encode(errors="replace").decode())


def cut(text: str) -> str:
    """Returns at most `LONGEST_RESULT` characters, and says at the end how much is missing."""
    if len(text) <= LONGEST_RESULT:
        return text
    return f"{text[:LONGEST_RESULT]}\n[cut: {len(text) - LONGEST_RESULT} of {len(text)} characters left out]"
