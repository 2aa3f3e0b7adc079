"""`json_query`: values out of JSON, by a JSONPath (RFC 9535) of the model's.

What a path costs is bounded by the items that it looks at. `match` and `search` are left out: a regular expression of a
stranger's can hold a thread, and with it the interpreter, for hours.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from functools import partial
from typing import Final, cast

import jsonpath
import orjson
from pydantic import JsonValue

from astromesh_core.errors import InvalidInput, LimitExceeded
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.builtin.tool import in_thread

MOST_CHARACTERS: Final = 1_000_000
MOST_LOOKED_AT: Final = 200_000
"""Items that a path may look at, each as often as it does."""


class JsonQuery:
    """Queries JSON, in a thread."""

    def __init__(self, threads: DaemonThreads) -> None:
        self._threads = threads

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """Of a path to one place its value, null where there is none; else the list of all that is found."""
        return await in_thread(self._threads, partial(queried, arguments["data"], str(arguments["path"])))


def queried(data: JsonValue, path: str) -> JsonValue:
    """What the path finds. Raises InvalidInput for what is no JSON and no JSONPath, LimitExceeded for too much work."""
    query = _compiled(path)
    effort = _Effort()
    try:
        found = cast("list[JsonValue]", query.findall(cast("dict[str, object]", _metered(_read(data), effort))))
    except jsonpath.JSONPathError as error:
        raise InvalidInput(f"path: {_first_line(error)}") from error
    except RecursionError as error:
        raise InvalidInput("data: the JSON is nested too deeply") from error
    if isinstance(query, jsonpath.JSONPath) and query.singular_query():
        return found[0] if found else None
    return found


def _compiled(path: str) -> jsonpath.JSONPath | jsonpath.CompoundJSONPath:
    environment = jsonpath.JSONPathEnvironment(strict=True)
    for name in ("match", "search"):
        environment.function_extensions.pop(name, None)
    try:
        return environment.compile(path)
    except (jsonpath.JSONPathError, RecursionError) as error:
        hint = "such as $.items[0].name"
        raise InvalidInput(f"path: {path[:200]!r} is no JSONPath: {_first_line(error)}; {hint}") from error


def _read(data: JsonValue) -> JsonValue:
    if not isinstance(data, str):
        return data
    if len(data) > MOST_CHARACTERS:
        raise InvalidInput(f"data has {len(data)} characters; it may have {MOST_CHARACTERS}")
    try:
        return cast("JsonValue", orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"data is not JSON: {error}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


class _Effort:
    """Counts what is looked at."""

    def __init__(self) -> None:
        self._left = MOST_LOOKED_AT

    def spend(self, items: int) -> None:
        self._left -= items + 1
        if self._left < 0:
            raise LimitExceeded("the path looks at too many values; name more of the way, or give less data")


def _metered(value: JsonValue, effort: _Effort) -> JsonValue:
    match value:
        case dict():
            return _Mapping({key: _metered(inner, effort) for key, inner in value.items()}, effort)
        case list():
            return _List([_metered(inner, effort) for inner in value], effort)
        case _:
            return value


class _Mapping(dict[str, JsonValue]):
    def __init__(self, items: dict[str, JsonValue], effort: _Effort) -> None:
        super().__init__(items)
        self._effort = effort

    def __iter__(self) -> Iterator[str]:
        self._effort.spend(len(self))
        return super().__iter__()

    def keys(self) -> KeysView[str]:  # pyright: ignore[reportIncompatibleMethodOverride] - a view all the same
        self._effort.spend(len(self))
        return super().keys()

    def values(self) -> ValuesView[JsonValue]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        self._effort.spend(len(self))
        return super().values()

    def items(self) -> ItemsView[str, JsonValue]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        self._effort.spend(len(self))
        return super().items()


class _List(list[JsonValue]):
    def __init__(self, items: list[JsonValue], effort: _Effort) -> None:
        super().__init__(items)
        self._effort = effort

    def __iter__(self) -> Iterator[JsonValue]:
        self._effort.spend(len(self))
        return super().__iter__()
