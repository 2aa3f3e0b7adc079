"""CSV, JSON and JSON lines to text: a paragraph for each record, a line `name: value` for each of its fields."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from astromesh_rag.readers.text import Text, Unreadable, decoded

_DELIMITERS: Final = ",;\t|"
_DEEPEST: Final = 100

Value = str | int | float | bool | list["Value"] | dict[str, "Value"] | None


def read_csv(data: bytes, charset: str = "") -> Text:
    """A paragraph for each row, each field under the name that the first row gives it. Raises Unreadable."""
    text = decoded(data, charset)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise Unreadable(f"is no CSV: {error}") from error
    if not rows:
        return Text("")
    names = [name.strip() or f"column {number}" for number, name in enumerate(rows[0], 1)]
    return Text(_paragraphs(_row(names, row) for row in rows[1:]) if len(rows) > 1 else "\n".join(names))


def read_json(data: bytes, charset: str = "") -> Text:
    """A paragraph for each item of a list; an object is one. Raises Unreadable."""
    try:
        value: Value = orjson.loads(decoded(data, charset))
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"is no JSON: {error}") from error
    return Text(_paragraphs(_lines(item) for item in (value if isinstance(value, list) else [value])))


def read_json_lines(data: bytes, charset: str = "") -> Text:
    """A paragraph for each line. Raises Unreadable, which names the line."""
    paragraphs: list[str] = []
    for number, line in enumerate(decoded(data, charset).splitlines(), 1):
        if not line.strip():
            continue
        try:
            paragraphs.append(_lines(orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            raise Unreadable(f"line {number} is no JSON: {error}") from error
    return Text(_paragraphs(paragraphs))


def _delimiter(text: str) -> str:
    """The one that stands most often in the first line: guesses by all lines go wrong where texts hold commas."""
    first = text.lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def _row(names: list[str], row: list[str]) -> str:
    named = [*names, *(f"column {number}" for number in range(len(names) + 1, len(row) + 1))]
    return "\n".join(f"{name}: {value.strip()}" for name, value in zip(named, row, strict=False) if value.strip())


def _lines(value: Value) -> str:
    return "\n".join(f"{path}: {text}" if path else text for path, text in _fields(value, "", 0))


def _fields(value: Value, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        raise Unreadable("is nested too deeply")
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _fields(item, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        if all(not isinstance(item, dict | list) for item in value):
            yield path, ", ".join(_plain(item) for item in value)
        else:
            for number, item in enumerate(value, 1):
                yield from _fields(item, f"{path}.{number}" if path else str(number), depth + 1)
    else:
        yield path, _plain(value)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _paragraphs(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part)
