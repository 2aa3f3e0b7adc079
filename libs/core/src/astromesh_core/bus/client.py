"""nats-py's client with what the hot paths need: sending without awaiting, and replies without a task each.

nats-py gives every publish a queue entry and every reply a hop through a subscription's task: 65 µs an append. Here a
frame is put into its buffer at once, and a reply reaches its future from the read loop: 33 µs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from astromesh_core.errors import Denied, InvalidInput, TimedOut, Unavailable

Message = Msg
"""A message of the server, for those who may not name nats-py."""
OnMessage = Callable[[Msg], None]

NO_RESPONDERS = "503"
STATUS: Final = "Status"

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


class _Sink(asyncio.Future[Msg]):
    """Takes the place of the future of a one-reply subscription, to get each message at once."""

    def __init__(self, on_message: OnMessage) -> None:
        super().__init__()
        self._on_message = on_message

    def set_result(self, result: Msg) -> None:
        try:
            self._on_message(result)
        except Exception as error:  # noqa: BLE001 -- the consumer loop's edge: raising here would end all reading
            self.get_loop().call_exception_handler(
                {"message": "a bus subscription's callback raised", "exception": error}
            )


class _Ask:
    """A question under way, until its answer, its time limit, or the connection's loss."""

    __slots__ = ("answer", "messages", "subject")

    def __init__(self, subject: str, answer: asyncio.Future[Msg], messages: list[Msg] | None = None) -> None:
        self.subject = subject
        self.answer = answer
        self.messages = messages

    def hear(self, message: Msg) -> bool:
        """Takes a reply; True once it was the last."""
        if self.messages is not None and not _ends_batch(message):
            self.messages.append(message)
            return False
        if not self.answer.done():
            self.answer.set_result(message)
        return True

    def expire(self, seconds: float) -> None:
        self.fail(TimedOut(f"no answer from {self.subject} within {seconds:g} s"))

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class BusClient(Client):
    """One connection. `connection.connect` makes it; nothing outside core.bus sees it."""

    def __init__(self) -> None:
        super().__init__()
        self._asks: dict[str, _Ask] = {}
        self._asked = 0
        self._inbox = ""
        self._kick: asyncio.Future[None] | None = None
        self._online = asyncio.Event()
        self._reconnect_listeners: dict[int, Callable[[], None]] = {}
        self._listeners_added = 0

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Readies the inbox of `ask`. Called once, after connecting."""
        self._kick = asyncio.get_running_loop().create_future()
        self._kick.set_result(None)
        self._inbox = f"{self.new_inbox()}."
        await self.listen(f"{self._inbox}*", self._hear_answer)
        self._online.set()

    async def lost(self) -> None:
        """The connection broke: what is under way has no answer, though it may have been done."""
        self._online.clear()
        for ask in self._asks.values():
            ask.fail(Unavailable("the connection to the bus broke"))
        self._asks.clear()

    async def restored(self) -> None:
        """The connection is back, and subscriptions with it; messages in between are lost."""
        self._online.set()
        for listener in list(self._reconnect_listeners.values()):
            listener()

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

    def on_reconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener after each reconnect, until the returned function is called."""
        self._listeners_added += 1
        key = self._listeners_added
        self._reconnect_listeners[key] = listener

        def forget() -> None:
            self._reconnect_listeners.pop(key, None)

        return forget

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

    async def ask(self, subject: str, payload: bytes = b"", *, headers: bytes = b"", seconds: float = 5.0) -> Msg:
        """Sends a request and waits for its reply.

        Raises TimedOut or Unavailable without an answer (it may have been done), Denied where the server refuses the
        subject, InvalidInput where the message is too large.
        """
        reply = await self._ask(subject, payload, headers, seconds, None)
        if reply.headers is not None and reply.headers.get(STATUS) == NO_RESPONDERS:
            raise Unavailable(f"nobody answers at {subject}")
        return reply

    async def collect(self, subject: str, payload: bytes, *, seconds: float = 10.0) -> list[Msg]:
        """Sends a request that many messages answer, the last one without content. Raises like `ask`."""
        messages: list[Msg] = []
        await self._ask(subject, payload, b"", seconds, messages)
        return messages

    async def listen(self, subject: str, on_message: OnMessage) -> Listening:
        """Calls `on_message` from the read loop for each message from now on, also after reconnects."""
        try:
            # Only the type of `future` is left open by nats-py.
            subscription = await self.subscribe(subject, future=_Sink(on_message))  # pyright: ignore[reportUnknownMemberType] -- see above
        except nats.errors.Error as error:
            raise Unavailable(f"cannot subscribe: {error}") from error
        return Listening(self, subscription._id)  # pyright: ignore[reportPrivateUsage] -- its own name for the server

    def stop_listening(self, sid: int) -> None:
        """Ends the subscription. Idempotent."""
        if self._subs.pop(sid, None) is not None and self._online.is_set() and not self.is_closed:
            self._enqueue(f"UNSUB {sid}\r\n".encode())

    async def _ask(
        self, subject: str, payload: bytes, headers: bytes, seconds: float, messages: list[Msg] | None
    ) -> Msg:
        if len(payload) + len(headers) > self.max_payload:
            raise InvalidInput(f"a message of {len(payload)} bytes is over the bus's limit of {self.max_payload}")
        loop = asyncio.get_running_loop()
        self._asked += 1
        token = str(self._asked)
        ask = self._asks[token] = _Ask(subject, loop.create_future(), messages)
        limit = loop.call_later(seconds, ask.expire, seconds)
        try:
            if not self.send(subject, payload, reply=self._inbox + token, headers=headers):
                raise Unavailable("the connection to the bus is away")
            return await ask.answer
        finally:
            limit.cancel()
            self._asks.pop(token, None)

    def _hear_answer(self, message: Msg) -> None:
        token = message.subject[len(self._inbox) :]
        ask = self._asks.get(token)
        if ask is not None and ask.hear(message):
            self._asks.pop(token, None)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # nats-py looks at every character of every name, which costs more than the rest of a message.
        headers: dict[str, str] = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, separator, value = line.partition(":")
            if separator:
                headers[name.strip()] = value.strip()
        return headers

    def _enqueue(self, frame: bytes) -> None:
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        if self._flush_queue is not None and self._kick is not None and self._flush_queue.empty():
            # The flusher resolves a future per entry; one that is resolved already serves them all.
            self._flush_queue.put_nowait(self._kick)


def _ends_batch(message: Msg) -> bool:
    return not message.data and message.headers is not None and message.headers.get(STATUS, "") in _END_OF_BATCH
