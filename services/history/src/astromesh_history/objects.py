"""The second copy of values that the log holds by hash: found in events, fetched once, read back from the file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Protocol

from google.protobuf.message import Message

from astromesh.v1.values_pb2 import Content, StoredValue
from astromesh_core.errors import NotFound, TemporaryError
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import iter_contents, iter_stored, may_hold_stored
from astromesh_core.telemetry.logs import logger
from astromesh_history.database import Database

_RETRY_SECONDS = 0.5

_log = logger(__name__)


class Values(Protocol):
    """The object store of the bus."""

    async def get(self, value: StoredValue) -> bytes:
        """The bytes, verified. Raises NotFound, or a TemporaryError."""
        ...


class Objects:
    """Copies stored values, and puts them back where they belong."""

    def __init__(self, database: Database, values: Values) -> None:
        self._database = database
        self._values = values

    async def fetch(self, value: StoredValue) -> bytes:
        """The bytes of a value, from the object store. Waits for as long as it is away. Raises NotFound."""
        while True:
            try:
                return await self._values.get(value)
            except TemporaryError as error:
                _log.warning("the object store is away, history waits", reason=error.message)
                await asyncio.sleep(_RETRY_SECONDS)

    async def read(self, content: Content) -> Content:
        """The content itself. Raises NotFound where no copy is held."""
        if not content.HasField("stored"):
            return content
        sha256 = content.stored.sha256
        data = await self.held(sha256)
        if data is None:
            raise NotFound(f"the value {sha256.hex()} is neither in the read model nor in the object store")
        return Content.FromString(data)

    async def held(self, sha256: bytes) -> bytes | None:
        """The bytes of a copy; None where none is held."""
        return await self._database.call(_object, sha256)

    async def read_all(self, message: Message) -> None:
        """Puts every stored content of the message in its place; one of which no copy is held stays a reference."""
        for content in [content for content in iter_contents(message) if content.HasField("stored")]:
            try:
                content.CopyFrom(await self.read(content))
            except NotFound as error:
                _log.warning("a content cannot be shown", reason=error.message)


def stored_values(event: StoredEvent) -> list[StoredValue]:
    """The values that an event refers to by hash."""
    if not may_hold_stored(event.data):
        return []
    return [*iter_stored(event.envelope)]


def _object(connection: sqlite3.Connection, sha256: bytes) -> bytes | None:
    found: Sequence[bytes] | None = connection.execute(
        "SELECT data FROM objects WHERE sha256 = ?", (sha256,)
    ).fetchone()
    return None if found is None else found[0]
