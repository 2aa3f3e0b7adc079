"""Reading stored messages without a consumer: from the stream's leader, one by one; from any replica, in batches."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple, Protocol

from astromesh_core.bus.answers import UNSETTLED
from astromesh_core.bus.parsing import Message
from astromesh_core.bus.positions import Position
from astromesh_core.errors import Bug, Unavailable

_BATCH = 512
_NOT_FOUND = 404


class Transport(Protocol):
    """The two ways of asking the server. `BusClient` is the real one; tests put answers in between."""

    async def ask(self, subject: str, payload: bytes = b"", *, headers: bytes = b"", seconds: float = 5.0) -> Message:
        """One request, one reply."""
        ...

    async def collect(self, subject: str, payload: bytes, *, seconds: float = 10.0) -> list[Message]:
        """One request, many replies."""
        ...

    async def online(self) -> None:
        """Waits until the connection stands."""
        ...


class StoredMessage(NamedTuple):
    """A message as the stream holds it."""

    position: Position
    subject: str
    data: bytes


class StreamReader:
    """Reads one stream."""

    def __init__(self, transport: Transport, stream: str) -> None:
        self._transport = transport
        self._leader = f"$JS.API.STREAM.MSG.GET.{stream}"
        self._direct = f"$JS.API.DIRECT.GET.{stream}"
        self._info = f"$JS.API.STREAM.INFO.{stream}"

    async def last(self, subject: str) -> StoredMessage | None:
        """The last message of the subject or filter, as the leader knows it; None where there is none."""
        return await self._from_leader({"last_by_subj": subject})

    async def next(self, subject: str, after: Position) -> StoredMessage | None:
        """The first message of the filter after a position, as the leader knows it; None where there is none."""
        return await self._from_leader({"seq": after.sequence + 1, "next_by_subj": subject})

    async def batch(self, subject: str, after: Position) -> list[StoredMessage]:
        """All messages of the filter after a position, in order, as a replica knows them: it may lag."""
        found: list[StoredMessage] = []
        while True:
            request = {"seq": after.sequence + 1, "next_by_subj": subject, "batch": _BATCH}
            part = [
                _direct(reply) for reply in await self._transport.collect(self._direct, json.dumps(request).encode())
            ]
            found += part
            # A part may be short of the batch because of its bytes: only an empty one is the end.
            if not part:
                return found
            after = part[-1].position

    async def end(self) -> Position:
        """The position of the stream's last message."""
        return Position(int((await self._state())["last_seq"]))

    async def subjects(self, pattern: str) -> set[str]:
        """Every subject of the filter that has a message, by the word of the leader. Of some ten thousand at most."""
        return set((await self._state({"subjects_filter": pattern})).get("subjects") or ())

    async def _state(self, request: dict[str, str] | None = None) -> dict[str, Any]:
        reply = await self._transport.ask(self._info, json.dumps(request).encode() if request else b"")
        info = json.loads(reply.data)
        if "error" in info:
            raise Unavailable(f"the stream is away: {info['error'].get('description')}")
        return info["state"]

    async def _from_leader(self, request: dict[str, str | int]) -> StoredMessage | None:
        reply = await self._transport.ask(self._leader, json.dumps(request).encode())
        answer = json.loads(reply.data)
        if "error" not in answer:
            message = answer["message"]
            data = base64.b64decode(message.get("data", ""))
            return StoredMessage(Position(int(message["seq"])), str(message["subject"]), data)
        error = answer["error"]
        if error.get("code") == _NOT_FOUND and error.get("err_code") not in UNSETTLED:
            return None
        raise Unavailable(f"the log does not answer: {error.get('description')} ({error.get('err_code')})")


def _direct(reply: Message) -> StoredMessage:
    headers = reply.headers or {}
    try:
        return StoredMessage(Position(int(headers["Nats-Sequence"])), headers["Nats-Subject"], reply.data)
    except KeyError as error:
        raise Bug("the server sent a stored message without its place") from error
