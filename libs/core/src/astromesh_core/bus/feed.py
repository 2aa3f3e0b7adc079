"""An ordered feed of a stream: every message once, in order, whatever happens to server, connection or consumer.

Its rules: deliveries of one consumer are numbered; a number that is missing, a heartbeat that does not come, or a new
connection ends that consumer, and another continues after the last message that was delivered. What a message means,
and where to resume after a restart of this process, is the reader's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

import orjson
import structlog
from nats.aio.msg import Msg

from astromesh_core.bus.client import BusClient, Listening
from astromesh_core.errors import AstromeshError, Unavailable

HEARTBEAT_SECONDS = 1.0
"""How often a consumer says that it lives, where nothing else is to be delivered."""

TOLD_SECONDS = 10.0
"""How long it is told that a consumer vanished, though another continues: probes come seldom."""

_SILENT_HEARTBEATS = 2
_DOUBT_SECONDS = 0.2
_INACTIVE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

_PLAIN_TOKENS = 9
_BREATH = 256
_SECOND = 1_000_000_000

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

    `newest_only`: first the last message of every subject, then everything that comes. That the consumer vanished is
    noticed after two heartbeats.
    """

    stream: str
    subjects: Sequence[str] = ()
    after: int = 0
    newest_only: bool = False
    heartbeat_seconds: float = HEARTBEAT_SECONDS


