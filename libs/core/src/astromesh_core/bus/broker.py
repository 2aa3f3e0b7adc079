"""FastStream at the consumer edges: handlers of protobuf messages from durable consumers, on the bus's own connection.

The log does not pass through here: it is appended and read by `log` and `projection`. What FastStream leaves to its
user is decided here, once: a publish names its stream, or is refused; a message is acknowledged when its handler
returned; one that is worked on for long says so; one that is interrupted goes back at once; one that cannot be handled
becomes a dead letter with its reason, and the queue goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import nats.errors
import nats.js.errors
import structlog
from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.nats import JStream, KvWatch, NatsBroker, PullSub
from google.protobuf.message import DecodeError, Message
from prometheus_client import CollectorRegistry

from astromesh_core.bus.broker_metrics import BoundedMetrics
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.watchdog import Durable, Watchdog
from astromesh_core.errors import Conflict, InvalidInput, PermanentError, TimedOut, Unavailable

M = TypeVar("M", bound=Message)

CONTENT_TYPE = "application/protobuf"

_FETCH_SECONDS = 1.0
_RETRY_PAUSES = (0.1, 0.5, 2.0, 5.0)
_WRONG_LAST = (10071, 10164)

_log = structlog.get_logger(__name__)


class ProtobufCodec:
    """Bodies are serialised messages. `Broker` decodes them: it knows the type, and where rubbish goes."""

    async def decode(self, msg: StreamMessage[Any]) -> StreamMessage[Any]:
        """The message as it came: a guess by its content type would turn a body of digits into a number."""
        return msg

    async def encode(self, msg: object, serializer: object = None) -> tuple[bytes, str]:
        """The bytes as they are. Raises InvalidInput for anything else."""
        if not isinstance(msg, bytes):
            raise InvalidInput(f"the bus carries protobuf messages, not {type(msg).__name__}")
        return msg, CONTENT_TYPE


@dataclass(frozen=True, slots=True)
class Consumption:
    """How a durable consumer is worked off: `workers` messages at a time, none of which waits for another."""

    stream: str
    subject: str
    durable: str
    workers: int = 1
    max_deliveries: int = 5
    ack_wait: float = 30.0
    """Seconds after which the server gives a message to another worker; renewed while a handler works."""


class Broker:
    """`async with Broker(bus) as broker`, after `consume` was called for every consumer; metrics go to the registry."""

    def __init__(self, bus: Bus, *, registry: CollectorRegistry | None = None, graceful_seconds: float = 5.0) -> None:
        self._bus = bus
        self._watchdog = Watchdog(bus)
        self._inbox = f"{bus.nc.new_inbox().rpartition('.')[0]}.".encode()
        self._stream = _OnBus(
            bus,
            codec=ProtobufCodec(),
            ack_policy=AckPolicy.MANUAL,
            apply_types=False,
            graceful_timeout=graceful_seconds,
            logger=_quiet(),
            middlewares=[BoundedMetrics(registry)] if registry is not None else [],
        )

    async def __aenter__(self) -> Self:
        await self._watchdog.__aenter__()
        try:
            await self._stream.start()
            # Starting waits with asyncio.wait_for, which in Python 3.11 may swallow a cancellation.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError
        except BaseException as error:
            # Subscribers that have started would go on asking a connection that is closed.
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stream.stop()
        await self._watchdog.__aexit__(kind, error, trace)
        # What was handed back on the way out must be on the wire.
        with suppress(nats.errors.Error):
            await self._bus.nc.flush(1)

    def consume(self, how: Consumption, of: type[M], handle: Callable[[M], Awaitable[None]]) -> None:
        """Has every message of the consumer handled, at least once each. Call before the broker is entered.

        A PermanentError, and an error at the last delivery, make it a dead letter; any other has it come again.
        """
        self._watchdog.guard(Durable(how.stream, how.subject, how.durable, how.ack_wait))
        delivery = _Delivery(self._bus, how, of, handle)
        for _ in range(how.workers):
            self._stream.subscriber(
                how.subject,
                durable=how.durable,
                stream=JStream(how.stream, declare=False),
                # One at a time: of a batch, the slowest would hold up the rest, and what waits would burn its ack_wait.
                pull_sub=PullSub(batch_size=1, timeout=_FETCH_SECONDS),
                inbox_prefix=self._inbox,
                no_reply=True,
            )(delivery.handle)

    def watch(self, bucket: str, of: type[M], handle: Callable[[str, M | None], Awaitable[None]]) -> None:
        """Has every value of a KV bucket, and every later change, handled: key and message, or None where it is gone.

        A value that cannot be read becomes a dead letter.
        """

        async def handle_entry(message: StreamMessage[Any]) -> None:
            entry = message.raw_message
            try:
                record = of.FromString(entry.value) if entry.value else None
            except DecodeError as error:
                await self._bus.dead_letters.put(bucket, f"$KV.{bucket}.{entry.key}", entry.value, error)
                return
            await handle(entry.key, record)

        self._stream.subscriber(">", kv_watch=KvWatch(bucket, declare=False), no_reply=True)(handle_entry)

    async def publish(
        self,
        message: Message,
        subject: str,
        *,
        stream: str,
        message_id: str = "",
        expected_last: Position | None = None,
        seconds: float = 5.0,
    ) -> Position:
        """Stores the message and answers its position. Without a stream nobody would say that it was lost: refused.

        Raises Conflict where the subject's last message is not the expected one, Unavailable, TimedOut (it may be
        stored: publish it again with the same `message_id`), InvalidInput.
        """
        if not stream:
            raise InvalidInput(f"a publish to {subject} names no stream: its loss would go unnoticed")
        headers: dict[str, str] = {}
        if message_id:
            headers["Nats-Msg-Id"] = message_id
        if expected_last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected_last.sequence)
        try:
            body = message.SerializeToString()
            ack = await self._stream.publish(body, subject, headers=headers, stream=stream, timeout=seconds)
        except nats.js.errors.APIError as error:
            if error.err_code in _WRONG_LAST:
                raise Conflict(f"{subject}: another message came first") from error
            raise Unavailable(f"{subject}: {error.description}") from error
        except (nats.errors.TimeoutError, TimeoutError) as error:
            raise TimedOut(f"{subject}: no answer within {seconds:g} s") from error
        except nats.errors.Error as error:
            raise Unavailable(f"{subject}: {error}") from error
        return Position(ack.seq)


class _OnBus(NatsBroker):
    """FastStream on a connection that is not its own: it neither opens nor closes it."""

    def __init__(self, bus: Bus, **options: Any) -> None:
        super().__init__(**options)
        self._bus = bus

    async def _connect(self) -> Any:
        self.config.connect(self._bus.nc)
        return self._bus.nc

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        # Else NatsBroker would drain and close the connection.
        self._connection = None
        await super().stop(exc_type, exc_val, exc_tb)


def _quiet() -> logging.Logger:
    """FastStream's own words, from warnings on: it tells of every message that comes. Not its own logger, which has a
    handler of its own."""
    log = logging.getLogger(f"{__name__}.faststream")
    log.setLevel(logging.WARNING)
    return log


class _Delivery:
    """One consumer's messages on their way through a handler."""

    def __init__(self, bus: Bus, how: Consumption, of: type[M], handle: Callable[[M], Awaitable[None]]) -> None:
        self._dead_letters = bus.dead_letters
        self._how = how
        self._of: type[Message] = of
        self._handle: Callable[[Any], Awaitable[None]] = handle

    async def handle(self, message: StreamMessage[Any]) -> None:
        """Works on the message and settles it: acknowledged, handed back, or put to the dead letters."""
        working = asyncio.create_task(self._keep_in_progress(message))
        try:
            await self._handle(self._of.FromString(message.raw_message.data))
        except asyncio.CancelledError:
            # The service stops: another worker gets it now, not after ack_wait.
            await message.nack()
            raise
        except Exception as error:  # noqa: BLE001 - the consumer loop's edge: every failure is settled here
            await self._failed(message, error)
        else:
            await message.ack()
        finally:
            working.cancel()

    async def _failed(self, message: StreamMessage[Any], error: Exception) -> None:
        raw = message.raw_message
        deliveries = int(raw.metadata.num_delivered)
        hopeless = isinstance(error, (PermanentError, DecodeError)) or deliveries >= self._how.max_deliveries
        if not hopeless:
            pause = _RETRY_PAUSES[min(deliveries, len(_RETRY_PAUSES)) - 1]
            _log.warning("handler failed; the message comes again", consumer=self._how.durable, exc_info=error)
            await raw.nak(delay=pause)
            return
        try:
            await self._dead_letters.put(self._how.durable, raw.subject, raw.data, error, deliveries=deliveries)
        except (TimedOut, Unavailable):
            # Rather once more than lost.
            await raw.nak(delay=_RETRY_PAUSES[-1])
        else:
            await raw.term()

    async def _keep_in_progress(self, message: StreamMessage[Any]) -> None:
        while True:
            await asyncio.sleep(self._how.ack_wait / 3)
            with suppress(nats.errors.Error):
                await message.raw_message.in_progress()
