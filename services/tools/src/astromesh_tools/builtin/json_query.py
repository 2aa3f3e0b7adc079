"""`json_query`: values out of JSON, by a JSONPath (RFC 9535) of the model's.

What a path costs is bounded by the items that it looks at. `match` and `search` are left out: a regular expression of a
stranger's can hold a thread, and with it the interpreter, for hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, cast

import jsonpath
import orjson
from pydantic import JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.builtin.tool import in_thread
from astromesh_tools.metered import metered

MOST_CHARACTERS: Final = 1_000_000


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
    try:
        found = cast("list[JsonValue]", query.findall(cast("dict[str, object]", metered(_read(data)))))
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
