"""The object store: values named by the SHA-256 of their bytes, written once, in chunks that any server admits."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from google.protobuf.message import Message as ProtoMessage

from astromesh.v1.values_pb2 import Content, StoredValue
from astromesh_core.bus.answers import Answer, Full, Refused, Stored, Unsettled, WrongLast, read_answer
from astromesh_core.bus.log import StoreFull
from astromesh_core.bus.parsing import STATUS
from astromesh_core.bus.reading import StreamReader, Transport
from astromesh_core.bus.streams import VALUES
from astromesh_core.bus.subjects import value_subject
from astromesh_core.errors import InvalidInput, NotFound, TimedOut, Unavailable
from astromesh_core.events.contents import iter_contents

CHUNK_BYTES = 512 << 10
"""Below the one megabyte that a server admits by default. It stands in no message: changing it orphans every value."""

_AT_ONCE = 8
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.03
# The first message on a subject is the only one: a second is the same chunk again, for the subject names its hash.
_WRITE_ONCE = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 0\r\n\r\n"


class ValueStore:
    """Puts and gets values of any size. Content addressed: putting twice changes nothing, and a read is verified."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._reader = StreamReader(transport, VALUES)

    async def put(self, data: bytes) -> StoredValue:
        """Stores the bytes and returns when they are on disk. Raises StoreFull, Unavailable, Denied."""
        digest = hashlib.sha256(data)
        chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)] or [b""]
        for first in range(0, len(chunks), _AT_ONCE):
            part = chunks[first : first + _AT_ONCE]
            await asyncio.gather(
                *(self._put(value_subject(digest.hexdigest(), first + n), chunk) for n, chunk in enumerate(part))
            )
        return StoredValue(sha256=digest.digest(), size_bytes=len(data))

    async def get(self, value: StoredValue) -> bytes:
        """The bytes. Raises NotFound where they are not, or not whole, in the store; Unavailable, TimedOut."""
        name = value.sha256.hex()
        count = max(1, -(-value.size_bytes // CHUNK_BYTES))
        chunks: list[bytes] = []
        for first in range(0, count, _AT_ONCE):
            numbers = range(first, min(count, first + _AT_ONCE))
            chunks += await asyncio.gather(*(self._get(value_subject(name, number)) for number in numbers))
        data = b"".join(chunks)
        if hashlib.sha256(data).digest() != value.sha256:
            raise NotFound(f"the object store holds other bytes than its name says: {name}")
        return data

    async def resolve(self, content: Content) -> Content:
        """The content itself, fetched where it lies in the store. Raises like `get`."""
        if not content.HasField("stored"):
            return content
        return Content.FromString(await self.get(content.stored))

    async def resolve_all(self, message: ProtoMessage) -> None:
        """Fetches every stored Content in the message, in place. Raises like `get`; the message is then unchanged."""
        stored = [content for content in iter_contents(message) if content.HasField("stored")]
        fetched: Sequence[Content] = await asyncio.gather(*(self.resolve(content) for content in stored))
        for content, found in zip(stored, fetched, strict=True):
            content.CopyFrom(found)

    async def _put(self, subject: str, chunk: bytes) -> None:
        reason = ""
        for attempt in range(_ATTEMPTS):
            match await self._publish(subject, chunk):
                case Stored() | WrongLast():
                    return
                case Full(reason):
                    raise StoreFull(f"the object store is full: {reason}", retry_after=5.0)
                case Refused(_, reason):
                    raise InvalidInput(f"the object store refuses the value: {reason}")
                case Unsettled(reason):
                    await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
        raise Unavailable(f"the object store does not answer: {reason}")

    async def _publish(self, subject: str, chunk: bytes) -> Answer:
        try:
            return read_answer(await self._transport.ask(subject, chunk, headers=_WRITE_ONCE))
        except (TimedOut, Unavailable) as error:
            return Unsettled(error.message)

    async def _get(self, subject: str) -> bytes:
        reply = await self._transport.ask(f"$JS.API.DIRECT.GET.{VALUES}.{subject}")
        if STATUS not in (reply.headers or {}):
            return reply.data
        # The replica that answered may lag behind the leader.
        message = await self._reader.last(subject)
        if message is None:
            raise NotFound(f"the object store does not hold {subject}")
        return message.data
