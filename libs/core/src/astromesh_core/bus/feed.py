"""An ordered feed of a stream: every message once, in order, whatever happens to server, connection or consumer.

Its rules: deliveries of one consumer are numbered; a number that is missing, a heartbeat that does not come, or a new
connection ends that consumer, and another continues after the last message that was delivered. What a message means,
and where to resume after a restart of this process, is the reader's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from astromesh_core.errors import TemporaryError, Unavailable

HEARTBEAT_SECONDS = 0.5
_SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
_WATCH_SECONDS = 0.2
_INACTIVE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

_PLAIN_TOKENS = 9

_log = structlog.get_logger(__name__)


class Delivered(NamedTuple):
    """A stored message. `pending` counts the ones that match and were still to be delivered after it."""

    sequence: int
    subject: str
    data: bytes
    headers: dict[str, str] | None
    pending: int


class Feed(NamedTuple):
    """What is read: of a stream, the messages that match one of the subjects (none: all), after a sequence.

    `newest_only`: first the last message of every subject, then everything that comes.
    """

    stream: str
    subjects: Sequence[str] = ()
    after: int = 0
    newest_only: bool = False


class OrderedFeed:
    """`async with OrderedFeed(...)`: calls `deliver` with every message until it is left.

    `deliver` may answer an awaitable: the feed waits for it, and so does the server (flow control). A message at which
    it raises is logged and delivered again.
    `caught_up` is called when everything that stood in the stream at a (re)start has been delivered.
    """

    def __init__(
        self,
        nc: Client,
        feed: Feed,
        deliver: Callable[[Delivered], Awaitable[None] | None],
        caught_up: Callable[[], None] | None = None,
    ) -> None:
        self._nc = nc
        self._js = nc.jetstream()
        self._feed = feed
        self._deliver = deliver
        self._caught_up = caught_up
        self._position = feed.after
        self._broken = asyncio.Event()
        self._reason = "not started"
        self._subscription: Subscription | None = None
        self._consumer = ""
        self._delivered = 0
        self._heard = 0.0
        self._busy = False
        self._connections = 0
        self._task: asyncio.Task[None] | None = None
        self.restarts = 0
        """How often another consumer had to continue."""

    @property
    def position(self) -> int:
        """The sequence of the last message that was delivered."""
        return self._position

    @property
    def consumer(self) -> str:
        """The name of the consumer that delivers now."""
        return self._consumer

    @property
    def trouble(self) -> str:
        """Why nothing is delivered at present; empty while the consumer is heard."""
        return self._reason

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"feed of {self._feed.stream}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._close()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if not self._nc.is_connected:
                await asyncio.sleep(_FIRST_PAUSE_SECONDS)
                continue
            try:
                await self._open()
            except TemporaryError as error:
                self._reason = str(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            opened = time.monotonic()
            await self._watch()
            self.restarts += 1
            _log.warning("feed resumes", stream=self._feed.stream, reason=self._reason)
            await self._close()
            # A consumer that ends as soon as it was made must not be made again in a tight loop.
            pause = (
                _FIRST_PAUSE_SECONDS if time.monotonic() - opened > pause else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            )
            if pause > _FIRST_PAUSE_SECONDS:
                await asyncio.sleep(pause)

    async def _open(self) -> None:
        self._connections = self._nc.stats["reconnects"]
        self._broken.clear()
        self._delivered = 0
        inbox = self._nc.new_inbox()
        try:
            self._subscription = await self._nc.subscribe(inbox, cb=self._on_message)
            info = await self._js.add_consumer(self._feed.stream, config=self._config(inbox))
        except (nats.errors.Error, TimeoutError) as error:
            await self._close()
            raise Unavailable(f"no consumer on {self._feed.stream}: {error}") from error
        self._consumer = info.name
        self._heard = time.monotonic()
        self._reason = ""
        if info.num_pending == 0 and self._delivered == 0 and self._caught_up is not None:
            self._caught_up()

    def _config(self, inbox: str) -> ConsumerConfig:
        config = ConsumerConfig(
            name=inbox.rpartition(".")[2],
            deliver_subject=inbox,
            ack_policy=AckPolicy.NONE,
            max_deliver=1,
            flow_control=True,
            idle_heartbeat=HEARTBEAT_SECONDS,
            inactive_threshold=_INACTIVE_SECONDS,
            mem_storage=True,
            num_replicas=1,
        )
        if len(self._feed.subjects) == 1:
            config.filter_subject = self._feed.subjects[0]
        elif self._feed.subjects:
            config.filter_subjects = list(self._feed.subjects)
        if self._position:
            config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = self._position + 1
        elif self._feed.newest_only:
            config.deliver_policy = DeliverPolicy.LAST_PER_SUBJECT
        return config

    async def _watch(self) -> None:
        while not self._broken.is_set():
            slept = time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_SECONDS):
                    await self._broken.wait()
            now = time.monotonic()
            if self._busy or now - slept > _WATCH_SECONDS + HEARTBEAT_SECONDS:
                # The reader was slow, or this process was: heartbeats wait behind it in the queue.
                self._heard = now
            if not self._nc.is_connected:
                self._break("the connection is lost")
            elif self._nc.stats["reconnects"] != self._connections:
                self._break("the connection is new")
            elif now - self._heard > _SILENCE_SECONDS:
                self._break("the consumer vanished")

    def _break(self, reason: str) -> None:
        if not self._broken.is_set():
            self._reason = reason
            self._broken.set()

    async def _close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        # Without interest in its subject the server removes the consumer by itself.
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def _on_message(self, message: Msg) -> None:
        self._heard = time.monotonic()
        if self._broken.is_set():
            return
        tokens = message.reply.split(".")
        if tokens[0] != "$JS" or tokens[1] != "ACK":
            await self._on_control(message)
            return
        # $JS.ACK.stream.consumer.deliveries.SEQUENCE.NUMBER.time.PENDING; where the server has domains, with domain and
        # account before the stream and a random token at the end.
        first = 5 if len(tokens) == _PLAIN_TOKENS else 7
        sequence, number, pending = int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])
        if number != self._delivered + 1:
            self._break(f"delivery {self._delivered + 1} is missing")
            return
        self._delivered = number
        try:
            waiting = self._deliver(Delivered(sequence, message.subject, message.data, message.headers, pending))
            if waiting is not None:
                await self._patiently(waiting)
        except Exception as error:  # noqa: BLE001 -- the consumer loop's edge: the message is logged and comes again
            _log.exception("the reader of a feed failed", stream=self._feed.stream, subject=message.subject)
            self._break(f"its reader failed: {error!r}")
            return
        self._position = sequence
        if pending == 0 and self._caught_up is not None:
            self._caught_up()

    async def _patiently(self, waiting: Awaitable[None]) -> None:
        self._busy = True
        try:
            await waiting
        finally:
            self._busy = False
            self._heard = time.monotonic()

    async def _on_control(self, message: Msg) -> None:
        headers = message.headers or {}
        with suppress(nats.errors.Error):
            if message.reply:
                await self._nc.publish(message.reply)
            elif stalled := headers.get("Nats-Consumer-Stalled"):
                await self._nc.publish(stalled)
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) != self._delivered:
            self._break(f"deliveries {self._delivered + 1} to {last} are missing")
