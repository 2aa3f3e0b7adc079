"""What wakes or stops a run or a session from outside: sent once, and at a set time. Who turns a signal into an event
reads it through `intake`.

A timer is a schedule message in the same stream whose target is the run's signal subject, so it survives every restart
and, fired, already is a signal.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from astromesh.v1.signal_pb2 import Signal, TimerSignal
from astromesh_core.bus.answers import Full, Refused, Stored, read_answer
from astromesh_core.bus.log import StoreFull
from astromesh_core.bus.reading import Transport
from astromesh_core.bus.subjects import signal_subject, timer_subject
from astromesh_core.errors import InvalidInput, TemporaryError, Unavailable

_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_NEVER = "2199-01-01T00:00:00Z"


class Signals:
    """Sends signals and sets timers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, namespace: str, signal: Signal) -> None:
        """Stores the signal; its owner hears it in the order of storing. Sending the same id again changes nothing.

        Raises InvalidInput for an aggregate that is none, StoreFull, and Unavailable or TimedOut where no server
        answered for ten seconds: the signal may have been stored then, and may be sent again.
        """
        signal.namespace = namespace
        subject = signal_subject(namespace, signal.aggregate_id)
        await self._publish(subject, signal.SerializeToString(), (f"Nats-Msg-Id: {signal.id}",))

    async def schedule(self, namespace: str, run_id: str, path: str, at: datetime | int) -> None:
        """Sets the timer of an effect, in place of one set before: at that time (aware, or Unix nanoseconds) the run
        gets a TimerSignal with the path, named `{run_id}:{path}:{nanoseconds}`. A time gone by fires at once. Raises
        like `send`.
        """
        nanoseconds = at if isinstance(at, int) else _nanoseconds(at)
        signal = Signal(
            id=f"{run_id}:{path}:{nanoseconds}",
            namespace=namespace,
            aggregate_id=run_id,
            time_unix_nano=nanoseconds,
            timer=TimerSignal(path=path),
        )
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000)
        headers = (
            f"Nats-Schedule: @at {moment.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}",
            f"Nats-Schedule-Target: {signal_subject(namespace, run_id)}",
        )
        await self._publish(timer_subject(namespace, run_id, path), signal.SerializeToString(), headers)

    async def cancel_timer(self, namespace: str, run_id: str, path: str) -> None:
        """Takes the timer back. One that fires at this moment may still arrive. Idempotent; raises like `send`."""
        # A schedule replaces the one before it; this one never fires, and its own TTL removes it.
        headers = (
            f"Nats-Schedule: @at {_NEVER}",
            f"Nats-Schedule-Target: {signal_subject(namespace, run_id)}",
            "Nats-TTL: 1s",
        )
        await self._publish(timer_subject(namespace, run_id, path), b"", headers)

    async def _publish(self, subject: str, payload: bytes, headers: tuple[str, ...]) -> None:
        # Every publish here may be repeated: it is deduplicated, or replaces itself.
        block = "\r\n".join(("NATS/1.0", *headers, "", "")).encode()
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            try:
                answer = read_answer(await self._transport.ask(subject, payload, headers=block, seconds=2.0))
            except TemporaryError as error:
                failure = error
            else:
                if isinstance(answer, Stored):
                    return
                if isinstance(answer, Full):
                    raise StoreFull(f"no room for a signal: {answer.reason}", retry_after=5.0)
                if isinstance(answer, Refused):
                    raise InvalidInput(f"the bus refuses the signal: {answer.reason}")
                failure = Unavailable(f"no definite answer for a signal: {answer}")
            if asyncio.get_running_loop().time() > deadline:
                raise failure
            await asyncio.sleep(_PAUSE_SECONDS)


def _nanoseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InvalidInput("a timer's time needs a time zone")
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000
