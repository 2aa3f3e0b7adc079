"""Turns what a function returns into what a model reads."""

from __future__ import annotations

from pydantic_core import to_json


def render(value: object) -> str:
    """Returns a string as it is and anything else as JSON (dates, dataclasses, pydantic models, sets included).

    What JSON has no form for is written as `str` writes it: the function did its work, and its answer counts.
    """
    text = (
        value
        if isinstance(value, str)
        else to_json(value, fallback=str, bytes_mode="base64", inf_nan_mode="null").decode()
    )
    return text if text.isascii() else text.encode(errors="replace").decode()
