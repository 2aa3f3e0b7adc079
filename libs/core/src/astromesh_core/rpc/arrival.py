"""What a call brings along into the servicer's task: who asks, until when, and in which trace. The same in both
placements."""

from __future__ import annotations

from astromesh_core.rpc.deadlines import enter_deadline
from astromesh_core.rpc.identity import Caller, enter_caller
from astromesh_core.telemetry.traceparent import enter_trace


def enter_call(caller: Caller, timeout: float | None, traceparent: str) -> None:
    """Sets up the running task, whose context nobody shares, for serving one call."""
    enter_caller(caller)
    enter_deadline(timeout)
    enter_trace(traceparent)
