"""W3C Trace Context: the ids of a trace, and which one the running task belongs to. No span is recorded here.

Source: https://www.w3.org/TR/trace-context/ (version 00).
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar, Token
from typing import NamedTuple

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_SAMPLED = 0x01


class TraceContext(NamedTuple):
    """Where in which trace one is. `trace_id` is 32 and `span_id` 16 hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def encode(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(header: str) -> TraceContext | None:
    """Reads a `traceparent`; None for anything malformed, as the recommendation asks (a bad header starts a new
    trace)."""
    if not _FORM.fullmatch(header) or (header.startswith("00") and len(header) != len("00--") + 32 + 16 + 3):
        return None
    return TraceContext(header[3:35], header[36:52], bool(int(header[53:55], 16) & _SAMPLED))


def new_trace() -> TraceContext:
    """A new trace. Its ids are random and tell nothing."""
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8))


def unrecorded() -> str:
    """The `traceparent` of work of which no span is recorded, here or in the services that it asks: what goes on by
    itself in the background, such as polls, would bury the traces of runs."""
    return new_trace()._replace(sampled=False).encode()


_current: ContextVar[str] = ContextVar("traceparent", default="")


def current_traceparent() -> str:
    """The `traceparent` of the running task, "" where it belongs to no trace. What goes into envelopes and headers."""
    return _current.get()


def enter_trace(header: str) -> Token[str]:
    """Puts the running task, and those that it starts from now on, into a trace. Undone by `leave_trace`."""
    return _current.set(header)


def leave_trace(token: Token[str]) -> None:
    """Returns to the trace from before `enter_trace`, in the same task."""
    _current.reset(token)
