"""Keys and values with compare-and-set, on streams named `KV_…`. What the values mean stands in the stores.

Not nats-py's KeyValue: it cannot renew a key's TTL, its `create` fails where a key has expired, and its watcher resumes
seconds late. A key whose newest message is empty is deleted.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from astromesh_core.bus.answers import Stored, WrongLast, read_answer
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader, Transport
from astromesh_core.bus.streams import bucket_stream
from astromesh_core.errors import Conflict, Unavailable


class Entry(NamedTuple):
    """A key's newest value. The revision grows with every write to the bucket."""

    key: str
    value: bytes
    revision: int


class Bucket:
    """One KV bucket."""

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport = transport
        self._name = name
        self._reader = StreamReader(transport, bucket_stream(name))
        self._prefix = f"$KV.{name}."

    @property
    def stream(self) -> str:
        """The stream that holds the bucket."""
        return bucket_stream(self._name)

    def subject(self, key: str) -> str:
        """The subject of a key, or of a pattern of keys."""
        return self._prefix + key

    def key(self, subject: str) -> str:
        """The key of a subject."""
        return subject.removeprefix(self._prefix)

    async def newest(self, key: str) -> Entry | None:
        """The key's newest value, by the word of the leader; None where it was never written or has expired.

        A deleted key answers an empty value, with the revision that the next put has to expect.
        """
        stored = await self._reader.last(self.subject(key))
        return Entry(key, stored.data, stored.position.sequence) if stored else None

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, ttl: int | None = None, seconds: float = 5.0
    ) -> int:
        """Stores the value and answers its revision.

        `expected` is the revision that must be the key's newest (0: nothing stands there); `ttl` counts seconds. Raises
        Conflict where another write came first; after TimedOut or Unavailable it may have been stored or not.
        """
        return await self._publish(key, value, _headers(expected, ttl), seconds)

    async def delete(self, key: str, *, expected: int | None = None) -> int:
        """Puts a marker in the key's place, of which watchers hear."""
        return await self._publish(key, b"", _headers(expected, None, "KV-Operation: DEL"), 5.0)

    async def entries(self, pattern: str) -> list[Entry]:
        """The newest value of every key that matches, in order of writing."""
        newest: dict[str, Entry] = {}
        for stored in await self._reader.batch(self.subject(pattern), Position.START):
            key = self.key(stored.subject)
            newest.pop(key, None)
            if stored.data:
                newest[key] = Entry(key, stored.data, stored.position.sequence)
        return list(newest.values())

    async def keys(self) -> set[str]:
        """Every key that stands now, by the word of the leader. Of a small bucket: it is one answer."""
        request = json.dumps({"subjects_filter": self.subject(">")}).encode()
        reply = json.loads((await self._transport.ask(f"$JS.API.STREAM.INFO.{self.stream}", request)).data)
        if "error" in reply:
            raise Unavailable(f"{self._name} is away: {reply['error'].get('description')}")
        return {self.key(subject) for subject in reply["state"].get("subjects") or ()}

    async def _publish(self, key: str, value: bytes, headers: bytes, seconds: float) -> int:
        reply = await self._transport.ask(self.subject(key), value, headers=headers, seconds=seconds)
        answer = read_answer(reply)
        if isinstance(answer, Stored):
            return answer.sequence
        if isinstance(answer, WrongLast):
            raise Conflict(f"{self._name}/{key}: another write came first")
        raise Unavailable(f"{self._name}/{key}: {answer.reason}")


def _headers(expected: int | None, ttl: int | None, *lines: str) -> bytes:
    block = list(lines)
    if expected is not None:
        block.append(f"Nats-Expected-Last-Subject-Sequence: {expected}")
    if ttl is not None:
        block.append(f"Nats-TTL: {ttl}s")
    return "\r\n".join(("NATS/1.0", *block, "", "")).encode() if block else b""
