"""JSON that goes to tools or comes from them, as rules see it: its names, texts and numbers, whatever their escapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import orjson

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

SEPARATOR: Final = "\x1e"
"""Between two texts: no word, and no part of one, goes over it."""


class Structured:
    """JSON that reads as one text and is written anew from what a rule left of it; any other text is one piece."""

    def __init__(self, written: str) -> None:
        self._json: Json = None
        self.is_json = True
        try:
            self._json = orjson.loads(written)
        except orjson.JSONDecodeError:
            self.is_json = False
        pieces = list(_pieces(self._json)) if self.is_json else [written]
        self._pieces = [piece.replace(SEPARATOR, " ") for piece in pieces]

    @property
    def text(self) -> str:
        """Every name, text and number, in their order."""
        return SEPARATOR.join(self._pieces)

    def rewritten(self, text: str, *, renames: bool = False) -> str | None:
        """The JSON as this text has it, which a rule made of `text`; None where it cannot be told which is which, or a
        name would change that may not."""
        left = text.split(SEPARATOR)
        if len(left) != len(self._pieces):
            return None
        if not self.is_json:
            return left[0]
        written = _Writing(self._pieces, left)
        value = written.of(self._json)
        return orjson.dumps(value).decode() if renames or not written.renames else None


class _Writing:
    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self._pairs = iter(zip(before, after, strict=True))
        self.renames = False

    def of(self, value: Json) -> Json:
        if isinstance(value, dict):
            return {self._name(name): self.of(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.of(inner) for inner in value]
        if value is None or isinstance(value, bool):
            return value
        before, after = next(self._pairs)
        return value if before == after else after

    def _name(self, name: str) -> str:
        before, after = next(self._pairs)
        self.renames = self.renames or before != after
        return after


def _pieces(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _pieces(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pieces(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