class OrderedFeed:
    """`async with OrderedFeed(...)`: calls `deliver` with every message until it is left.

    `deliver` may answer an awaitable: the feed waits for it, and so does the server (flow control). A message at which
    it raises is logged and delivered again.
    `caught_up` is called when everything that stood in the stream at a (re)start has been delivered.
    """

    def __init__(
        self,
        nc: BusClient,
        feed: Feed,
        deliver: Callable[[Delivered], Awaitable[None] | None],
        caught_up: Callable[[], None] | None = None,
    ) -> None:
        self._nc = nc
        self._feed = feed
        self._deliver = deliver
        self._caught_up = caught_up
        self._position = feed.after
        self._broken = asyncio.Event()
        self._reason = "not started"
        self._listening: Listening | None = None
        self._consumer = ""
        self._delivered = 0
        self._heard = 0.0
        self._vanished = float("-inf")
        self._connections = 0
        self._backlog: deque[Msg] = deque()
        self._draining: asyncio.Task[None] | None = None
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
        """Why nothing is delivered at present; empty while the consumer is heard, and some time after one vanished."""
        if not self._reason and time.monotonic() - self._vanished < TOLD_SECONDS:
            return f"the consumer vanished; {self._consumer} continues"
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

    # -- the consumer --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await self._nc.online()
            try:
                await self._open()
            except AstromeshError as error:
                self._reason = str(error)
                await self._close()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            opened = time.monotonic()
            await self._watch()
            self.restarts += 1
            _log.warning("feed resumes", stream=self._feed.stream, reason=self._reason)
            await self._close()
            # A consumer that ends as soon as it was made must not be made again in a tight loop.
            lasted = time.monotonic() - opened > _LONGEST_PAUSE_SECONDS
            pause = _FIRST_PAUSE_SECONDS if lasted else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause if self._nc.is_connected else 0)

    async def _open(self) -> None:
        self._connections = self._nc.stats["reconnects"]
        self._broken.clear()
        self._delivered = 0
        self._heard = time.monotonic()
        inbox = self._nc.new_inbox()
        name = inbox.rpartition(".")[2]
        self._listening = await self._nc.listen(inbox, self._on_message)
        request = orjson.dumps({"stream_name": self._feed.stream, "config": self._config(name, inbox)})
        reply = orjson.loads((await self._nc.ask(self._create_subject(name), request)).data)
        if "error" in reply:
            raise Unavailable(f"no consumer on {self._feed.stream}: {reply['error'].get('description')}")
        self._consumer = name
        self._reason = ""
        if reply["num_pending"] == 0 and self._delivered == 0 and self._caught_up is not None:
            self._caught_up()

    def _create_subject(self, name: str) -> str:
        subject = f"$JS.API.CONSUMER.CREATE.{self._feed.stream}.{name}"
        return f"{subject}.{self._feed.subjects[0]}" if len(self._feed.subjects) == 1 else subject

    def _config(self, name: str, inbox: str) -> dict[str, object]:
        config: dict[str, object] = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "all",
            "ack_policy": "none",
            "max_deliver": 1,
            "replay_policy": "instant",
            "flow_control": True,
            "idle_heartbeat": int(self._feed.heartbeat_seconds * _SECOND),
            "inactive_threshold": int(_INACTIVE_SECONDS * _SECOND),
            "mem_storage": True,
            "num_replicas": 1,
        }
        if len(self._feed.subjects) == 1:
            config["filter_subject"] = self._feed.subjects[0]
        elif self._feed.subjects:
            config["filter_subjects"] = list(self._feed.subjects)
        if self._position:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._position + 1}
        elif self._feed.newest_only:
            config["deliver_policy"] = "last_per_subject"
        return config

    async def _watch(self) -> None:
        """Returns once the consumer has to be replaced. Sleeps until there is reason for doubt."""
        forget = self._nc.on_loss(lambda: self._break("the connection is lost"))
        try:
            if not self._nc.is_connected or self._nc.stats["reconnects"] != self._connections:
                self._break("the connection was lost meanwhile")
            doubted, begun = False, time.monotonic()
            while not await self._broken_within(_DOUBT_SECONDS if doubted else self._patience()):
                # This process may have been busy: heartbeats that wait behind it are heard while it is doubted.
                now, silent = time.monotonic(), self._patience() <= 0
                busy = now - begun > 2 * _DOUBT_SECONDS
                if silent and doubted and not busy:
                    self._vanished = now
                    self._break("the consumer vanished")
                doubted, begun = silent, now
        finally:
            forget()

    def _patience(self) -> float:
        """For how long nothing need be heard yet."""
        now = time.monotonic()
        if self._draining is not None:
            # The reader is slow, and heartbeats wait behind it.
            self._heard = now
        return self._heard + _SILENT_HEARTBEATS * self._feed.heartbeat_seconds - now

    async def _broken_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._broken.wait()
        return self._broken.is_set()

    def _break(self, reason: str) -> None:
        if not self._broken.is_set():
            self._reason = reason
            self._broken.set()

    async def _close(self) -> None:
        # Without interest in its subject the server removes the consumer by itself.
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self._backlog.clear()
        if self._draining is not None:
            self._draining.cancel()
            with suppress(asyncio.CancelledError):
                await self._draining
            self._draining = None

    # -- its messages --------------------------------------------------------------------------------------------------

    def _on_message(self, message: Msg) -> None:
        self._heard = time.monotonic()
        if self._draining is not None:
            self._backlog.append(message)
            return
        waiting = self._handle(message)
        if waiting is not None:
            self._draining = asyncio.create_task(self._drain(waiting), name=f"reader of {self._feed.stream}")

    async def _drain(self, waiting: Awaitable[None] | None) -> None:
        """Waits for the reader, then works off what came meanwhile."""
        handled = 0
        while True:
            if waiting is not None:
                await waiting
            if not self._backlog:
                self._draining = None
                return
            handled += 1
            if handled % _BREATH == 0:
                await asyncio.sleep(0)
            waiting = self._handle(self._backlog.popleft())

    def _handle(self, message: Msg) -> Awaitable[None] | None:
        if self._broken.is_set():
            return None
        tokens = message.reply.split(".")
        if tokens[0] != "$JS" or tokens[1] != "ACK":
            self._on_control(message)
            return None
        # $JS.ACK.stream.consumer.deliveries.SEQUENCE.NUMBER.time.PENDING; where the server has domains, with domain and
        # account before the stream and a random token at the end.
        first = 5 if len(tokens) == _PLAIN_TOKENS else 7
        sequence, number, pending = int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])
        if number != self._delivered + 1:
            self._break(f"delivery {self._delivered + 1} is missing")
            return None
        self._delivered = number
        return self._hand_over(Delivered(sequence, message.subject, message.data, message.headers, pending))

    def _hand_over(self, message: Delivered) -> Awaitable[None] | None:
        try:
            waiting = self._deliver(message)
        except Exception as error:  # noqa: BLE001 - the consumer loop's edge: the message is logged and comes again
            self._reader_failed(error)
            return None
        if waiting is not None:
            return self._patiently(waiting, message)
        self._done(message)
        return None

    async def _patiently(self, waiting: Awaitable[None], message: Delivered) -> None:
        try:
            await waiting
        except Exception as error:  # noqa: BLE001 - the consumer loop's edge: the message is logged and comes again
            self._reader_failed(error)
        else:
            self._done(message)

    def _done(self, message: Delivered) -> None:
        self._position = message.sequence
        if message.pending == 0 and self._caught_up is not None:
            self._caught_up()

    def _reader_failed(self, error: Exception) -> None:
        _log.error("the reader of a feed failed", stream=self._feed.stream, after=self._position, exc_info=error)
        self._break(f"its reader failed: {error!r}")

    def _on_control(self, message: Msg) -> None:
        headers = message.headers or {}
        answer = message.reply or headers.get("Nats-Consumer-Stalled")
        if answer:
            self._nc.send(answer, b"")
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) != self._delivered:
            self._break(f"deliveries {self._delivered + 1} to {last} are missing")
