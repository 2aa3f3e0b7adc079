"""The SDK's HTTP requests, sent as all of ours are: to the very address that was judged, with bounds.

What became of each message is noted in the `Sending` of whoever sent it: the SDK tells of a request that never left and
of one whose answer was lost in the same words, and they are not the same. A POST that fails fails alone: to the SDK it
is answered with 503, for an exception would end the connection with all that is under way on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import aiohttp
import httpx2
from yarl import URL

from astromesh_core.errors import AstromeshError, TimedOut, Unavailable
from astromesh_core.outbound import Outbound, check_target

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one answer, or one event of a stream."""

ASIDE_SECONDS: Final = 5.0
"""For what nobody waits for: a notification, the end of a session. A server that does not take it holds nobody up."""

EVENTS: Final = "text/event-stream"
_NOT_PASSED_ON: Final = frozenset(("host", "content-length", "accept-encoding", "connection", "user-agent"))
_NOT_PASSED_BACK: Final = frozenset((b"content-encoding", b"content-length", b"transfer-encoding", b"connection"))
_BROKEN: Final = 503


@dataclass(slots=True)
class Sending:
    """What became of a message on its way, as far as HTTP tells."""

    repeatable: bool = True
    """It may be sent once more where a kept connection breaks; else it goes out on one of its own."""
    status: int = 0
    """Of the answer; 0: there was none, or there is no HTTP."""
    media_type: str = ""
    unsent: AstromeshError | None = None
    """Why nothing reached the server."""
    refused: asyncio.Future[None] | None = None
    """Done where no answer will come: over SSE it comes apart from that to the request, which was not taken."""

    @property
    def is_refused(self) -> bool:
        """Whether that is so."""
        return self.refused is not None and self.refused.done() and not self.refused.cancelled()

    def refuse(self) -> None:
        """Tells that no answer will come."""
        if self.refused is not None and not self.refused.done():
            self.refused.set_result(None)


SENDING: ContextVar[Sending | None] = ContextVar("sending", default=None)


class OutboundTransport(httpx2.AsyncBaseTransport):
    """Carries requests of one connection with a server. `on_lost` is given where the answer to a POST comes apart from
    it, and told of one that was not taken."""

    def __init__(self, outbound: Outbound, *, allow_private: bool, on_lost: Callable[[], None] | None) -> None:
        self._outbound = outbound
        self._allow_private = allow_private
        self._on_lost = on_lost

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends the request. Raises httpx2.TransportError for a stream that cannot be opened."""
        sending = SENDING.get() or Sending()
        sending.status, sending.media_type, sending.unsent = 0, "", None
        body = await request.aread()
        aside = request.method == "DELETE" or (request.method == "POST" and b'"id":' not in body)
        try:
            async with asyncio.timeout(ASIDE_SECONDS if aside else None):
                response = await self._sent(request, body, sending)
        except (AstromeshError, TimeoutError, aiohttp.ClientError, OSError) as error:
            sending.unsent = _unsent(error, request.url.host)
            return self._failed(request, sending, error)
        sending.status, sending.media_type = response.status, response.content_type
        if response.status >= httpx2.codes.BAD_REQUEST:
            self._lost(request, sending)
        return _response(request, response)

    async def _sent(self, request: httpx2.Request, body: bytes, sending: Sending) -> aiohttp.ClientResponse:
        url = URL(str(request.url), encoded=True)
        check_target(url, allow_private=self._allow_private)
        headers = [(name, text) for name, text in request.headers.multi_items() if name not in _NOT_PASSED_ON]
        kept = sending.repeatable
        while True:
            session = self._outbound.session(allow_private=self._allow_private, kept=kept)
            try:
                return await session.request(
                    request.method, url, headers=headers, data=body or None, allow_redirects=False
                )
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ClientConnectionError, OSError):
                # A server may close a kept connection just when a request goes out on it.
                if not kept:
                    raise
                kept = False

    def _failed(self, request: httpx2.Request, sending: Sending, error: Exception) -> httpx2.Response:
        if request.method == "GET":
            raise httpx2.ConnectError(_words(error), request=request) from error
        self._lost(request, sending)
        return httpx2.Response(_BROKEN, request=request)

    def _lost(self, request: httpx2.Request, sending: Sending) -> None:
        if request.method == "POST" and self._on_lost is not None:
            sending.refuse()
            self._on_lost()


class _Body(httpx2.AsyncByteStream):
    """An answer as it comes. One that breaks off, or is too long, ends its own request alone."""

    def __init__(self, response: aiohttp.ClientResponse, most: int | None) -> None:
        self._response = response
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        try:
            async for part in self._response.content.iter_any():
                if left is not None:
                    left -= len(part)
                    if left < 0:
                        raise httpx2.StreamError(f"the answer has more than {self._most} bytes")
                yield part
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.StreamError(f"the answer broke off: {_words(error)}") from error

    async def aclose(self) -> None:
        self._response.release()


def _response(request: httpx2.Request, response: aiohttp.ClientResponse) -> httpx2.Response:
    headers = [(name, text) for name, text in response.raw_headers if name.lower() not in _NOT_PASSED_BACK]
    most = None if response.content_type == EVENTS else MOST_BYTES
    return httpx2.Response(response.status, headers=headers, stream=_Body(response, most), request=request)


def _unsent(error: Exception, host: str) -> AstromeshError | None:
    """What the error says where nothing was sent; None where that is not known."""
    if isinstance(error, AstromeshError):
        return error
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TimedOut(f"no connection to {host} in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unavailable(f"no connection to {host}: {_words(error)}")
    return None


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return str(error) or type(error).__name__
