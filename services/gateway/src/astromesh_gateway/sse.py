"""Server-sent events (WHATWG HTML §9.2): how one is written, and an answer that notices when its reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Literal

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from astromesh_gateway.progress import Update

KEEPALIVE_SECONDS = 15.0
"""A comment goes out after this much silence, so that proxies keep the connection."""

Stopping = asyncio.Task[None] | asyncio.Task[Literal[True]]
"""What ends a stream before its chunks do."""

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
        draining: asyncio.Event | None = None,
    ) -> None:
        """`on_leave` is called where the reader leaves first; `draining`, set, ends a stream that can be resumed."""
        super().__init__(None, 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})
        self.raw_headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        self._chunks = chunks
        self._stack = stack
        self._on_leave = on_leave
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application that an answer is."""
        async with self._stack:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left = asyncio.create_task(_leaving(receive))
            stopping = {asyncio.create_task(self._draining.wait())} if self._draining is not None else set[Stopping]()
            try:
                await self._stream(send, {left, *stopping})
                if not left.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                elif self._on_leave is not None:
                    self._on_leave()
            finally:
                for task in (left, *stopping):
                    task.cancel()

    async def _stream(self, send: Send, stopping: set[Stopping]) -> None:
        """Sends until the chunks end, or one of these is done."""
        data: bytes | None = b""
        while data is not None:
            chunk = asyncio.ensure_future(anext(self._chunks, None))
            waiting = {chunk, *stopping}
            try:
                while not (await asyncio.wait(waiting, timeout=KEEPALIVE_SECONDS, return_when="FIRST_COMPLETED"))[0]:
                    await send({"type": "http.response.body", "body": _ALIVE, "more_body": True})
                if not chunk.done():
                    return
                data = chunk.result()
            finally:
                if not chunk.done():
                    chunk.cancel()
                    await asyncio.wait((chunk,))
            if data is not None:
                await send({"type": "http.response.body", "body": data, "more_body": True})


async def _leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
