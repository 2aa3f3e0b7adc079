"""Metadata as words that any database compares exactly: one for each key, one for each key with its value. Pure."""

from __future__ import annotations

import json
from typing import Final

from astromesh_core.filters import Metadata, MetadataValue, is_number

NEVER: Final = "never"
"""Stands in no metadata: the others are JSON lists."""


def tokens_of(metadata: Metadata) -> list[str]:
    """What is known of metadata, but for how numbers compare."""
    return [token for key, value in metadata.items() for token in (key_token(key), value_token(key, value))]


def key_token(key: str) -> str:
    """Says that there is a value."""
    return json.dumps([key], ensure_ascii=False)


def value_token(key: str, value: MetadataValue) -> str:
    """Says what the value is: 1 and 1.0 are one, 1 and true are not."""
    if is_number(value) and value == int(value):
        value = int(value)
    return json.dumps([key, value], ensure_ascii=False)


def numbers_of(metadata: Metadata) -> dict[str, float]:
    """The numbers, by a name that is safe in any path."""
    return {number_name(key): float(value) for key, value in metadata.items() if is_number(value)}


def number_name(key: str) -> str:
    """A key in letters and digits."""
    return f"k{key.encode().hex()}"
