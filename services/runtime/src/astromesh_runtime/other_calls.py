"""Calls that follow from another one: what looks it up, what undoes it. Made of its arguments and its result. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from pydantic import JsonValue

from astromesh.v1.values_pb2 import ToolCall, ToolResult
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.placeholders import Left, filled, names
from astromesh_core.resources.tool_recovery import OtherCall


def other_call(declared: OtherCall, kind: str, call: ToolCall, key: str, result: ToolResult | None = None) -> ToolCall:
    """The declared call for this one. Raises InvalidInput where a place of it has nothing to be filled with."""
    arguments = arguments_of(call)
    known: dict[str, JsonValue] = {"idempotency_key": key}
    if result is not None:
        known["result"] = answer_of(result)
    values = {**known, **arguments, "arguments": arguments} if "arguments" not in arguments else {**known, **arguments}
    for name, value in declared.arguments.items():
        if filled(value, values) is Left.OUT:
            places = ", ".join(names(value))
            raise InvalidInput(f"{declared.tool} needs {name}, and the call has nothing for {places}")
    text = orjson.dumps(filled(declared.arguments, values)).decode()
    return ToolCall(id=f"{kind}_{call.id}", name=declared.tool, arguments=text_content(text))


def arguments_of(call: ToolCall) -> dict[str, JsonValue]:
    """The arguments of a call that was made; none where they are no object."""
    value = _parsed(plain(call.arguments))
    return value if isinstance(value, dict) else {}


def answer_of(result: ToolResult) -> JsonValue:
    """What a tool answered, parsed where it is JSON."""
    return _parsed(plain(result.output))


def answered_values(call: ToolCall, result: ToolResult) -> Mapping[str, JsonValue]:
    """What a condition over an answer may name."""
    return {"answer": answer_of(result), "arguments": arguments_of(call)}


def _parsed(text: str) -> JsonValue:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
