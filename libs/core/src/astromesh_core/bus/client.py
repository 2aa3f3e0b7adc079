"""nats-py's client with what the hot paths need: sending without awaiting, and replies without a task each.

nats-py gives every publish a queue entry and every reply a hop through a subscription's task: 65 µs an append. Here a
frame is put into its buffer at once, and a reply reaches its future from the read loop: 33 µs. `parsing` reads.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable

import nats.errors
import structlog
from nats.aio.client import Client

from astromesh_core.bus.parsing import STATUS, Message, MessageParser
from astromesh_core.errors import Denied, InvalidInput, TimedOut, Unavailable

OnMessage = Callable[[Message], None]

NO_RESPONDERS = "503"

_SEND_BUFFER_BYTES = 16 << 20
_VIOLATION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE)
_END_OF_BATCH = ("204", "404", "408", "413")

_log = structlog.get_logger(__name__)


class Listening:
    """A subscription whose callback runs in the read loop: it must be quick, and it must not raise."""

    def __init__(self, client: BusClient, sid: int) -> None:
        self._client = client
        self._sid = sid

    def close(self) -> None:
        """Hears nothing more. Idempotent."""
        self._client.stop_listening(self._sid)


class _Sink(asyncio.Future[Message]):
    """Stands where a one-reply subscription has its future, so that nats-py starts no task for it: `_deliver` asks it
    whom to call."""

    def __init__(self, on_message: OnMessage) -> None:
        super().__init__()
        self.on_message = on_message


class _Ask:
    """A question under way, until its answer, its time limit, or the connection's loss."""

    __slots__ = ("answer", "messages", "seconds", "subject", "until")

    def __init__(self, subject: str, answer: asyncio.Future[Message], messages: list[Message] | None = None) -> None:
        self.subject = subject
        self.answer = answer
        self.messages = messages
        self.seconds = self.until = 0.0

    def hear(self, message: Message) -> bool:
        """Takes a reply; True once it was the last."""
        if self.messages is not None and not _ends_batch(message):
            self.messages.append(message)
            return False
        if not self.answer.done():
            self.answer.set_result(message)
        return True

    def expire(self) -> None:
        self.fail(TimedOut(f"no answer from {self.subject} within {self.seconds:g} s"))

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _TimeLimits:
    """Ends asks when their time is up. Asks with the same limit end in the order in which they began, so that one timer
    serves them all: a timer for each would cost a tenth of an append."""

    def __init__(self) -> None:
        self._under_way: dict[float, deque[_Ask]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def watch(self, ask: _Ask, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ask.seconds, ask.until = seconds, loop.time() + seconds
        self._under_way.setdefault(seconds, deque()).append(ask)
        if seconds not in self._timers:
            self._timers[seconds] = loop.call_at(ask.until, self._ring, seconds)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._under_way.clear()

    def _ring(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        asks, now = self._under_way[seconds], loop.time()
        while asks and (asks[0].answer.done() or asks[0].until <= now):
            ask = asks.popleft()
            if not ask.answer.done():
                ask.expire()
        if asks:
            self._timers[seconds] = loop.call_at(asks[0].until, self._ring, seconds)
        else:
            del self._timers[seconds], self._under_way[seconds]


class _Listeners:
    """Whom to tell of something, in the order in which they asked."""

    def __init__(self) -> None:
        self._standing: dict[int, Callable[[], None]] = {}
        self._added = 0

    def add(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._added += 1
        key = self._added
        self._standing[key] = listener

        def forget() -> None:
            self._standing.pop(key, None)

        return forget

    def call(self) -> None:
        for listener in list(self._standing.values()):
            listener()


class BusClient(Client):
    """One connection. `connection.connect` makes it; nothing outside core.bus sees it."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = MessageParser(self, self._deliver)
        self._limits = _TimeLimits()
        self._asks: dict[str, _Ask] = {}
        self._asked = 0
        self._inbox = ""
        self._kick: asyncio.Future[None] | None = None
        self._online = asyncio.Event()
        self._loss_listeners = _Listeners()
        self._reconnect_listeners = _Listeners()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Readies the inbox of `ask`. Called once, after connecting."""
        self._kick = asyncio.get_running_loop().create_future()
        self._kick.set_result(None)
        self._inbox = f"{self.new_inbox()}."
        await self.listen(f"{self._inbox}*", self._hear_answer)
        self._online.set()

    async def close(self) -> None:
        """Ends the connection. Idempotent."""
        self._limits.close()
        await super().close()

    async def lost(self) -> None:
        """The connection broke: what is under way has no answer, though it may have been done."""
        self._online.clear()
        for ask in self._asks.values():
            ask.fail(Unavailable("the connection to the bus broke"))
        self._asks.clear()
        self._loss_listeners.call()

    async def restored(self) -> None:
        """The connection is back, and subscriptions with it; messages in between are lost."""
        self._online.set()
        self._reconnect_listeners.call()

    async def note_error(self, error: Exception) -> None:
        """What the server or the socket reported outside any reply."""
        if isinstance(error, nats.errors.SlowConsumerError):
            _log.error("a bus subscription is too slow and lost a message", subject=error.subject)
        violation = _VIOLATION.search(str(error))
        if violation is None:
            return
        kind, subject = violation.groups()
        _log.error("the bus refused a subject", kind=kind, subject=subject)
        for token, ask in list(self._asks.items()):
            if kind == "publish" and ask.subject.lower() == subject.lower():
                del self._asks[token]
                ask.fail(Denied(f"this service may not publish to {ask.subject}"))

    def on_loss(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener whenever the connection is lost, until the returned function is called."""
        return self._loss_listeners.add(listener)

    def on_reconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener after each reconnect, until the returned function is called."""
        return self._reconnect_listeners.add(listener)

    async def online(self) -> None:
        """Waits until the connection stands."""
        await self._online.wait()

    @property
    def subscriptions(self) -> int:
        """How many there are, that of `ask` included."""
        return len(self._subs)

    # -- traffic -------------------------------------------------------------------------------------------------------

    def send(self, subject: str, payload: bytes, *, reply: str = "", headers: bytes = b"") -> bool:
        """Puts a message into the send buffer, in order. False where it was dropped: connection away, buffer full.

        `headers` is a whole header block. The caller has checked that the subject is one.
        """
        if not self._online.is_set() or self._pending_data_size > _SEND_BUFFER_BYTES:
            return False
        size = len(payload)
        if headers:
            line = f"HPUB {subject} {reply} {len(headers)} {len(headers) + size}\r\n"
        else:
            line = f"PUB {subject} {reply} {size}\r\n"
        self._enqueue(b"".join((line.encode(), headers, payload, b"\r\n")))
        return True

    async def ask(self, subject: str, payload: bytes = b"", *, headers: bytes = b"", seconds: float = 5.0) -> Message:
        """Sends a request and waits for its reply.

        Raises TimedOut or Unavailable without an answer (it may have been done), Denied where the server refuses the
        subject, InvalidInput where the message is too large.
        """
        reply = await self._ask(subject, payload, headers, seconds, None)
        if reply.headers is not None and reply.headers.get(STATUS) == NO_RESPONDERS:
            raise Unavailable(f"nobody answers at {subject}")
        return reply

    async def collect(self, subject: str, payload: bytes, *, seconds: float = 10.0) -> list[Message]:
        """Sends a request that many messages answer, the last one without content. Raises like `ask`."""
        messages: list[Message] = []
        await self._ask(subject, payload, b"", seconds, messages)
        return messages

    async def listen(self, subject: str, on_message: OnMessage) -> Listening:
        """Calls `on_message` from the read loop for each message from now on, also after reconnects."""
        try:
            # Only the type of `future` is left open by nats-py.
            subscription = await self.subscribe(subject, future=_Sink(on_message))  # pyright: ignore[reportUnknownMemberType] - see above
        except nats.errors.Error as error:
            raise Unavailable(f"cannot subscribe: {error}") from error
        return Listening(self, subscription._id)  # pyright: ignore[reportPrivateUsage] - its own name for the server

    def stop_listening(self, sid: int) -> None:
        """Ends the subscription. Idempotent."""
        if self._subs.pop(sid, None) is not None and self._online.is_set() and not self.is_closed:
            self._enqueue(f"UNSUB {sid}\r\n".encode())

    async def _ask(
        self, subject: str, payload: bytes, headers: bytes, seconds: float, messages: list[Message] | None
    ) -> Message:
        if len(payload) + len(headers) > self.max_payload:
            raise InvalidInput(f"a message of {len(payload)} bytes is over the bus's limit of {self.max_payload}")
        self._asked += 1
        token = str(self._asked)
        ask = self._asks[token] = _Ask(subject, asyncio.get_running_loop().create_future(), messages)
        self._limits.watch(ask, seconds)
        try:
            if not self.send(subject, payload, reply=self._inbox + token, headers=headers):
                raise Unavailable("the connection to the bus is away")
            return await ask.answer
        finally:
            self._asks.pop(token, None)

    def _hear_answer(self, message: Message) -> None:
        token = message.subject[len(self._inbox) :]
        ask = self._asks.get(token)
        if ask is not None and ask.hear(message):
            self._asks.pop(token, None)

    def _deliver(self, sid: int, subject: bytes, reply: bytes, data: bytes, head: bytes) -> Awaitable[None] | None:
        subscription = self._subs.get(sid)
        sink: object = getattr(subscription, "_future", None)
        if not isinstance(sink, _Sink):
            return self._process_msg(sid, subject, reply, data, head)
        try:
            sink.on_message(Message(self, subject.decode(), reply.decode(), data, head))
        except Exception as error:  # noqa: BLE001 - the consumer loop's edge: raising here would end all reading
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a bus subscription's callback raised", "exception": error}
            )
        return None

    def _enqueue(self, frame: bytes) -> None:
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        if self._flush_queue is not None and self._kick is not None and self._flush_queue.empty():
            # The flusher resolves a future per entry; one that is resolved already serves them all.
            self._flush_queue.put_nowait(self._kick)


def _ends_batch(message: Message) -> bool:
    return not message.data and message.headers is not None and message.headers.get(STATUS, "") in _END_OF_BATCH
