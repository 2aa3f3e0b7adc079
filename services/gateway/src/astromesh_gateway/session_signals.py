"""Asks a session's owner to write an event of the session's own, and waits until its log shows it."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import aclosing

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import session_aggregate
from astromesh_core.errors import TimedOut
from astromesh_core.rpc.identity import Caller
from astromesh_core.telemetry.traceparent import current_traceparent

SECONDS = 10.0
"""How long a caller waits: the event queues with the session's runs."""


def session_signal(caller: Caller, session_key: str) -> Signal:
    """A new signal to a session of the caller's namespace, without its body."""
    return Signal(
        id=secrets.token_hex(16),
        aggregate_id=session_key,
        time_unix_nano=time.time_ns(),
        principal=caller.principal,
        traceparent=current_traceparent(),
    )


async def written(bus: Bus, namespace: str, signal: Signal) -> Envelope:
    """Sends the signal; answers the event that it became, once it is stored.

    Raises TimedOut where the session's runs take longer than ten seconds: it will be stored all the same.
    """
    aggregate = session_aggregate(namespace, signal.aggregate_id)
    try:
        async with asyncio.timeout(SECONDS), aclosing(bus.log.follow(aggregate)) as events:
            await bus.signals.send(namespace, signal)
            async for event in events:
                if event.envelope.signal_id == signal.id:
                    return event.envelope
    except TimeoutError:
        pass
    raise TimedOut("it has not been written yet; it will be, after the session's runs at work")
