"""Reads tool calls out of the text of a model that is asked without a server which would. Pure.

Forms, as models are taught them:

    <tool_call>{"name": …, "arguments": {…}}</tool_call>      Qwen, Hermes, and many after them; any number
    <|tool_call|>[{…}, …]<|/tool_call|>                       Phi-4-mini
    [TOOL_CALLS][{…}, …]                                      Mistral; to the end of the reply
    <|python_tag|>{…}                                         Llama 3; to the end of the reply
    {"name": …, "parameters": {…}}                            Llama 3; the whole reply, several parted by `;`

A name that is none of the tools', and what is no JSON, leaves the text as it is: it may be meant so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from json import JSONDecodeError, JSONDecoder
from typing import cast

import orjson

from astromesh_router.dialects.decoding import JsonObject, as_list, as_object, as_text, json_text
from astromesh_router.dialects.port import WrittenCall
from astromesh_router.dialects.think_tags import begun

MARKS = {"<tool_call>": "</tool_call>", "<|tool_call|>": "<|/tool_call|>", "[TOOL_CALLS]": "", "<|python_tag|>": ""}
"""What opens calls and what closes them; empty: the end of the reply."""

PARTED_BY = " \t\r\n;,"
_DECODER = JSONDecoder()


class WrittenCalls:
    """Splits a text as it comes into what is said and the calls of `tools`, by name; without any, all is said."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools
        self._held = ""
        self._opened = ""
        self._said = False
        self.calls: list[WrittenCall] = []

    def feed(self, text: str) -> str:
        """What the next piece adds to what is said; what may be part of a call waits."""
        if not self._tools:
            return text
        self._held += text
        return "".join(self._parts())

    def finish(self) -> str:
        """What is said of that which waited."""
        rest, self._held = self._held, ""
        inside = rest.removeprefix(self._opened) if self._opened else rest
        calls = calls_in(inside, self._tools) if self._opened or not self._said else []
        self.calls += calls
        return "" if calls else self._told(rest)

    def _parts(self) -> Iterator[str]:
        while not self._waits():
            if self._opened:
                yield self._closed()
                continue
            mark = min((each for each in MARKS if each in self._held), key=self._held.index, default="")
            cut = self._held.index(mark) if mark else len(self._held) - self._may_begin()
            said, self._held = self._held[:cut], self._held[cut:]
            self._opened = mark
            yield self._told(said)
            if not mark:
                return

    def _waits(self) -> bool:
        """Whether nothing can be told before more comes."""
        if self._opened:
            return not (MARKS[self._opened] and MARKS[self._opened] in self._held)
        text = self._held.lstrip()
        return not self._said and (not text or (text.startswith("{") and not self.calls))

    def _closed(self) -> str:
        """Takes in the calls that are closed now; what is said where they are none."""
        closes = MARKS[self._opened]
        inside, _, rest = self._held.removeprefix(self._opened).partition(closes)
        calls = calls_in(inside, self._tools)
        text = "" if calls else self._opened + inside + closes
        self.calls += calls
        self._held, self._opened = rest, ""
        self._said = self._said and not calls
        return self._told(text)

    def _told(self, text: str) -> str:
        """The text, without white space that only stands around calls."""
        if not self._said and self.calls:
            text = text.lstrip()
        self._said = self._said or bool(text.strip())
        return text if self._said else ""

    def _may_begin(self) -> int:
        return max(begun(self._held, mark) for mark in MARKS)


def calls_in(text: str, tools: Collection[str]) -> list[WrittenCall]:
    """The calls that a text consists of; none where it is anything else, or names what is no tool."""
    calls = [_call(entry) for entry in _entries(text)]
    return calls if all(call.name in tools for call in calls) else []


def _entries(text: str) -> list[JsonObject]:
    """The objects of JSON texts one after the other, those in lists too; none where something else stands there."""
    found: list[JsonObject] = []
    rest = text.strip(PARTED_BY)
    while rest:
        try:
            value, end = cast("tuple[object, int]", _DECODER.raw_decode(rest))
        except JSONDecodeError:
            return []
        found += [as_object(entry) for entry in as_list(value) or [value]]
        rest = rest[end:].lstrip(PARTED_BY)
    return found


def _call(entry: JsonObject) -> WrittenCall:
    """`arguments` is an object, or its JSON as text; Llama says `parameters`."""
    arguments = entry.get("arguments", entry.get("parameters"))
    text = arguments if isinstance(arguments, str) else json_text(arguments)
    if not text and arguments:
        text = orjson.dumps(arguments).decode()
    return WrittenCall(as_text(entry.get("id")), as_text(entry.get("name")), text or "{}")
