"""Answers that a read gave, given again to equal arguments for a time: of one tool of one version of one agent.

Nothing is shared with another agent, version or namespace: what they send, and with which secrets, differs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import orjson

from astromesh.v1.values_pb2 import ToolResult
from astromesh_core.resources.tool_controls import ToolCache

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of a tool's answers; one that has a sixteenth of it is not kept."""


class Answers:
    """The answers of one tool."""

    def __init__(self, declared: ToolCache, seconds: Callable[[], float]) -> None:
        self._ttl = declared.ttl_seconds
        self._most = declared.max_entries
        self._seconds = seconds
        self._kept: OrderedDict[bytes, tuple[float, ToolResult]] = OrderedDict()
        self._bytes = 0

    def find(self, key: bytes, call_id: str) -> ToolResult | None:
        """What is known to the key, as the answer to this call."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, known = found
        if self._seconds() >= until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        answer = ToolResult()
        answer.CopyFrom(known)
        answer.tool_call_id, answer.cached = call_id, True
        return answer

    def keep(self, key: bytes, result: ToolResult) -> None:
        """Keeps an answer. An error, and what is too large, is asked for again each time."""
        size = result.ByteSize()
        if result.is_error or size > MOST_BYTES // 16:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (self._seconds() + self._ttl, result)
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        _, result = self._kept.pop(key)
        self._bytes -= result.ByteSize()


def key_of(arguments: str) -> bytes | None:
    """What equal arguments have in common; None for what is no JSON."""
    try:
        return orjson.dumps(orjson.loads(arguments or "{}"), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
