"""What no consumer could handle, kept with its reason, so that the queue behind it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from astromesh.v1.control_pb2 import DeadLetter
from astromesh_core.bus.answers import Stored, read_answer
from astromesh_core.bus.reading import Transport
from astromesh_core.bus.subjects import dead_letter_subject
from astromesh_core.errors import AstromeshError, Unavailable

_LONGEST_REASON = 2000

_log = structlog.get_logger(__name__)


def _ignore(consumer: str) -> None:
    del consumer


class DeadLetters:
    """Writes to stream DEAD in the name of one service."""

    def __init__(self, transport: Transport, service: str) -> None:
        self._transport = transport
        self._service = service
        self.on_stored: Callable[[str], None] = _ignore
        """Called with the consumer's name for every letter that is stored."""

    async def put(self, consumer: str, subject: str, payload: bytes, error: Exception, *, deliveries: int = 1) -> None:
        """Stores the message with its reason. Raises Unavailable or TimedOut: then do not drop the message."""
        letter = DeadLetter(
            subject=subject,
            consumer=consumer,
            error_class=error.code if isinstance(error, AstromeshError) else type(error).__name__,
            reason=str(error)[:_LONGEST_REASON],
            deliveries=deliveries,
            time_unix_nano=time.time_ns(),
            payload=payload,
        )
        target = dead_letter_subject(self._service, consumer)
        answer = read_answer(await self._transport.ask(target, letter.SerializeToString()))
        if not isinstance(answer, Stored):
            raise Unavailable(f"the dead letter was not stored: {answer}")
        self.on_stored(consumer)
        _log.error(
            "dead letter", consumer=consumer, subject=subject, error_class=letter.error_class, reason=letter.reason
        )
