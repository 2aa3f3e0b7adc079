"""Server-sent events (WHATWG HTML §9.2): how one is written, and an answer that notices when its reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from astromesh_gateway.progress import Update

KEEPALIVE_SECONDS = 15.0
"""A comment goes out after this much silence, so that proxies keep the connection."""

_ALIVE = b": alive\n\n"
MEDIA_TYPE = "text/event-stream"


def message(update: Update) -> bytes:
    """One message. JSON in one line holds no line break, so `data:` stands once."""
    place = b"" if update.index is None else b"id: %d\n" % update.index
    return b"event: %s\n%sdata: %s\n\n" % (update.name.encode(), place, orjson.dumps(update.data))


class EventStream(Response):
    """Sends chunks as they come, until they end or the reader leaves; closes `stack` in any case."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        stack: AsyncExitStack,
        headers: Mapping[str, str],
        on_leave: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})
        self.raw_headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        self._chunks = chunks
        self._stack = stack
        self._on_leave = on_leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application that an answer is."""
        async with self._stack:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left = asyncio.create_task(_leaving(receive))
            try:
                if await self._stream(send, left):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                elif self._on_leave is not None:
                    self._on_leave()
            finally:
                left.cancel()

    async def _stream(self, send: Send, left: asyncio.Task[None]) -> bool:
        """True where the chunks ended, False where the reader left first."""
        while True:
            chunk = asyncio.ensure_future(anext(self._chunks, None))
            try:
                while not (await asyncio.wait((chunk, left), timeout=KEEPALIVE_SECONDS, return_when="FIRST_COMPLETED"))[
                    0
                ]:
                    await send({"type": "http.response.body", "body": _ALIVE, "more_body": True})
                if not chunk.done():
                    return False
                data = chunk.result()
            finally:
                if not chunk.done():
                    chunk.cancel()
                    await asyncio.wait((chunk,))
            if data is None:
                return True
            await send({"type": "http.response.body", "body": data, "more_body": True})


async def _leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
