"""Contents and times as callers see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import orjson
from pydantic import JsonValue

from astromesh.v1.values_pb2 import Content
from astromesh_core.errors import NotFound
from astromesh_core.events.contents import plain

ERASED: Final = "(erased)"
"""Stands where content was sealed and its key is gone."""


def shown(content: Content) -> str:
    """The text, or a word in its place where it was erased."""
    try:
        return plain(content)
    except NotFound:
        return ERASED


def parsed(text: str) -> JsonValue:
    """A value where the text is JSON, else the text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def moment(unix_nano: int) -> str:
    """A time with microseconds."""
    return datetime.fromtimestamp(unix_nano / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
