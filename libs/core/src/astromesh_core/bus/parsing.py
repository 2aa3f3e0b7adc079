"""Reading what the server sends: whole messages at once. What is no message, and what is malformed, is left to nats-py.

MSG <subject> <sid> [reply] <bytes>␍␊<payload>␍␊          HMSG <subject> <sid> [reply] <header bytes> <bytes>␍␊…
Source: NATS client protocol, https://docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

STATUS = "Status"

_LINE_END = b"\r\n"
_VERSION = "NATS/1.0"
_LONGEST_LINE = 64 << 10
_MESSAGE_FIELDS = (4, 5)
_HEADED_FIELDS = (5, 6)


class Message(Msg):
    """A message of the server, its headers read when somebody asks: few ever do, and reading costs as much as the
    rest."""

    def __init__(
        self, client: Client, subject: str = "", reply: str = "", data: bytes = b"", head: bytes = b""
    ) -> None:
        """`head` is the header block as it came; empty for none."""
        # Not the parent's, which sets the headers.
        self._client = client
        self.subject = subject
        self.reply = reply
        self.data = data
        self._head = head
        self._read: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str] | None:  # pyright: ignore[reportIncompatibleVariableOverride] - ours are never written
        """The headers by name, `Status` among them where the first line holds one; None for a message without any."""
        if self._read is None and self._head:
            self._read = _headers(self._head)
        return self._read


Deliver = Callable[[int, bytes, bytes, bytes, bytes], Awaitable[None] | None]
"""Takes a message: subscription, subject, reply, payload, header block. Answers what is to be awaited, if anything."""


class MessageParser(Parser):
    """nats-py's parser with a short way for messages: it tries four patterns on each and copies it thrice."""

    def __init__(self, client: Client, deliver: Deliver) -> None:
        super().__init__(client)  # pyright: ignore[reportUnknownMemberType] - its argument has no type
        self._deliver = deliver

    def reset(self) -> None:
        """Forgets what came in part: the connection is new."""
        super().reset()
        self._rest = bytearray()
        self._wanted = 0

    async def parse(self, data: bytes = b"") -> None:
        """Delivers every message that these bytes complete. Raises nats-py's ProtocolError."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
        at = await self._parse_from(data)
        self._rest = bytearray(data[at:])

    async def _parse_from(self, data: bytes) -> int:
        """Answers where the part begins that is not whole yet."""
        at, size = 0, len(data)
        self._wanted = 0
        while at < size:
            end = data.find(_LINE_END, at)
            if end < 0:
                if size - at > _LONGEST_LINE:
                    raise ProtocolError
                break
            kind = data[at]
            if kind in b"MmHh":
                stop = self._message(data, at, end)
                if isinstance(stop, int):
                    self._wanted = stop - at
                    break
                waiting, at = stop
                if waiting is not None:
                    await waiting
            else:
                await super().parse(data[at : end + 2])
                at = end + 2
        return at

    def _message(self, data: bytes, at: int, end: int) -> int | tuple[Awaitable[None] | None, int]:
        """Delivers the message at `at`; answers what to await and where the next one begins, or where this one will
        end."""
        fields = data[at:end].split()
        headed = data[at] in b"Hh"
        if len(fields) not in (_HEADED_FIELDS if headed else _MESSAGE_FIELDS):
            raise ProtocolError
        try:
            sid, needed = int(fields[2]), int(fields[-1])
            head = int(fields[-2]) if headed else 0
        except ValueError as error:
            raise ProtocolError from error
        reply = fields[3] if len(fields) == (6 if headed else 5) else b""
        begin = end + 2
        stop = begin + needed
        if stop + 2 > len(data):
            return stop + 2
        payload = data[begin + head : stop]
        return self._deliver(sid, fields[1], reply, payload, data[begin : begin + head]), stop + 2


def _headers(block: bytes) -> dict[str, str]:
    first, *lines = block.decode("utf-8", "replace").split("\r\n")
    headers: dict[str, str] = {}
    status, _, description = first.removeprefix(_VERSION).strip().partition(" ")
    if status.isdigit():
        headers[STATUS] = status
    if description:
        headers["Description"] = description
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip()] = value.strip()
    return headers
