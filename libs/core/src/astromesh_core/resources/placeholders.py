"""Places in declared texts that the arguments of a call fill: `{{ city }}`, and `{{ address.city }}` within an object.

Pure. Nothing is computed in a place, so what stands in a resource can be checked when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Final, cast

import orjson
from pydantic import JsonValue
from pydantic_core import PydanticCustomError

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]*"
_PLACE: Final = re.compile(rf"\{{\{{\s*({_NAME}(?:\.[A-Za-z0-9_-]+)*)\s*\}}\}}")
_CODE: Final = re.compile(r"\{\{|\{%|\{#")

Arguments = Mapping[str, JsonValue]


class Left(Enum):
    """Stands for a value that needs an argument which the call leaves out."""

    OUT = "left out"


def names(value: JsonValue) -> Iterator[str]:
    """The parameters that the texts of a value name. Raises PydanticCustomError for braces that are no place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (*names(key), *names(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)
    elif isinstance(value, str):
        wrong = _CODE.search(_PLACE.sub("", value))
        if wrong is not None:
            hint = "a place names a parameter, such as {{ city }}; nothing is computed in it"
            raise PydanticCustomError("placeholder", "has braces that name no parameter", {"hint": hint})
        yield from (place.partition(".")[0] for place in _PLACE.findall(value))


def filled_text(text: str, arguments: Arguments, written: Callable[[str], str] = str) -> str | Left:
    """The text with every place filled; `written` is applied to what fills one."""
    values = [_argument(place, arguments) for place in _PLACE.findall(text)]
    if any(isinstance(value, Left) for value in values):
        return Left.OUT
    texts = iter([written(as_text(cast(JsonValue, value))) for value in values])
    return _PLACE.sub(lambda _: next(texts), text)


def filled(value: JsonValue, arguments: Arguments) -> JsonValue | Left:
    """The value with every place filled. A text that is one place and nothing else becomes the argument itself; a field
    or an entry whose argument the call leaves out is left out."""
    if isinstance(value, dict):
        pairs = ((key, filled(inner, arguments)) for key, inner in value.items())
        return {key: inner for key, inner in pairs if not isinstance(inner, Left)}
    if isinstance(value, list):
        entries = (filled(inner, arguments) for inner in value)
        return [inner for inner in entries if not isinstance(inner, Left)]
    if isinstance(value, str):
        whole = _PLACE.fullmatch(value)
        return _argument(whole[1], arguments) if whole else filled_text(value, arguments)
    return value


def as_text(value: JsonValue) -> str:
    """A value within a text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _argument(place: str, arguments: Arguments) -> JsonValue | Left:
    value: JsonValue = dict(arguments)
    for name in place.split("."):
        if not isinstance(value, dict) or name not in value:
            return Left.OUT
        value = value[name]
    return value
